"""Models that are asked by a word of their own and not in a conversation: rows of ``image``, ``prefix``, ``suffix``.

Their questions come from the record: a caption, a class or an answer has no text around it here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mmrs.export.format import ExportCounts, ExportPart, PlacedSample
from mmrs.export.rows import write_rows
from mmrs.export.style import (
    HOLDS_A_MARK,
    BoxStyle,
    ChatExchange,
    ClassBoxes,
    RecordBoxes,
    Styled,
    holds_mark,
    record_boxes,
    written_questions,
)
from mmrs.export.wording import BoxQuestion
from mmrs.instructions.image_mark import IMAGE_MARK
from mmrs.record import Record, TaskName

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
        questions, left_out = written_questions(record, part, self.boxes, objects)
        exchanges = []
        marks = (IMAGE_MARK, *self.boxes.marks)
        for task, prefix, suffix in self._plain(record):
            if holds_mark(marks, prefix, suffix):
                left_out.append(HOLDS_A_MARK)
            else:
                exchanges.append(ChatExchange(task, (("human", prefix), ("gpt", suffix))))
        for question in questions:
            prefix, suffix = self._pair(question, objects, part.source_categories)
            exchanges.append(ChatExchange(question.task, (("human", prefix), ("gpt", suffix))))
        return Styled(exchanges, left_out)

    def _plain(self, record: Record) -> Iterator[tuple[TaskName, str, str]]:
        tasks = {dialogue.task for dialogue in record.dialogues}
        if "classification" in tasks and record.label is not None:
            yield "classification", self.answer(_CLASS_QUESTION), record.label
        for caption in record.captions if "captioning" in tasks else ():
            yield "captioning", self.caption, caption
        for item in record.questions if "vqa" in tasks else ():
            yield "vqa", self.answer(item.question), item.answer

    def _pair(self, question: BoxQuestion, objects: RecordBoxes, categories: tuple[str, ...]) -> PrefixPair:
        if question.task == "visual-grounding":
            return self.ground(question.text, self.boxes.box(objects.rows(question)[0]))
        if question.task == "region-captioning":
            return self.describe(self.boxes.box(objects.rows(question)[0]), question.text)
        return self.detect(question, objects.texts(question), categories)


def prefix_row(name: str, sample: PlacedSample, exchange: ChatExchange) -> dict[str, Any]:
    """``image``, ``prefix``, ``suffix``, and the id."""
    (_, prefix), (_, suffix) = exchange.turns
    return {"id": name, "image": sample.image, "prefix": prefix, "suffix": suffix}


def write_prefix_rows(samples: Iterable[PlacedSample], part: ExportPart, style: PrefixStyle) -> ExportCounts:
    """Write a part of such rows."""
    return write_rows(samples, part, style, prefix_row)
