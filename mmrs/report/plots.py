"""Plots of the statistics as PNG bytes. matplotlib is an extra, so it is imported where it is used."""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import polars as pl

from mmrs.errors import UserError
from mmrs.installation import install_command
from mmrs.progress import Progress
from mmrs.report.colours import PALETTE
from mmrs.report.statistics import Statistics, statistics
from mmrs.text import shorten

_SHOWN = 25
_DPI = 110
_LETTERS = 48


def make_plots(found: Statistics) -> dict[str, bytes]:
    """PNG images by name: ``images-by-source``, ``dialogues-by-task``, ``classes``, ``image-sizes``, ``text-lengths``.

    One that would be empty is left out. Equal statistics give equal bytes for one matplotlib version.

    Raises:
        UserError: matplotlib is not installed.
    """
    tables = found.tables
    classes, tasks = (tables[name].with_columns(pl.lit("").alias("what")) for name in ("class", "task"))
    made = {
        "images-by-source": _bars(tables["split"], "source", "split", "images", "images"),
        "dialogues-by-task": _bars(tasks, "task", "what", "dialogues", "dialogues"),
        "classes": _bars(classes, "name", "what", "images", "images"),
        "image-sizes": _histogram(tables["size"], "sensor", "images", "longer side, pixels (up to)"),
        "text-lengths": _histogram(tables["text_length"], "task", "dialogues", "characters (up to)"),
    }
    return {name: data for name, data in made.items() if data is not None}


def card_plots(folder: Path, progress: Progress) -> dict[str, bytes]:
    """The plots of a finished data set for its card; none, with a note that says so, where matplotlib is missing."""
    if find_spec("matplotlib") is None:
        progress.note(f"the card has no plots: they need matplotlib, `{install_command('matplotlib')}`")
        return {}
    return make_plots(statistics(folder))


def _bars(frame: pl.DataFrame, by: str, part: str, count: str, label: str) -> bytes | None:
    """Horizontal bars, one per value of `by`, stacked by `part`; the largest only."""
    if frame.is_empty():
        return None
    totals = frame.group_by(by).agg(pl.col(count).sum()).sort(count, by, descending=[True, False])
    names = totals[by].head(_SHOWN).to_list()
    summed = frame.group_by(by, part).agg(pl.col(count).sum())
    values = {(row[by], row[part]): row[count] for row in summed.iter_rows(named=True)}
    figure, axes = _figure(7.0, 0.9 + 0.27 * len(names))
    left = [0] * len(names)
    parts = sorted(frame[part].unique().to_list(), key=lambda key: (key != "train", key))
    for number, key in enumerate(parts):
        widths = [values.get((name, key), 0) for name in names]
        axes.barh(
            range(len(names)), widths, left=left, label=_plain(key), color=PALETTE[number % len(PALETTE)], height=0.7
        )
        left = [start + width for start, width in zip(left, widths, strict=True)]
    for position, total in enumerate(left):
        axes.annotate(f" {total:,}", (total, position), va="center", fontsize=8)
    axes.set_yticks(range(len(names)), [_plain(name) for name in names])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel(label if len(totals) <= _SHOWN else f"{label}; the {_SHOWN} largest of {len(totals)}")
    _legend(axes, len(parts))
    return _png(figure)


def _histogram(frame: pl.DataFrame, by: str, count: str, label: str) -> bytes | None:
    """Grouped vertical bars over the bins, one colour per value of `by`."""
    if frame.is_empty():
        return None
    bins: Sequence[int | None] = sorted(frame["up_to"].unique().to_list(), key=lambda value: (value is None, value))
    keys = frame[by].unique(maintain_order=True).to_list()
    values = {(row[by], row["up_to"]): row[count] for row in frame.iter_rows(named=True)}
    figure, axes = _figure(7.0, 2.8)
    width = min(0.8 / len(keys), 0.3)
    for number, key in enumerate(keys):
        places = [position + (number - (len(keys) - 1) / 2) * width for position in range(len(bins))]
        heights = [values.get((key, limit), 0) for limit in bins]
        axes.bar(places, heights, width, label=_plain(key), color=PALETTE[number % len(PALETTE)])
    axes.set_xlim(-0.6, max(len(bins), 4) - 0.4)
    axes.set_xticks(range(len(bins)), ["more" if limit is None else f"{limit:,}" for limit in bins])
    axes.set_xlabel(label)
    axes.set_ylabel(count)
    _legend(axes, len(keys))
    return _png(figure)


def _plain(name: str) -> str:
    """A name of somebody's data as matplotlib draws it: no formula, one line, not the whole width."""
    line = "".join(letter if letter.isprintable() else " " for letter in name)
    return shorten(line, _LETTERS).replace("$", r"\$")


def _figure(width: float, height: float):
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError(f"plots need matplotlib. Type `{install_command('matplotlib')}`.") from error
    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    return figure, axes


def _legend(axes, parts: int) -> None:
    if parts > 1:
        axes.legend(fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=min(parts, 4))


def _png(figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
