"""One measurement in this process: `python -m benchmarks.child MODULE PHASE NODES CHAINS DIRECTORY`.

MODULE is imported by name, never run as `__main__`, since libraries treat code of `__main__` differently.
Prints one line of JSON: seconds by name.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

from .chains import Phase, Shape


def main() -> None:
    module, phase, nodes, chains, directory = sys.argv[1:]
    phases: dict[str, Phase] = importlib.import_module(f"benchmarks.{module}").PHASES
    print(json.dumps(phases[phase](Shape(int(nodes), int(chains), Path(directory)))))


if __name__ == "__main__":
    main()
