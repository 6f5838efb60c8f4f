"""Models that are asked by a word of their own and not in a conversation: rows of ``image``, ``prefix``, ``suffix``.

Their questions come from the record: a caption, a class or an answer has no text around it here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from mmrs.export.format import ExportCounts, ExportPart, PlacedSample
from mmrs.export.frames import ImageFrame
from mmrs.export.rows import write_rows
from mmrs.export.style import (
    HOLDS_A_MARK,
    NO_ORIENTED_FORM,
    BoxStyle,
    Exchange,
    Groups,
    RecordBoxes,
    Styled,
    StyleRegions,
    as_horizontal,
    holds_mark,
)
from mmrs.export.wording import BoxQuestion, box_questions
from mmrs.instructions.image_mark import IMAGE_MARK
from mmrs.record import Record, TaskName

NO_TASK_WORD = "dialogues about regions of crowded images, for which the model has no task"
_CLASS_QUESTION = "What is the category of this remote sensing image?"
Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class PrefixStyle:
    """One model's words.

    Args:
        boxes: numbers of boxes; of its texts, `box` and `detections` alone are used.
        caption: asks for a caption.
        answer: question -> what asks it.
        detect: question, its groups, all classes of the source -> prefix and suffix.
        ground: expression, text of its box -> prefix and suffix.
        describe: text of a box, expression -> prefix and suffix.
    """

    boxes: BoxStyle
    caption: str
    answer: Callable[[str], str]
    detect: Callable[[BoxQuestion, Groups, tuple[str, ...]], Pair]
    ground: Callable[[str, str], Pair]
    describe: Callable[[str, str], Pair]

    def __call__(self, record: Record, part: ExportPart) -> Styled:
        """The pairs of a record, each an exchange of two turns."""
        left_out: Counter[str] = Counter()
        exchanges = []
        marks = (IMAGE_MARK, *self.boxes.marks)
        for task, prefix, suffix in self._plain(record):
            if holds_mark(marks, prefix, suffix):
                left_out[HOLDS_A_MARK] += 1
            else:
                exchanges.append(Exchange(task, (("human", prefix), ("gpt", suffix))))
        exchanges += self._boxed(record, part, marks, left_out)
        return Styled(exchanges, left_out)

    def _plain(self, record: Record) -> Iterator[tuple[TaskName, str, str]]:
        tasks = {dialogue.task for dialogue in record.dialogues}
        if "classification" in tasks and record.label is not None:
            yield "classification", self.answer(_CLASS_QUESTION), record.label
        for caption in record.captions if "captioning" in tasks else ():
            yield "captioning", self.caption, caption
        for item in record.questions if "vqa" in tasks else ():
            yield "vqa", self.answer(item.question), item.answer

    def _boxed(
        self, record: Record, part: ExportPart, marks: tuple[str, ...], left_out: Counter[str]
    ) -> Iterator[Exchange]:
        image = ImageFrame(record.image.width, record.image.height)
        objects = RecordBoxes(record, self.boxes, image)
        is_horizontal_too = any(dialogue.task == "detection-hbb" for dialogue in record.dialogues)
        for question in box_questions(record, part.wording, StyleRegions(self.boxes, image)):
            if question.kind.endswith(" region"):
                left_out[NO_TASK_WORD] += 1
                continue
            if question.task == "detection-obb" and self.boxes.oriented is None:
                if part.obb == "refuse":
                    left_out[NO_ORIENTED_FORM] += 1
                    continue
                if is_horizontal_too:
                    continue
                question = as_horizontal(question)
            if holds_mark(marks, question.text, *(category for category, _ in question.groups)):
                left_out[HOLDS_A_MARK] += 1
                continue
            groups = objects.of(question)
            if question.task == "visual-grounding":
                pair = self.ground(question.text, self.boxes.box(groups[0][1][0]))
            elif question.task == "region-captioning":
                pair = self.describe(self.boxes.box(groups[0][1][0]), question.text)
            else:
                pair = self.detect(question, groups, part.source_categories)
            yield Exchange(question.task, (("human", pair[0]), ("gpt", pair[1])))


def prefix_row(name: str, sample: PlacedSample, exchange: Exchange) -> dict[str, Any]:
    """``image``, ``prefix``, ``suffix``, and the id."""
    (_, prefix), (_, suffix) = exchange.turns
    return {"id": name, "image": sample.image, "prefix": prefix, "suffix": suffix}


def write_prefix_rows(samples: Iterable[PlacedSample], part: ExportPart, style: PrefixStyle) -> ExportCounts:
    """Write a part of such rows."""
    return write_rows(samples, part, style, prefix_row)
