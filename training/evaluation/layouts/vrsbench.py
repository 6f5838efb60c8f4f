"""Answers to VRSBench, one line each: {question_id, image_id, type, question, ground_truth, answer, ...}.

    type "ref"         visual-grounding; ground_truth ``{<x1><y1><x2><y2>}`` on a grid of 100 steps an axis
    type "caption"     captioning, one reference
    any other type     vqa of that type, read by the kind of the right answer

Oriented truths (``obb_v1``, ``obb_v2``) are left aside: its scorer compares horizontal boxes unless told otherwise. Its
published VQA values come from a paid judge, which is not asked here: values are not comparable with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from training.evaluation.layouts.grid_boxes import grid_boxes, say_grid_boxes, true_objects
from training.evaluation.layouts.layout import GRID, TruthLayout, made_question, read_answer_rows, source_of, text_of
from training.evaluation.task import Answer, Answered
from training.evaluation.tasks.captioning import TrueCaptions
from training.evaluation.tasks.grounding import TargetBox
from training.evaluation.tasks.vqa import TrueAnswer
from training.evaluation.translation.frames import ImageSizes, PerAxis
from training.evaluation.translation.syntax import read_braces

_FRAME = PerAxis(GRID, angled=True)
_GRID_SIZES = ImageSizes(GRID, GRID, GRID, GRID)


class VRSBench(TruthLayout):
    """Lines of VRSBench's answer files."""

    name: ClassVar[str] = "vrsbench"
    summary: ClassVar[str] = (
        "answers to VRSBench, without DATA: lines {question_id, image_id, type, question, ground_truth, answer}"
    )
    intervals: ClassVar[str] = "over images, by image_id"

    def read(self, path: Path) -> list[Answered[Any]]:
        source = source_of(path)
        return [_answered(source, number, row, f"{path}, line {number}") for number, row in read_answer_rows(path)]


def _answered(source: str, number: int, row: Mapping[str, Any], where: str) -> Answered[Any]:
    image, prompt = text_of(row, "image_id", where), text_of(row, "question", where)
    kind, text, truth = (text_of(row, key, where) for key in ("type", "answer", "ground_truth"))
    if kind == "ref":
        target = true_objects(truth, read_braces, _FRAME, where)
        question = made_question(
            "visual-grounding", source, image, number, prompt, TargetBox(prompt, target.extents[0])
        )
        boxes = grid_boxes(text, read_braces, _FRAME, _GRID_SIZES)
        said = say_grid_boxes(text, boxes, question, "one", question.form.dialect)
        return Answered(question, Answer(question.id, said, prompt, said=text))
    if kind == "caption":
        question = made_question("captioning", source, image, number, prompt, TrueCaptions(truth, (truth,)))
    else:
        question = made_question("vqa", source, image, number, prompt, TrueAnswer(truth, kind.strip().lower()))
    return Answered(question, Answer(question.id, text, prompt))
