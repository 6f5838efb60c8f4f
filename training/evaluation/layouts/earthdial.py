"""Public answers of EarthDial, lines under ``src/earthdial/eval/*/results``: question, answer and truth, no image.

    {question "... Classes: a, b. ...", answer, annotation}      classification: the class out of the listed ones
    {question, answer, annotation, vqa_type}                     vqa
    {question "... <box>[[..]]</box>", answer, annotation}       region-captioning, one reference
    {question, answer, annotation}                               vqa, without a type
    {question, answer, caption0 ... caption4}                    captioning; captions that are empty are none
    {question, answer, gt_bbox, size_group, ...}                 detection-obb without classes

Boxes are ``[[x1, y1, x2, y2, angle]]`` on a grid of 100 steps an axis, turned in the grid as the project's own scorer
turns them. Since no line names its image, each is taken for an image of its own: intervals are drawn over lines, and
are too narrow where one image has many questions. Questions about several images at once are of no task of ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from mmrs.errors import UserError
from training.evaluation.layouts.grid_boxes import ANY_OBJECT, grid_boxes, say_grid_boxes, true_objects
from training.evaluation.layouts.layout import GRID, TruthLayout, made_question, read_answer_rows, source_of, text_of
from training.evaluation.metrics.words import normalise_answer
from training.evaluation.task import Answer, Answered, Question, Truth
from training.evaluation.tasks import find_task
from training.evaluation.tasks.captioning import TrueCaptions
from training.evaluation.tasks.vqa import NO_TYPE, TrueAnswer
from training.evaluation.translation.frames import ImageSizes, PerAxis
from training.evaluation.translation.syntax import read_brackets

_FRAME = PerAxis(GRID, angled=True, turn_before_scaling=True)
_GRID_SIZES = ImageSizes(GRID, GRID, GRID, GRID)
_CLASSES = re.compile(r"\bClasses:")

_Row = Mapping[str, Any]


class EarthDial(TruthLayout):
    """Lines of EarthDial's result files."""

    name: ClassVar[str] = "earthdial"
    summary: ClassVar[str] = (
        "EarthDial's result files, without DATA: lines {question, answer} with annotation (and vqa_type), caption0 to "
        "caption4, or gt_bbox"
    )
    intervals: ClassVar[str] = "over lines: the file names no image"

    def read(self, path: Path) -> list[Answered[Any]]:
        source = source_of(path)
        return [_answered(source, number, row, f"{path}, line {number}") for number, row in read_answer_rows(path)]


def _answered(source: str, number: int, row: _Row, where: str) -> Answered[Any]:
    prompt, text = text_of(row, "question", where), text_of(row, "answer", where)
    if prompt.count("<image>") > 1:
        raise UserError(f"{where}: a question about {prompt.count('<image>')} images; no task here asks such.")
    for holds, make in _KINDS:
        if holds(row, prompt):
            question = make(source, number, row, prompt, where)
            break
    else:
        raise UserError(f"{where}: no annotation, caption0 or gt_bbox, so no truth that this layout knows.")
    asked = find_task(question.task).boxes
    if asked is not None:
        boxes = grid_boxes(text, read_brackets, _FRAME, _GRID_SIZES, label=ANY_OBJECT)
        said = say_grid_boxes(text, boxes, question, asked, question.form.dialect)
        return Answered(question, Answer(question.id, said, prompt, said=text))
    return Answered(question, Answer(question.id, text, prompt))


def _boxes(source: str, number: int, row: _Row, prompt: str, where: str) -> Question[Any]:
    truth = true_objects(text_of(row, "gt_bbox", where), read_brackets, _FRAME, where)
    return made_question("detection-obb", source, str(number), number, prompt, truth, (ANY_OBJECT,))


def _caption(source: str, number: int, row: _Row, prompt: str, where: str) -> Question[Any]:
    captions = [str(row[key]) for key in sorted(row) if re.fullmatch(r"caption\d+", key)]
    references = tuple(caption for caption in captions if caption.strip())
    if not references:
        raise UserError(f"{where}: no caption that is not empty.")
    truth = TrueCaptions(" / ".join(dict.fromkeys(references)), references)
    return made_question("captioning", source, str(number), number, prompt, truth)


def _region(source: str, number: int, row: _Row, prompt: str, where: str) -> Question[Any]:
    text = text_of(row, "annotation", where)
    return made_question("region-captioning", source, str(number), number, prompt, TrueCaptions(text, (text,)))


def _class(source: str, number: int, row: _Row, prompt: str, where: str) -> Question[Any]:
    listed = _listed_classes(prompt)
    annotation = text_of(row, "annotation", where)
    named = {normalise_answer(name): name for name in listed}
    truth = named.get(normalise_answer(annotation))
    if truth is None:
        raise UserError(f"{where}: the true class {annotation!r} is none of the listed classes.")
    return made_question("classification", source, str(number), number, prompt, Truth(truth), listed)


def _vqa(source: str, number: int, row: _Row, prompt: str, where: str) -> Question[Any]:
    truth = TrueAnswer(text_of(row, "annotation", where), str(row.get("vqa_type") or NO_TYPE))
    return made_question("vqa", source, str(number), number, prompt, truth)


def _listed_classes(prompt: str) -> tuple[str, ...]:
    """In alphabetical order: prompts list them in any."""
    start = _CLASSES.search(prompt)
    listed, end, _ = prompt[start.end() :].partition(".") if start else ("", "", "")
    return tuple(sorted({name.strip() for name in listed.split(",")} - {""})) if end else ()


_KINDS: tuple[tuple[Callable[[_Row, str], bool], Callable[..., Question[Any]]], ...] = (
    (lambda row, prompt: "gt_bbox" in row, _boxes),
    (lambda row, prompt: "caption0" in row, _caption),
    (lambda row, prompt: "annotation" in row and "vqa_type" in row, _vqa),
    (lambda row, prompt: "annotation" in row and "<box>" in prompt, _region),
    (lambda row, prompt: "annotation" in row and bool(_listed_classes(prompt)), _class),
    (lambda row, prompt: "annotation" in row, _vqa),
)
