"""One answer on a page: the image with what is true and what was said drawn over it, and the texts below."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from html import escape
from typing import Any

from mmrs.report.thumbnail import thumbnail
from mmrs.shards.reader import ShardSet
from training.evaluation.canvas import SvgCanvas
from training.evaluation.scores import failures_of
from training.evaluation.task import Answered
from training.evaluation.tasks import find_task

_CHARACTERS = 600


@dataclass(frozen=True, slots=True)
class Example:
    """An answer, and how right it is from 0 to 1."""

    pair: Answered[Any]
    quality: float


def example_html(data: ShardSet | None, example: Example, classes: str) -> str:
    """A ``figure`` with the style classes of its failures."""
    pair = example.pair
    task = find_task(pair.question.task)
    reasons = "".join(
        f'<span class="reason">{escape(reason.replace("_", " "))}</span>' for reason in failures_of(task, pair)
    )
    lines = _line("asked", pair.question.prompt) + _line("true", pair.question.truth.text) + answer_html(pair)
    return (
        f'<figure class="card {classes}">{overlay(data, pair)}{_further(data, pair)}'
        f"<figcaption>{escape(pair.question.id)}<br>"
        f"right by {example.quality:.2f} {reasons}</figcaption>{lines}</figure>"
    )


def answer_html(pair: Answered[Any]) -> str:
    """What was said, as a line."""
    return _line("answer", pair.answer.text or "(nothing)")


def overlay(data: ShardSet | None, pair: Answered[Any]) -> str:
    """The image under what the task draws, as SVG in pixels of the stored image; without data the drawing alone."""
    image = pair.question.record.image
    canvas = SvgCanvas()
    find_task(pair.question.task).draw(canvas, pair)
    drawn, picture = canvas.markup(), ""
    if data is not None:
        try:
            encoded = base64.b64encode(thumbnail(data.image(dict(pair.question.row)))).decode()
        except (OSError, ValueError) as error:
            raise data.damaged(pair.question.row, str(error)) from error
        picture = (
            f'<image href="data:image/jpeg;base64,{encoded}" width="{image.width}" height="{image.height}" '
            f'preserveAspectRatio="none"/>'
        )
    elif not drawn:
        return ""
    return (
        f'<svg viewBox="0 0 {image.width} {image.height}" role="img" aria-label="{escape(pair.question.record.id)}">'
        f"{picture}{drawn}</svg>"
    )


def _further(data: ShardSet | None, pair: Answered[Any]) -> str:
    """The images after the first, of questions about several."""
    row, shown = dict(pair.question.row), pair.question.record.further_images
    if data is None or not shown:
        return ""
    try:
        small = [base64.b64encode(thumbnail(content)).decode() for content in data.images(row)[1:]]
    except (OSError, ValueError) as error:
        raise data.damaged(pair.question.row, str(error)) from error
    return "".join(
        f'<svg viewBox="0 0 {image.width} {image.height}" role="img" aria-label="{escape(image.role or "")}">'
        f'<image href="data:image/jpeg;base64,{encoded}" width="{image.width}" height="{image.height}" '
        'preserveAspectRatio="none"/></svg>'
        for encoded, image in zip(small, shown, strict=True)
    )


def _line(name: str, text: str) -> str:
    return f'<p><b>{name}</b> <span class="text">{escape(_short(text))}</span></p>'


def _short(text: str) -> str:
    return text if len(text) <= _CHARACTERS else f"{text[:_CHARACTERS]} ... ({len(text):,} characters)"
