"""One self-contained HTML page about a data set: tables, plots, and a gallery of annotated samples.

No script, no style sheet, no image is fetched: the page's own policy forbids it, so it looks the same offline.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

import polars as pl

from mmrs.errors import UserError
from mmrs.report.gallery import Picture, card_html, choose
from mmrs.report.plots import make_plots
from mmrs.report.statistics import Statistics, statistics
from mmrs.storage.atomic import check_own, replace_own
from mmrs.storage.urls import parse_location
from mmrs.text import PAGE_MARK, bytes_text, harmless

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 1180px; padding: 1.5rem; background: #fff; color: #1b1f24;
  font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; } h4 { margin: .8rem 0 .2rem; }
nav a { margin-right: 1rem; } a { color: #0a58a8; } code { font-size: .85em; overflow-wrap: anywhere; }
table { border-collapse: collapse; font-size: .9rem; } .wide { overflow-x: auto; }
th, td { padding: .2rem .7rem; text-align: left; border-bottom: 1px solid #e3e6ea;
  max-width: 24rem; overflow-wrap: break-word; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 520px), 1fr)); gap: 1rem; }
.plots figure { margin: 0; } .plots img { max-width: 100%; height: auto; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 340px), 1fr)); gap: 1rem;
  align-items: start; }
.card { margin: 0; padding: .7rem; border: 1px solid #d6dae0; border-radius: 6px; overflow-wrap: anywhere;
  font-size: .88rem; }
.card svg { display: block; width: 100%; height: auto; background: #f3f4f6; } .card p { margin: .4rem 0 0; }
.card ul { margin: .1rem 0 0; padding-left: 1.2rem; } .card dt { color: #5b6470; } .card dd { margin: 0 0 .3rem 1rem; }
.box { fill: none; stroke-width: 1.8px; vector-effect: non-scaling-stroke; pointer-events: all; }
.halo { fill: none; stroke: #fff; stroke-opacity: .75; stroke-width: 4px; vector-effect: non-scaling-stroke; }
.name { paint-order: stroke; stroke: #fff; stroke-width: .22em; font-weight: 600; }
.key { margin-right: .8rem; white-space: nowrap; }
.key i { display: inline-block; width: .75em; height: .75em; margin-right: .3em; }
"""
_TABLES = (
    ("source", "Sources"),
    ("split", "Splits"),
    ("sensor", "Sensors"),
    ("task", "Tasks"),
    ("size", "Image sizes"),
)
_FOLDED_TABLES = (("class", "Classes"), ("text_length", "Text lengths"))


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
        UserError: no finished data set, `out` is a folder, matplotlib is not installed.
        RunFailure: a shard or an index is damaged.
    """
    if out.is_dir():
        raise UserError(f"{out} is a folder; name a file, as in --out {out / 'report.html'}.")
    check_own(out, PAGE_MARK.encode())
    found = statistics(location)
    pictures = choose(location, per_source, seed)
    data = harmless(make_page(_name(location), found, make_plots(found), pictures)).encode()
    replace_own(out, data, PAGE_MARK.encode())
    return ReportResult(out, len(data), len(pictures))


def _name(location: Path | str) -> str:
    where = parse_location(location)
    return where.resolve().name if isinstance(where, Path) else where.rpartition("/")[2]


def make_page(title: str, found: Statistics, plots: Mapping[str, bytes], pictures: Sequence[Picture]) -> str:
    """The whole page as text."""
    split = found.tables["split"]
    images, objects, dialogues = (int(split[name].sum()) for name in ("images", "objects", "dialogues"))
    sections = [_section("counts", "Counts", "".join(_table(found.tables[key], name) for key, name in _TABLES))]
    folded = "".join(
        f"<details><summary>{name}</summary>{_table(found.tables[key])}</details>" for key, name in _FOLDED_TABLES
    )
    sections.append(_section("more", "Classes and text lengths", folded))
    if plots:
        sections.append(_section("plots", "Plots", f'<div class="plots">{"".join(map(_plot, plots.items()))}</div>'))
    for source, group in groupby(pictures, key=lambda picture: picture.record.source):
        cards = "".join(card_html(picture) for picture in group)
        sections.append(_section(f"source-{source}", source, f'<div class="gallery">{cards}</div>'))
    sources = dict.fromkeys(picture.record.source for picture in pictures)
    links = [("counts", "counts"), ("plots", "plots"), *((f"source-{name}", name) for name in sources)]
    nav = "".join(f'<a href="#{escape(target)}">{escape(name)}</a>' for target, name in links)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">{PAGE_MARK}<title>{escape(title)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head><body>'
        f"<header><h1>{escape(title)}</h1><p>{images:,} images, {objects:,} objects, {dialogues:,} dialogues. "
        f"Data set <code>{escape(found.dataset_id)}</code></p><nav>{nav}</nav></header>"
        f"{''.join(sections)}</body></html>\n"
    )


def _section(anchor: str, title: str, content: str) -> str:
    return f'<section id="{escape(anchor)}"><h2>{escape(title)}</h2>{content}</section>'


def _plot(item: tuple[str, bytes]) -> str:
    name, data = item
    words = escape(name.replace("-", " "))
    source = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    return f'<figure><figcaption>{words}</figcaption><img alt="{words}" src="{source}"></figure>'


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
