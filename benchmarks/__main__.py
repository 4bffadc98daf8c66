"""Benchmarks, all or those that are named: `python -m benchmarks [nodes engine ...] [--quick] [--repeats N]
[--json FILE] [--update]`.

`--update` also writes what was found into benchmarks/README.md, between its markers: each in the place of its
own section, below when and where it was measured.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from . import (
    bench_define,
    bench_diff,
    bench_engine,
    bench_fingerprint,
    bench_import,
    bench_memory,
    bench_moments,
    bench_nodes,
    bench_select,
    bench_states,
    bench_tickets,
)
from .harness import Report, machine, parser, to_options, write_json

SCRIPTS = [
    bench_import,
    bench_fingerprint,
    bench_define,
    bench_nodes,
    bench_engine,
    bench_memory,
    bench_select,
    bench_states,
    bench_tickets,
    bench_diff,
    bench_moments,
]
README = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"


NAMES = [script.__name__.rpartition("bench_")[2] for script in SCRIPTS]


def section(about: str, report: Report) -> str:
    head, _, rest = report.markdown().partition("\n")
    return f"{head}\n\n{about}\n{rest}"


def with_figures(page: str, sections: Sequence[str]) -> str:
    """The page with those sections between its markers, each (by its first line) in the place of an older
    one of its name, or behind all others. Raises ValueError where a marker is missing."""
    before, begin, rest = page.partition(BEGIN)
    kept, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page needs a line {BEGIN!r} and, below it, a line {END!r}")
    found = {
        text.partition("\n")[0]: text.strip("\n")
        for text in (*re.split(r"^(?=### )", kept, flags=re.MULTILINE), *sections)
        if text.startswith("### ")
    }
    return f"{before}{BEGIN}\n\n" + "".join(f"{text}\n\n" for text in found.values()) + f"{END}{after}"


def main(arguments: Sequence[str] | None = None) -> int:
    made = parser(__doc__)
    made.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; by default all")
    made.add_argument("--update", action="store_true", help="write the figures into benchmarks/README.md")
    parsed = made.parse_args(arguments)
    if parsed.update and parsed.quick:
        made.error("--update writes figures that people read; --quick has none")
    unknown = sorted(set(parsed.names) - set(NAMES))
    if unknown:
        made.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}")
    options = to_options(parsed)
    first = machine(options)
    reports = []
    for name, script in zip(NAMES, SCRIPTS, strict=True):
        if parsed.names and name not in parsed.names:
            continue
        about = machine(options)
        reports.append(script.measure(options))
        text = section(about, reports[-1])
        print(text, flush=True)
        if parsed.update:  # at once, so that an interruption loses one of them
            page = README.read_text(encoding="utf-8")
            README.write_text(with_figures(page, [text]), encoding="utf-8")
    if options.json_file:
        write_json(options.json_file, first, reports)
    return 0


if __name__ == "__main__":
    sys.exit(main())
