"""All benchmarks: `python -m benchmarks [--quick] [--repeats N] [--json FILE] [--update]`.

`--update` also writes what was found between the markers of benchmarks/README.md.
"""

from __future__ import annotations

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


def figures(about: str, reports: Sequence[Report]) -> str:
    return f"{about}\n\n" + "\n".join(report.markdown() for report in reports)


def with_figures(page: str, text: str) -> str:
    """The page with everything between its markers replaced. Raises ValueError where a marker is missing."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page needs a line {BEGIN!r} and, below it, a line {END!r}")
    return f"{before}{BEGIN}\n\n{text}\n{END}{after}"


def main(arguments: Sequence[str] | None = None) -> int:
    made = parser(__doc__)
    made.add_argument("--update", action="store_true", help="write the figures into benchmarks/README.md")
    parsed = made.parse_args(arguments)
    if parsed.update and parsed.quick:
        made.error("--update writes figures that people read; --quick has none")
    options = to_options(parsed)
    about = machine(options)
    reports = [each.measure(options) for each in SCRIPTS]
    text = figures(about, reports)
    print(text, end="")
    if options.json_file:
        write_json(options.json_file, about, reports)
    if parsed.update:
        README.write_text(with_figures(README.read_text(encoding="utf-8"), text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
