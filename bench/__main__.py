"""`make bench`: measure in one run, write `bench/results.json`. Ratios count; seconds are for the curious."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from bench import rebuild, startup

RESULTS = Path(__file__).with_name("results.json")


def main() -> None:
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    known.update(startup.measure())
    known.update(rebuild.measure())
    known["measured"] = datetime.now(UTC).isoformat(timespec="seconds")
    RESULTS.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")
    print(json.dumps(known, indent=2, sort_keys=True))


main()
