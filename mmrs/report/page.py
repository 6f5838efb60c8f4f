"""One self-contained HTML page about a data set: pictures of each sensor first, then counts, bars and more samples.

No script, no style sheet, no image is fetched: the page's own policy forbids it, so it looks the same offline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

import polars as pl

from mmrs.errors import UserError
from mmrs.report.bars import BAR_STYLE, binned, chart_html, largest_first
from mmrs.report.colours import class_colours
from mmrs.report.gallery import Picture, card_html, choose, for_strip, strip_html
from mmrs.report.statistics import CHARS_LIMITS, SIDE_LIMITS_PX, Statistics, statistics
from mmrs.storage.atomic import check_own, replace_own
from mmrs.storage.urls import parse_location
from mmrs.text import PAGE_MARK, bytes_text, harmless

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --line: #d6dae0; --soft: #f3f4f6; --link: #0a58a8;
  --quiet: #5b6470; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --paper: #14171b; --line: #3a414b; --soft: #20252c;
  --link: #7fb5ef; --quiet: #9aa4b1; } }
body { margin: 0 auto; max-width: 1180px; padding: 1.2rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; } h4 { margin: .8rem 0 .2rem; }
h2 small { font-weight: 400; font-size: .85rem; color: var(--quiet); margin-left: .5rem; }
nav a { margin-right: 1rem; white-space: nowrap; } a { color: var(--link); }
code { font-size: .8em; overflow-wrap: anywhere; color: var(--quiet); }
table { border-collapse: collapse; font-size: .9rem; } .wide { overflow-x: auto; }
th, td { padding: .2rem .7rem .2rem 0; text-align: left; border-bottom: 1px solid var(--line); max-width: 24rem;
  overflow-wrap: break-word; } th { vertical-align: bottom; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; } td.number { white-space: nowrap; }
.strip { display: flex; gap: .6rem; overflow-x: auto; padding-bottom: .4rem; scroll-snap-type: x proximity; }
.strip a { flex: none; width: min(15rem, 72vw); scroll-snap-align: start; text-decoration: none; color: inherit; }
.strip svg { display: block; width: 100%; height: min(13rem, 62vw); background: var(--soft); border-radius: 6px; }
.strip span { font-size: .85rem; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 340px), 1fr)); gap: 1rem;
  align-items: start; }
.card { margin: 0; padding: .7rem; border: 1px solid var(--line); border-radius: 6px; overflow-wrap: anywhere;
  font-size: .88rem; } .card:target { outline: 3px solid var(--link); }
.card svg { display: block; width: 100%; height: auto; background: var(--soft); } .card p { margin: .4rem 0 0; }
.card ul { margin: .1rem 0 0; padding-left: 1.2rem; }
.card dt { color: var(--quiet); } .card dd { margin: 0 0 .3rem 1rem; }
.box { fill: none; stroke-width: 1.8px; vector-effect: non-scaling-stroke; pointer-events: all; }
.halo { fill: none; stroke: #fff; stroke-opacity: .6; stroke-width: 3.4px; vector-effect: non-scaling-stroke; }
.name { paint-order: stroke; stroke: #fff; stroke-width: .22em; font-weight: 600; } .bars .name { font-weight: 400; }
.key { margin-right: .8rem; white-space: nowrap; }
.key i { display: inline-block; width: .75em; height: .75em; margin-right: .3em; border-radius: 2px; }
"""
_FOLDED_TABLES = (("class", "Classes"), ("task", "Tasks"), ("size", "Image sizes"), ("text_length", "Text lengths"))
_STRIP_PICTURES = 8


@dataclass(frozen=True, slots=True)
class ReportResult:
    """A written page: its path, its size in bytes, and how many samples it shows."""

    path: Path
    size: int
    samples: int


def write_report(location: Path | str, out: Path, per_source: int = 6, seed: int = 0) -> ReportResult:
    """Write the page of a finished data set to the file `out`.

    Args:
        location: the data set's folder or URL.
        out: the HTML file.
        per_source: samples of each source in the gallery.
        seed: chooses the samples.

    Raises:
        UserError: no finished data set, or `out` is a folder.
        RunFailure: a shard or an index is damaged.
    """
    if out.is_dir():
        raise UserError(f"{out} is a folder; name a file, as in --out {out / 'report.html'}.")
    check_own(out, PAGE_MARK.encode())
    found = statistics(location)
    pictures = choose(location, per_source, seed)
    data = harmless(make_page(_name(location), found, pictures)).encode()
    replace_own(out, data, PAGE_MARK.encode())
    return ReportResult(out, len(data), len(pictures))


def _name(location: Path | str) -> str:
    where = parse_location(location)
    return where.resolve().name if isinstance(where, Path) else where.rpartition("/")[2]


def make_page(title: str, found: Statistics, pictures: Sequence[Picture]) -> str:
    """The whole page as text."""
    tables = found.tables
    colours = class_colours(tables["class"]["name"])
    split = tables["split"]
    images, objects, dialogues = (int(split[name].sum()) for name in ("images", "objects", "dialogues"))
    strips = _strips(found, pictures, colours)
    counted = "".join(_table(_told(tables[key]), name) for key, name in (("source", "Sources"), ("split", "Splits")))
    folded = "".join(
        f"<details><summary>{name}</summary>{_table(tables[key])}</details>" for key, name in _FOLDED_TABLES
    )
    sections = [
        *strips,
        _section("counts", "Counts", f'{counted}<div class="charts">{_charts(tables, colours)}</div>{folded}'),
    ]
    for source, group in groupby(pictures, key=lambda picture: picture.record.source):
        cards = "".join(card_html(picture, colours) for picture in group)
        sections.append(_section(f"source-{source}", source, f'<div class="gallery">{cards}</div>'))
    sources = dict.fromkeys(picture.record.source for picture in pictures)
    links = [("counts", "counts"), *((f"source-{name}", name) for name in sources)]
    nav = " ".join(f'<a href="#{escape(target)}">{escape(name)}</a>' for target, name in links)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">{PAGE_MARK}<title>{escape(title)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}{BAR_STYLE}</style></head><body>"
        f"<header><h1>{escape(title)}</h1><p>{images:,} images, {objects:,} objects, {dialogues:,} dialogues. "
        f"Data set <code>{escape(found.dataset_id)}</code></p><nav>{nav}</nav></header>"
        f"{''.join(sections)}</body></html>\n"
    )


def _strips(found: Statistics, pictures: Sequence[Picture], colours: Mapping[str, str]) -> list[str]:
    """A section for each sensor: what it counts, and a row of its pictures."""
    strips = []
    for row in found.tables["sensor"].iter_rows(named=True):
        names = ("images", "objects", "captions", "dialogues")
        counts = ", ".join(f"{row[name]:,} {name}" for name in names if row[name])
        own = [picture for picture in pictures if picture.record.sensor == row["sensor"]]
        shown = strip_html(f"{row['sensor']} images", for_strip(own, _STRIP_PICTURES), colours)
        strips.append(
            f'<section id="sensor-{escape(row["sensor"])}"><h2>{escape(row["sensor"])} '
            f"<small>{counts}, {bytes_text(row['bytes'])}</small></h2>{shown}</section>"
        )
    return strips


def _charts(tables: Mapping[str, pl.DataFrame], colours: Mapping[str, str]) -> str:
    return "".join(
        (
            chart_html("Images by source", largest_first(tables["split"], "source", "split", "images")),
            chart_html("Images by class", largest_first(tables["class"], "name", None, "images"), colours),
            chart_html("Dialogues by task", largest_first(tables["task"], "task", None, "dialogues"), {}),
            chart_html("Images by their longer side, px", binned(tables["size"], "sensor", "images", SIDE_LIMITS_PX)),
            chart_html(
                "Dialogues by their characters", binned(tables["text_length"], "task", "dialogues", CHARS_LIMITS)
            ),
        )
    )


def _told(frame: pl.DataFrame) -> pl.DataFrame:
    """Without the columns of numbers that are 0 throughout: they say nothing, and push the others out of a phone."""
    kinds = frame.schema
    return frame.select(name for name in frame.columns if not kinds[name].is_numeric() or frame[name].sum())


def _section(anchor: str, title: str, content: str) -> str:
    return f'<section id="{escape(anchor)}"><h2>{escape(title)}</h2>{content}</section>'


def _table(frame: pl.DataFrame, title: str = "") -> str:
    marks = {name: ' class="number"' if kind.is_numeric() else "" for name, kind in frame.schema.items()}
    head = "".join(f"<th{mark}>{escape(name.replace('_', ' '))}</th>" for name, mark in marks.items())
    rows = []
    for row in frame.iter_rows(named=True):
        cells = "".join(f"<td{marks[name]}>{escape(_cell(name, value))}</td>" for name, value in row.items())
        rows.append(f"<tr>{cells}</tr>")
    heading = f"<h4>{escape(title)}</h4>" if title else ""
    return f'{heading}<div class="wide"><table><tr>{head}</tr>{"".join(rows)}</table></div>'


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "more" if name == "up_to" else ""
    if name == "bytes":
        return bytes_text(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}" if isinstance(value, float) else str(value)
