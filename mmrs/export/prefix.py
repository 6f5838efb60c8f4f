"""Models that are asked by a word of their own and not in a conversation: rows of ``image``, ``prefix``, ``suffix``.

Their questions come from the record: a caption, a class or an answer has no text around it here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mmrs.export.format import ExportCounts, ExportPart, PlacedSample
from mmrs.export.rows import write_rows
from mmrs.export.style import (
    HOLDS_A_MARK,
    NO_ORIENTED_FORM,
    BoxStyle,
    ChatExchange,
    ClassBoxes,
    RecordBoxes,
    Styled,
    StyleRegions,
    as_horizontal,
    holds_mark,
    record_boxes,
)
from mmrs.export.wording import BoxQuestion, box_questions
from mmrs.instructions.image_mark import IMAGE_MARK
from mmrs.record import Record, TaskName

NO_TASK_WORD = "dialogues about regions of crowded images, for which the model has no task"
_CLASS_QUESTION = "What is the category of this remote sensing image?"
PrefixPair = tuple[str, str]


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
    detect: Callable[[BoxQuestion, ClassBoxes, tuple[str, ...]], PrefixPair]
    ground: Callable[[str, str], PrefixPair]
    describe: Callable[[str, str], PrefixPair]

    def __call__(self, records: Sequence[Record], part: ExportPart) -> Iterator[Styled]:
        """The pairs of each record, each an exchange of two turns."""
        for record, objects in record_boxes(records, self.boxes, part.max_pixels):
            yield self._styled(record, objects, part)

    def _styled(self, record: Record, objects: RecordBoxes, part: ExportPart) -> Styled:
        left_out: Counter[str] = Counter()
        exchanges = []
        marks = (IMAGE_MARK, *self.boxes.marks)
        for task, prefix, suffix in self._plain(record):
            if holds_mark(marks, prefix, suffix):
                left_out[HOLDS_A_MARK] += 1
            else:
                exchanges.append(ChatExchange(task, (("human", prefix), ("gpt", suffix))))
        exchanges += self._boxed(record, objects, part, left_out)
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
        self, record: Record, objects: RecordBoxes, part: ExportPart, left_out: Counter[str]
    ) -> Iterator[ChatExchange]:
        marks = (IMAGE_MARK, *self.boxes.marks)
        is_horizontal_too = any(dialogue.task == "detection-hbb" for dialogue in record.dialogues)
        for question in box_questions(record, part.wording, StyleRegions(self.boxes, objects)):
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
            yield ChatExchange(question.task, (("human", pair[0]), ("gpt", pair[1])))


def prefix_row(name: str, sample: PlacedSample, exchange: ChatExchange) -> dict[str, Any]:
    """``image``, ``prefix``, ``suffix``, and the id."""
    (_, prefix), (_, suffix) = exchange.turns
    return {"id": name, "image": sample.image, "prefix": prefix, "suffix": suffix}


def write_prefix_rows(samples: Iterable[PlacedSample], part: ExportPart, style: PrefixStyle) -> ExportCounts:
    """Write a part of such rows."""
    return write_rows(samples, part, style, prefix_row)
