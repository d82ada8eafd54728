"""`make bench`: measure in one run, write `bench/results.json`. Ratios count; seconds are for the curious."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from bench import rebuild, startup

RESULTS = Path(__file__).with_name("results.json")


def main() -> None:
    """Measure everything; what is known is written at once, so an interrupted measurement keeps it."""
    figures: dict[str, object] = {"measured": datetime.now(UTC).isoformat(timespec="seconds")}
    for known in chain(startup.measure(), rebuild.measure()):
        figures.update(known)
        RESULTS.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n")
    print(RESULTS.read_text(), end="")


main()
