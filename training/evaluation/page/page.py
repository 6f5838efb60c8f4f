"""`evaluation.html`: scores, panels and examples of one evaluation on a page that fetches nothing and runs nothing.

Examples are the worst and the best answers of each task and source. They are filtered by the reason of failure with
form controls and style alone, so the page needs no script.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from mmrs.seeding import seeded_order
from mmrs.shards.reader import ShardSet
from mmrs.storage.atomic import replace_own
from mmrs.text import PAGE_MARK, harmless
from training.evaluation.page.cards import Example, example_html
from training.evaluation.page.markup import POLICY, STYLE, panel_html
from training.evaluation.panels import TablePanel
from training.evaluation.scores import ScoreRow, failures_of
from training.evaluation.task import Answered
from training.evaluation.tasks import find_task

_LOOKED_AT, _SHOWN = 2000, 12
_ALL = "all"

_Group = tuple[str, str]


def write_page(
    path: Path,
    data: ShardSet | None,
    facts: Mapping[str, Any],
    rows: Sequence[ScoreRow],
    pairs: Sequence[Answered[Any]],
) -> None:
    """Write the page of an evaluation.

    Args:
        path: the HTML file.
        data: where the images of the examples lie; None: nowhere, and the examples are words alone.
        facts: what there is to say of who answered what, by name.
        rows: the scores.
        pairs: every question with its answer, at least one.
    """
    grouped: dict[_Group, list[Answered[Any]]] = defaultdict(list)
    for pair in pairs:
        grouped[pair.question.task, pair.question.record.source].append(pair)
    sections = [_section(data, group, grouped[group]) for group in sorted(grouped)]
    content = harmless(_page(facts, rows, sorted(grouped), sections))
    replace_own(path, content.encode(), PAGE_MARK.encode())


def _page(facts: Mapping[str, Any], rows: Sequence[ScoreRow], groups: Sequence[_Group], sections: Sequence[str]) -> str:
    title = "Evaluation"
    nav = "".join(f'<a href="#{_anchor(group)}">{escape(" of ".join(group))}</a>' for group in groups)
    stated = "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in facts.items())
    filters = "".join(_hiding(group, reason) for group, reasons in _reasons(rows).items() for reason in reasons)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">{PAGE_MARK}<title>{title}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}{filters}</style></head>'
        f"<body><header><h1>{title}</h1><dl>{stated}</dl><nav>{nav}</nav></header>{_scores(rows)}"
        f"{''.join(sections)}</body></html>\n"
    )


def _hiding(group: _Group, reason: str) -> str:
    """The rule by which a checked reason hides the examples without it."""
    checked = f"body:has(#{_filter_id(group, reason)}:checked)"
    return f"{checked} #{_anchor(group)} .card:not(.{_class(reason)}) {{ display: none }}\n"


def _scores(rows: Sequence[ScoreRow]) -> str:
    header = (
        "task",
        "source",
        "protocol",
        "metric",
        "value",
        "95 %",
        "constant",
        "images",
        "questions",
        "failed",
        "why",
    )
    cells = [
        (
            row.task,
            row.source,
            row.protocol,
            row.metric,
            row.value if row.value is not None else "undefined",
            "" if row.interval_95 is None else "{:.3f} to {:.3f}".format(*row.interval_95),
            row.constant_value if row.constant_value is not None else "undefined",
            row.images,
            row.questions,
            row.failed,
            ", ".join(f"{reason.replace('_', ' ')} {count}" for reason, count in row.failures.items()),
        )
        for row in rows
    ]
    rules = dict.fromkeys(f"<b>{escape(row.protocol)}</b>: {escape(row.rule)}." for row in rows)
    warnings = dict.fromkeys(f"<b>{escape(row.protocol)}</b>: {escape(row.warning)}." for row in rows if row.warning)
    notes = "".join(f'<p class="note">{note}</p>' for note in (*rules, *warnings))
    table = panel_html(TablePanel("Values with what they must be read with", header, cells))
    return f'<section id="scores"><h2>Scores</h2>{table}{notes}</section>'


def _section(data: ShardSet | None, group: _Group, pairs: Sequence[Answered[Any]]) -> str:
    task = find_task(group[0])
    panels = "".join(panel_html(panel) for panel in task.panels(pairs))
    examples = _examples(pairs)
    reasons = sorted({reason for pair in pairs for reason in failures_of(task, pair)})
    cards = "".join(
        example_html(data, example, " ".join(_class(reason) for reason in failures_of(task, example.pair)))
        for example in examples
    )
    choices = "".join(
        f'<label><input type="radio" name="{_anchor(group)}-filter" id="{_filter_id(group, reason)}"'
        f"{' checked' if reason == _ALL else ''}> {escape(reason.replace('_', ' '))}</label>"
        for reason in (_ALL, *reasons)
    )
    filters = (
        f'<div class="filters" role="radiogroup" aria-label="examples by failure">{choices}</div>' if reasons else ""
    )
    legend = "<p>Green lines are true, dashed orange ones are answered.</p>" if "<polygon" in cards else ""
    of = "" if len(pairs) <= _LOOKED_AT else f" of {_LOOKED_AT:,} drawn answers"
    return (
        f'<section id="{_anchor(group)}"><h2>{escape(" of ".join(group))}</h2>{panels}'
        f"<h3>The worst and the best answers{of}</h3>{filters}"
        f'{legend}<div class="cards">{cards}</div></section>'
    )


def _examples(pairs: Sequence[Answered[Any]]) -> list[Example]:
    """The worst answers and then the best; of every reason of failure at least one."""
    order = seeded_order([pair.question.id for pair in pairs], 0, "examples")[:_LOOKED_AT]
    looked_at = [pairs[place] for place in order]
    task = find_task(looked_at[0].question.task)
    rated = sorted((Example(pair, task.quality(pair)) for pair in looked_at), key=lambda example: example.quality)
    chosen = [*rated[:_SHOWN], *rated[max(_SHOWN, len(rated) - _SHOWN) :]]
    shown = {reason for example in chosen for reason in failures_of(task, example.pair)}
    for example in rated:
        reasons = set(failures_of(task, example.pair)) - shown
        if reasons:
            chosen.append(example)
            shown |= reasons
    return sorted(chosen, key=lambda example: example.quality)


def _reasons(rows: Sequence[ScoreRow]) -> dict[_Group, list[str]]:
    return {(row.task, row.source): sorted(row.failures) for row in rows}


def _anchor(group: _Group) -> str:
    return "of-" + "-".join(_plain(part) for part in group)


def _filter_id(group: _Group, reason: str) -> str:
    return f"{_anchor(group)}-{_class(reason)}"


def _class(reason: str) -> str:
    return f"f-{_plain(reason)}"


def _plain(text: str) -> str:
    return "".join(character if character.isascii() and character.isalnum() else "-" for character in text)
