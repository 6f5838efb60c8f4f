"""Answers of GeoChat's scripts, one line each: {question_id, image_id, answer}, some with `question` too, and no truth.

A line is joined to the questions of the image that it names: by the last part of its path without the suffix, by the
whole path where two images share that. Of several questions of an image, the one whose prompt holds the line's
`question` is meant; where lines hold none and there are as many as questions, they are taken in the order of both.

Boxes are ``{<x1><y1><x2><y2>|<angle>}`` on a grid of 100 steps an axis; they are scaled to pixels and then turned,
counter-clockwise on screen, as GeoChat's demo draws them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from mmrs.errors import UserError
from training.evaluation.layouts.grid_boxes import grid_boxes, say_grid_boxes
from training.evaluation.layouts.layout import GRID, JoinedLayout, read_answer_rows, text_of
from training.evaluation.metrics.words import normalise_answer
from training.evaluation.task import Answer, Question
from training.evaluation.tasks import find_task
from training.evaluation.translation.exact import written_dialect
from training.evaluation.translation.frames import ImageSizes, PerAxis
from training.evaluation.translation.syntax import read_braces

_FRAME = PerAxis(GRID, angled=True)

_Line = tuple[int, Mapping[str, Any]]


class GeoChat(JoinedLayout):
    """Lines of GeoChat's evaluation scripts."""

    name: ClassVar[str] = "geochat"
    summary: ClassVar[str] = (
        "GeoChat's scripts: lines {question_id, image_id, answer}, joined to DATA by the name of the image"
    )

    def read(self, path: Path, questions: Sequence[Question[Any]]) -> list[Answer]:
        by_image = _by_image(questions)
        lines: dict[str, list[_Line]] = defaultdict(list)
        for number, row in read_answer_rows(path):
            lines[_image_of(text_of(row, "image_id", f"{path}, line {number}"), by_image)].append((number, row))
        # Lines about other images stay: they are counted as answers to questions that were not asked.
        answers = {}
        for image, of_image in lines.items():
            for (number, row), question in _matched(path, image, of_image, by_image.get(image, [])):
                where = f"{path}, line {number}"
                name = question.id if question else f"{image}#line-{number}"
                if name in answers:
                    raise UserError(f"{where}: a second answer to {name}; keep one of them.")
                answers[name] = _answer(name, question, text_of(row, "answer", where))
        return list(answers.values())


def _answer(name: str, question: Question[Any] | None, text: str) -> Answer:
    asked = find_task(question.task).boxes if question else None
    if question is None or asked is None:
        return Answer(name, text)
    image = question.record.image
    sizes = ImageSizes(image.width, image.height, image.width, image.height)
    boxes = grid_boxes(text, read_braces, _FRAME, sizes, label=find_task(question.task).asked_class(question) or "")
    said = say_grid_boxes(text, boxes, question, asked, written_dialect(question.form.dialect))
    return Answer(name, said, question.prompt, said=text)


def _matched(
    path: Path, image: str, lines: Sequence[_Line], questions: Sequence[Question[Any]]
) -> list[tuple[_Line, Question[Any] | None]]:
    if not questions:
        return [(line, None) for line in lines]
    texts = [normalise_answer(str(row.get("question") or "")) for _, row in lines]
    if len(questions) > 1 and not any(texts):
        if len(lines) != len(questions):
            raise UserError(
                f"{path}, line {lines[0][0]}: {len(lines)} lines without `question` about {image}, of which "
                f"{len(questions)} questions are asked; name the one task that was answered with --task."
            )
        return list(zip(lines, questions, strict=True))
    return [(line, _meant(text, questions)) for line, text in zip(lines, texts, strict=True)]


def _meant(text: str, questions: Sequence[Question[Any]]) -> Question[Any] | None:
    if len(questions) == 1:
        return questions[0]
    holding = [question for question in questions if text and text in normalise_answer(question.prompt)]
    # One question's text may be the beginning of another's: the shortest prompt holds nothing else.
    return min(holding, key=lambda question: len(question.prompt)) if holding else None


def _by_image(questions: Sequence[Question[Any]]) -> Mapping[str, list[Question[Any]]]:
    """Questions by the path of their image below source and split, without suffix."""
    by_image: dict[str, list[Question[Any]]] = defaultdict(list)
    for question in questions:
        by_image[question.record.id.split("/", 2)[2].lower()].append(question)
    return by_image


def _image_of(named: str, by_image: Mapping[str, object]) -> str:
    """The image of ours that a line names, or its own word for it where we have none such."""
    whole = str(PurePosixPath(named.lower()).with_suffix("")) if named else named
    if whole in by_image:
        return whole
    last = whole.rpartition("/")[2]
    found = [image for image in by_image if image.rpartition("/")[2] == last]
    return found[0] if len(found) == 1 else whole
