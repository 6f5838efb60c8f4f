"""The page of two runs: values side by side, paired differences, and the answers on which they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from mmrs.shards.reader import ShardSet
from mmrs.storage.atomic import replace_own
from mmrs.text import PAGE_MARK, harmless
from training.evaluation.page.cards import answer_html, overlay
from training.evaluation.page.markup import POLICY, STYLE, panel_html
from training.evaluation.panels import TablePanel
from training.evaluation.task import Answered
from training.evaluation.tasks import find_task

_SHOWN = 24
_STYLE = STYLE + ".two { display: grid; grid-template-columns: 1fr 1fr; gap: .6rem; } .two p { min-width: 0; }\n"

Both = tuple[Answered[Any], Answered[Any]]


@dataclass(frozen=True, slots=True)
class Difference:
    """One protocol's values of two runs on the same questions of a source, and the second less the first.

    `interval_95` is drawn over the images of both at once; None where the value is no function of sums over images.
    """

    task: str
    source: str
    protocol: str
    metric: str
    first: float | None
    second: float | None
    difference: float | None
    interval_95: tuple[float, float] | None


def write_comparison(
    path: Path, data: ShardSet, names: tuple[str, str], rows: Sequence[Difference], pairs: Sequence[Both]
) -> None:
    """Write the page of two runs, called `names`, that answered the same questions: `pairs` are their answers."""
    header = ("task", "source", "protocol", "metric", *names, "difference", "95 %")
    cells = [
        (
            row.task,
            row.source,
            row.protocol,
            row.metric,
            "undefined" if row.first is None else row.first,
            "undefined" if row.second is None else row.second,
            row.difference,
            "" if row.interval_95 is None else "{:+.3f} to {:+.3f}".format(*row.interval_95),
        )
        for row in rows
    ]
    table = panel_html(TablePanel(f"{names[1]} less {names[0]}, images drawn in pairs", header, cells))
    groups = sorted({(first.question.task, first.question.record.source) for first, _ in pairs})
    sections = "".join(_section(data, names, group, pairs) for group in groups)
    title = f"{names[0]} and {names[1]}"
    content = (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">{PAGE_MARK}<title>{escape(title)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head><body>'
        f"<header><h1>{escape(title)}</h1><p>Data set <code>{escape(data.manifest.id)}</code></p></header>"
        f'<section id="differences"><h2>Differences</h2>{table}</section>{sections}</body></html>\n'
    )
    replace_own(path, harmless(content).encode(), PAGE_MARK.encode())


def _section(data: ShardSet, names: tuple[str, str], group: tuple[str, str], pairs: Sequence[Both]) -> str:
    task = find_task(group[0])
    of_group = [pair for pair in pairs if (pair[0].question.task, pair[0].question.record.source) == group]
    rated = [(task.quality(second) - task.quality(first), first, second) for first, second in of_group]
    better = sum(gain > 0 for gain, _, _ in rated)
    worse = sum(gain < 0 for gain, _, _ in rated)
    shown = sorted((row for row in rated if row[0]), key=lambda row: -abs(row[0]))[:_SHOWN]
    cards = "".join(_card(data, names, *row) for row in shown)
    said = (
        f"Of {len(rated):,} answers {better:,} are better in {names[1]}, {worse:,} in {names[0]}, and "
        f"{len(rated) - better - worse:,} as right in both. Those that differ most:"
    )
    return (
        f'<section><h2>{escape(" of ".join(group))}</h2><p>{escape(said)}</p><div class="cards">{cards}</div></section>'
    )


def _card(data: ShardSet, names: tuple[str, str], gain: float, first: Answered[Any], second: Answered[Any]) -> str:
    truth = f'<p><b>true</b> <span class="text">{escape(first.question.truth.text)}</span></p>'
    sides = "".join(
        f"<div><b>{escape(name)}</b>{overlay(data, pair)}{answer_html(pair)}</div>"
        for name, pair in zip(names, (first, second), strict=True)
    )
    return (
        f'<figure class="card"><figcaption>{escape(first.question.id)}<br>right by {gain:+.2f}</figcaption>'
        f'{truth}<div class="two">{sides}</div></figure>'
    )
