"""Counts as bars in HTML: sharp and readable at any width, in the colours of the page, light and dark.

No plotting library: an image of matplotlib's has letters of 3 pixels on a phone, and white paper in a dark page. The
card of a publication keeps `mmrs.report.plots`, as the Hub shows images alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import polars as pl

from mmrs.report.colours import PALETTE

_SHOWN = 25
BAR_STYLE = """
.charts { columns: 24rem auto; column-gap: 2rem; margin: 1.2rem 0; }
.chart { margin: 0; padding-bottom: 1.2rem; break-inside: avoid; }
.chart > figcaption { font-weight: 600; margin-bottom: .2rem; }
.bars { display: grid; grid-template-columns: fit-content(40%) 1fr max-content; gap: 3px .6rem; font-size: .88rem;
  align-items: center; }
.bars .name { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; unicode-bidi: isolate; }
.bars .count { font-variant-numeric: tabular-nums; text-align: right; }
.bars .track { display: flex; height: 1.05em; background: var(--soft); border-radius: 2px; overflow: hidden; }
"""


@dataclass(frozen=True, slots=True)
class Bar:
    """A line of a chart: how many of each part."""

    name: str
    parts: Mapping[str, int]

    @property
    def total(self) -> int:
        """Of all parts."""
        return sum(self.parts.values())


def largest_first(frame: pl.DataFrame, by: str, part: str | None, count: str) -> list[Bar]:
    """A bar for each value of `by`, the largest first, equal ones by name."""
    parts = pl.lit("").alias("part") if part is None else pl.col(part).alias("part")
    summed = frame.select(pl.col(by).alias("by"), parts, pl.col(count).alias("count"))
    found: dict[str, dict[str, int]] = {}
    for name, key, number in summed.group_by("by", "part").agg(pl.col("count").sum()).sort("by", "part").iter_rows():
        found.setdefault(name, {})[key] = number
    return sorted((Bar(name, counts) for name, counts in found.items()), key=lambda bar: (-bar.total, bar.name))


def binned(frame: pl.DataFrame, by: str, count: str, limits: Sequence[int]) -> list[Bar]:
    """A bar for each bin from the first to the last that has something, those between without anything too."""
    places: list[int | None] = [*limits, None]
    values: dict[int | None, dict[str, int]] = {}
    for row in frame.iter_rows(named=True):
        values.setdefault(row["up_to"], {})[row[by]] = row[count]
    there = [number for number, limit in enumerate(places) if limit in values]
    if not there:
        return []
    shown = places[there[0] : there[-1] + 1]
    names = ["more" if limit is None else f"up to {limit:,}" for limit in shown]
    return [Bar(name, values.get(limit, {})) for name, limit in zip(names, shown, strict=True)]


def chart_html(title: str, bars: Sequence[Bar], colours: Mapping[str, str] | None = None) -> str:
    """A ``figure``; nothing where there is no bar.

    Args:
        title: what is counted.
        bars: of which the first are shown.
        colours: by the name of the bar; None: by its part, with a legend.
    """
    if not bars:
        return ""
    parts = sorted({part for bar in bars for part in bar.parts}, key=lambda part: (part != "train", part))
    of_part = {part: PALETTE[number % len(PALETTE)] for number, part in enumerate(parts)}
    most = max(bar.total for bar in bars)
    lines = []
    for bar in bars[:_SHOWN]:
        of_bar = dict.fromkeys(parts, colours.get(bar.name, PALETTE[0])) if colours is not None else of_part
        pieces = "".join(_piece(part, bar.parts[part], most, of_bar[part]) for part in parts if bar.parts.get(part))
        lines.append(
            f'<span class="name" title="{escape(bar.name)}">{escape(bar.name)}</span>'
            f'<span class="track">{pieces}</span><span class="count">{bar.total:,}</span>'
        )
    more = f"; the {_SHOWN} largest of {len(bars):,}" if len(bars) > _SHOWN else ""
    keys = "".join(
        f'<span class="key"><i style="background:{colour}"></i>{escape(part)}</span> '
        for part, colour in of_part.items()
    )
    legend = f"<p>{keys}</p>" if colours is None and len(parts) > 1 else ""
    caption = f"<figcaption>{escape(title)}{more}</figcaption>"
    return f'<figure class="chart">{caption}{legend}<div class="bars">{"".join(lines)}</div></figure>'


def _piece(part: str, count: int, most: int, colour: str) -> str:
    words = escape(f"{part} {count:,}".strip())
    return f'<span title="{words}" style="width:{100 * count / most:.2f}%;background:{colour}"></span>'
