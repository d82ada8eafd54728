"""A picture of speeds as SVG, for light and for dark: bars, what they cannot exceed, and what others have measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

# A name, and no address: nothing is asked there.
NAMESPACE = "http:" + "//www.w3.org/2000/svg"
LEFT, WIDTH, RIGHT, LINE, BAR = 220, 420, 200, 30, 14
STYLE = """\
  text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .title { font-size: 15px; font-weight: 600 }
  .note, .key { fill: #59636e; font-size: 12px }
  .limit { fill: #d8dee4 }
  .range { fill: #9ec5f5 }
  .value { fill: #0969da }
  .mark { fill: #bc4c00 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .note, .key { fill: #9198a1 }
    .limit { fill: #343b44 }
    .range { fill: #27507f }
    .value { fill: #4493f8 }
    .mark { fill: #f0883e }
  }"""


@dataclass(frozen=True)
class Bar:
    """One line: a value, or a range that is expected, below a limit, beside a mark; what is None is left out."""

    label: str
    value: float | None = None
    expected: tuple[float, float] | None = None
    limit: float | None = None
    mark: float | None = None
    note: str = ""

    @property
    def most(self) -> float:
        return max(self.value or 0, self.limit or 0, self.mark or 0, *(self.expected or (0,)))


@dataclass(frozen=True)
class Panel:
    """Bars on one scale, beginning at nothing."""

    title: str
    bars: Sequence[Bar]


def svg(panels: Sequence[Panel], description: str) -> str:
    """The picture. `description` is for who cannot see it."""
    body: list[str] = []
    y = 0
    for panel in panels:
        if not panel.bars:
            continue
        y += LINE
        body.append(f'<text class="title" x="0" y="{y - 8}">{escape(panel.title)}</text>')
        most = max(bar.most for bar in panel.bars) or 1
        for bar in panel.bars:
            body += _bar(bar, y, WIDTH / most)
            y += LINE
        y += LINE // 2
    body += _key(y + 12, [bar for panel in panels for bar in panel.bars])
    width, height = LEFT + WIDTH + RIGHT, y + 24
    return "\n".join(
        [
            f'<svg xmlns="{NAMESPACE}" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">',
            f"<title>{escape(description)}</title>",
            f"<style>\n{STYLE}\n</style>",
            *body,
            "</svg>\n",
        ]
    )


def _bar(bar: Bar, y: int, scale: float) -> list[str]:
    top, text = y + (LINE - BAR) // 2, y + LINE // 2 + 5
    drawn = [f'<text x="{LEFT - 10}" y="{text}" text-anchor="end">{escape(_short(bar.label))}</text>']
    if bar.limit is not None:
        drawn.append(_box("limit", LEFT, top, bar.limit * scale, BAR))
    if bar.expected is not None:
        least, most = bar.expected
        drawn.append(_box("range", LEFT + least * scale, top, max(3.0, (most - least) * scale), BAR))
    if bar.value is not None:
        drawn.append(_box("value", LEFT, top + 2, bar.value * scale, BAR - 4))
    if bar.mark is not None:
        drawn.append(_box("mark", LEFT + bar.mark * scale - 1.5, top - 3, 3, BAR + 6))
    drawn.append(f'<text class="note" x="{LEFT + bar.most * scale + 8:.1f}" y="{text}">{escape(bar.note)}</text>')
    return drawn


def _key(y: int, bars: Sequence[Bar]) -> list[str]:
    """What the colours mean, of those that are there."""
    words = (
        ("value", "measured", any(bar.value is not None for bar in bars)),
        ("range", "expected", any(bar.expected is not None for bar in bars)),
        ("limit", "what the memory allows", any(bar.limit is not None for bar in bars)),
        ("mark", "published by others", any(bar.mark is not None for bar in bars)),
    )
    drawn, x = [], LEFT
    for kind, meaning, present in words:
        if present:
            drawn.append(_box(kind, x, y - 9, 10, 10))
            drawn.append(f'<text class="key" x="{x + 15}" y="{y}">{meaning}</text>')
            x += 30 + 7 * len(meaning)
    return drawn


def _box(kind: str, x: float, y: float, width: float, height: float) -> str:
    return f'<rect class="{kind}" x="{x:.1f}" y="{y}" width="{max(0.0, width):.1f}" height="{height}" rx="2"/>'


def _short(label: str) -> str:
    return label if len(label) <= 30 else f"{label[:29]}…"
