"""`make bench`: measure in one run, write `bench/results.json`. Ratios count; seconds are for the curious.

python -m bench                          everything
python -m bench postgres                 one benchmark; what others have measured stays
python -m bench postgres --rows 50000    a quick try, written to bench/out/ only
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench import inference, many, rebuild, startup
from bench.postgres import measure as postgres
from bench.postgres import plot

RESULTS = Path(__file__).with_name("results.json")
# Git-ignored: pictures, and the figures of quick tries.
OUT = Path(__file__).with_name("out")


def main(words: Sequence[str] | None = None) -> None:
    """Measure what is named; what is known is written at once, so an interrupted measurement keeps it."""
    options = argparse.ArgumentParser(prog="python -m bench", description="Measure, and write the figures.")
    options.add_argument("benchmarks", nargs="*", metavar="BENCHMARK", help="default: all of them")
    options.add_argument("--rows", type=int, default=postgres.ROWS, help=f"of postgres (default: {postgres.ROWS})")
    given = options.parse_args(words)
    known: dict[str, Callable[[], Iterator[dict[str, object]]]] = {
        "startup": startup.measure,
        "rebuild": rebuild.measure,
        "many": many.measure,
        "postgres": lambda: postgres.measure(given.rows),
        "inference": inference.measure,
    }
    if unknown := set(given.benchmarks) - set(known):
        options.error(f"no benchmark {', '.join(sorted(unknown))}: there are {', '.join(known)}")
    results = RESULTS if given.rows == postgres.ROWS else OUT / "results.json"
    OUT.mkdir(exist_ok=True)
    figures: dict[str, object] = json.loads(results.read_text()) if results.exists() else {}
    if not given.benchmarks:
        figures["measured"] = datetime.now(UTC).isoformat(timespec="seconds")
    for name in given.benchmarks or known:
        for part in known[name]():
            figures.update(part)
            results.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n")
        if name == "postgres":
            plot.draw(json.loads(results.read_text())["postgres"], OUT / "postgres.png")
    print(results.read_text(), end="")


main()
