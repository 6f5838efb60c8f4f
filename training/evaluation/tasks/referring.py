"""Detection of one class at a time: all the boxes that a word such as "ships" means, scored as a whole (grec/v1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

import numpy as np

from mmrs.instructions import prompts
from mmrs.record import Record
from training.evaluation.boxes.outcome import TrueBoxes, true_boxes
from training.evaluation.task import AnswerForm, Protocol, Question
from training.evaluation.tasks.detection import HorizontalDetection


class Referring(HorizontalDetection):
    """One question about each class that the record has objects of, in order of appearance.

    Boxes of other classes in an answer are false: they were not asked for.
    """

    name: ClassVar[str] = "referring"
    built_for: ClassVar[str] = "detection-hbb"

    @property
    def protocols(self) -> tuple[Protocol[TrueBoxes], ...]:
        rule, *others = (*self._all_right(), *self._f1())
        return (replace(rule, name="grec/v1"), *others)

    def ask(self, record: Record, form: AnswerForm) -> Iterator[tuple[str, TrueBoxes]]:
        everything = true_boxes(record, form)
        for category in dict.fromkeys(item.category for item in record.objects if not item.ignore):
            yield (
                prompts.DETECTION_CLASS["detection-hbb"].format(plural=prompts.plural(category)),
                _of_class(everything, category),
            )

    def asked_class(self, question: Question[TrueBoxes]) -> str | None:
        return question.truth.text


def _of_class(boxes: TrueBoxes, category: str) -> TrueBoxes:
    """The objects of one class, and the ignored ones that may be of it; every class of an answer counts."""
    kept = np.array([name == category for name in boxes.categories], dtype=bool) | boxes.nameless
    return replace(
        boxes,
        text=category,
        quads=boxes.quads[kept],
        extents=boxes.extents[kept],
        categories=tuple(name for name, keep in zip(boxes.categories, kept.tolist(), strict=True) if keep),
        ignored=boxes.ignored[kept],
        listed=boxes.listed[kept],
        nameless=boxes.nameless[kept],
    )
