"""A picture of the figures: `python -m bench.postgres.plot RESULTS PICTURE`. Needs matplotlib (the extra `dev`)."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

COLOURS = {"A": "#b0b0b0", "B": "#d9822b", "C": "#2b6cb0"}
NAMES = {"A": "A: defaults, no index", "B": "B: defaults, obvious indexes", "C": "C: the role"}
WIDTH = 0.27


def draw(figures: dict[str, Any], picture: Path) -> None:
    """Write `picture`: p50 of each query, and what each index took to build, of one run."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    canvas, (asked, built) = pyplot.subplots(1, 2, figsize=(13, 5), width_ratios=(2, 1), layout="constrained")
    _bars(asked, figures["queries"], "p50_ms", "milliseconds, p50")
    asked.set_title("Queries")
    _bars(built, figures["builds"], "seconds", "seconds")
    built.set_title("Index builds")
    asked.legend(frameon=False)
    canvas.suptitle(f"{figures['rows']:,} spans, {figures['dimensions']} dimensions")
    picture.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(picture, dpi=120)
    pyplot.close(canvas)


def _bars(axes: Any, groups: dict[str, dict[str, dict[str, float]]], value: str, label: str) -> None:
    """One group for each key, one bar for each configuration, on a logarithmic scale."""
    for offset, (letter, colour) in enumerate(COLOURS.items(), start=-1):
        known = [(place, group[letter][value]) for place, group in enumerate(groups.values()) if letter in group]
        if not known:
            continue
        bars = axes.bar(
            [place + offset * WIDTH for place, _ in known],
            [height for _, height in known],
            WIDTH,
            color=colour,
            label=NAMES[letter],
        )
        axes.bar_label(bars, fmt=lambda height: f"{height:,.0f}" if height >= 100 else f"{height:.3g}", fontsize=7)
    axes.set_xticks(range(len(groups)), [name.replace("_", "\n") for name in groups], fontsize=8)
    axes.set_yscale("log")
    axes.set_ylabel(label)
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text())["postgres"], Path(sys.argv[2]))
