"""How a family of models asks for boxes and answers with them: the questions of the shards, in its frame and form.

A text without boxes is that of the shards. One with boxes is written anew from the objects of the record; the text of
the shards is never searched for numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mmrs.export.format import ExportPart
from mmrs.export.frames import ImageFrame
from mmrs.export.wording import BOX_TASKS, NO_REGION, BoxQuestion, box_questions
from mmrs.geometry import Array, SquareFrame
from mmrs.instructions.answers import AskedPlace, format_absence
from mmrs.instructions.dialects import ParsedBoxes
from mmrs.instructions.image_mark import IMAGE_MARK, without_image_marks
from mmrs.record import Record, Sensor, TaskName

Numbers = Sequence[Sequence[float]]
# (class, texts of its boxes in an answer).
ClassBoxes = Sequence[tuple[str, Sequence[str]]]
NO_ORIENTED_FORM = "dialogues of oriented boxes, for which the format has no form (--obb envelope writes their extents)"
NO_TASK_WORD = "dialogues about regions of crowded images, for which the model has no task"
HOLDS_A_MARK = "dialogues whose words hold a mark of the format"


class ChatExchange(NamedTuple):
    """A dialogue as it is exported.

    Args:
        task: of the dialogue.
        turns: (``human`` or ``gpt``, text), without the mark of the image.
        head: stands before that mark.
        labels: of the boxes of the answer, in order, where the style lists boxes beside its texts.
        boxes: numbers of all boxes there, in order of the text.
    """

    task: TaskName
    turns: tuple[tuple[str, str], ...]
    head: str = ""
    labels: tuple[str, ...] = ()
    boxes: Numbers = ()


class Styled(NamedTuple):
    """The dialogues of a record, and of each other one the reason why the style cannot write it."""

    exchanges: list[ChatExchange]
    left_out: Sequence[str]


def _default_prompt(question: BoxQuestion, wording_prompt: str, box: str) -> str:
    return wording_prompt


def _no_head(task: TaskName, kind: str, sensor: Sensor) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class BoxStyle:
    """One style.

    Args:
        name: what ``--boxes`` takes.
        frame: in words, with the rounding.
        horizontal: ``(N, 4)`` pixel boxes -> N rows of numbers.
        to_pixels: a row of numbers -> xmin, ymin, xmax, ymax in pixels, as a reader of the text has it.
        box: a row -> the text of a box in a question.
        answer_box: a row -> the text of a box in an answer.
        grounding: expression and the latter -> the answer that says where it is.
        detections: classes and the texts of their boxes -> the answer that lists them; never empty.
        nothing: what is asked about -> the answer that there is no object.
        oriented: ``(N, 4, 2)`` pixel quads -> N rows, None where the family has no form for them.
        prompt: question, its text in the words of the shards, text of its region -> the question.
        head: task, kind of prompt, sensor -> what stands before the mark of the image.
        marks: of the form: a text of the source that holds one would be read as one.
        asks_of_regions: whether the family has a task for the objects of a region.
        lists_boxes: whether rows have the numbers of boxes beside the texts.
    """

    name: str
    frame: str
    horizontal: Callable[[Array, ImageFrame], Numbers]
    to_pixels: Callable[[Sequence[float], ImageFrame], Sequence[float]]
    box: Callable[[Sequence[float]], str]
    answer_box: Callable[[Sequence[float]], str]
    grounding: Callable[[str, str], str]
    detections: Callable[[ClassBoxes], str]
    nothing: Callable[[AskedPlace], str] = lambda place: format_absence("object", place)
    oriented: Callable[[Array, ImageFrame], Numbers] | None = None
    prompt: Callable[[BoxQuestion, str, str], str] = _default_prompt
    head: Callable[[TaskName, str, Sensor], str] = _no_head
    marks: tuple[str, ...] = ()
    asks_of_regions: bool = True
    lists_boxes: bool = False

    def __call__(self, records: Sequence[Record], part: ExportPart) -> Iterator[Styled]:
        """The dialogues of each record in this style; the numbers of all boxes are computed together."""
        for record, objects in record_boxes(records, self, part.max_pixels):
            yield self._styled(record, objects, part)

    def _styled(self, record: Record, objects: RecordBoxes, part: ExportPart) -> Styled:
        exchanges: list[ChatExchange] = []
        questions, left_out = written_questions(record, part, self, objects)
        marks = (IMAGE_MARK, *self.marks)
        for dialogue in record.dialogues:
            if dialogue.task in BOX_TASKS:
                continue
            turns = tuple([(turn.sender, without_image_marks(turn.value)) for turn in dialogue.turns])
            if holds_mark(marks, *[text for _, text in turns]):
                left_out.append(HOLDS_A_MARK)
            else:
                head = self.head(dialogue.task, dialogue.task, record.sensor)
                exchanges.append(ChatExchange(dialogue.task, turns, head))
        exchanges += [self._exchange(question, objects, record.sensor, part) for question in questions]
        return Styled(exchanges, left_out)

    def _exchange(self, question: BoxQuestion, objects: RecordBoxes, sensor: Sensor, part: ExportPart) -> ChatExchange:
        asked = [] if question.region == NO_REGION else [objects.region(question)]
        box = self.box(asked[0]) if asked else ""
        prompt = self.prompt(question, part.wording.prompt(question, box), box)
        head = self.head(question.task, question.kind, sensor)
        if question.task == "region-captioning":
            return ChatExchange(question.task, (("human", prompt), ("gpt", question.text)), head, (), asked)
        if question.task == "visual-grounding":
            answer = self.grounding(question.text, objects.texts(question)[0][1][0])
        elif question.groups:
            answer = self.detections(objects.texts(question))
        else:
            answer = self.nothing(question.place)
        turns = (("human", prompt), ("gpt", answer))
        if not self.lists_boxes:
            return ChatExchange(question.task, turns, head)
        is_listed = question.task != "visual-grounding"
        labels = [category for category, places in question.groups for _ in places] if is_listed else []
        return ChatExchange(question.task, turns, head, tuple(labels), [*asked, *objects.rows(question)])


def written_questions(
    record: Record, part: ExportPart, style: BoxStyle, objects: RecordBoxes
) -> tuple[list[BoxQuestion], list[str]]:
    """The questions about boxes that a style can write, and of each other one the reason."""
    written, left_out = [], []
    marks = (IMAGE_MARK, *style.marks)
    for question in box_questions(record, part.wording, StyleRegions(style, objects)):
        if not style.asks_of_regions and question.kind.endswith(" region"):
            left_out.append(NO_TASK_WORD)
            continue
        if question.task == "detection-obb" and style.oriented is None:
            if part.obb == "refuse":
                left_out.append(NO_ORIENTED_FORM)
                continue
            if any(dialogue.task == "detection-hbb" for dialogue in record.dialogues):
                # The same boxes, in the same words, are there already.
                continue
            question = as_horizontal(question)
        is_clear = not any([_class_holds_mark(marks, category) for category, _ in question.groups])
        if is_clear and not (question.text and holds_mark(marks, question.text)):
            written.append(question)
        else:
            left_out.append(HOLDS_A_MARK)
    return written, left_out


def as_in_shards(records: Sequence[Record], part: ExportPart) -> Iterator[Styled]:
    """The dialogues of each record as the shards have them, boxes in their dialect."""
    for record in records:
        exchanges = []
        for dialogue in record.dialogues:
            turns = tuple([(turn.sender, without_image_marks(turn.value).strip()) for turn in dialogue.turns])
            exchanges.append(ChatExchange(dialogue.task, turns))
        yield Styled(exchanges, ())


def holds_mark(marks: tuple[str, ...], *texts: str) -> bool:
    """Whether a text holds one of the marks, none of which has a line break in it."""
    return _any_of(marks).search("\n".join(texts)) is not None


# A data set has some hundred class names, which are asked about in every dialogue.
_class_holds_mark = lru_cache(4096)(holds_mark)


@cache
def _any_of(marks: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, marks)))


def as_horizontal(question: BoxQuestion) -> BoxQuestion:
    """The same question about horizontal boxes."""
    kind = question.kind.replace("detection-obb", "detection-hbb")
    return question._replace(task="detection-hbb", kind=kind)


class _AllBoxes:
    """Numbers and texts of all objects of several records, made together and only when they are first asked for."""

    def __init__(self, records: Sequence[Record], style: BoxStyle, max_pixels: int):
        self._objects = [thing for record in records for thing in record.objects]
        self._style = style
        sizes = [(one.image.width, one.image.height) for one in records]
        counts = [len(one.objects) for one in records]
        self.max_pixels = max_pixels
        self._image = ImageFrame(np.repeat(np.array(sizes), counts, axis=0), max_pixels)

    @cached_property
    def horizontal(self) -> tuple[Numbers, list[str]]:
        """A row for each object of each record, and its text in an answer."""
        numbers = chain.from_iterable([thing.extent() for thing in self._objects])
        boxes = np.fromiter(numbers, np.float64, 4 * len(self._objects)).reshape(-1, 4)
        return self._with_texts(self._style.horizontal(boxes, self._image))

    @cached_property
    def oriented(self) -> tuple[Numbers, list[str]]:
        """The same of oriented boxes, for styles that have a form for them."""
        if self._style.oriented is None:
            raise ValueError(f"{self._style.name} has no form of oriented boxes")
        points = chain.from_iterable([thing.quad for thing in self._objects])
        quads = np.fromiter(chain.from_iterable(points), np.float64, 8 * len(self._objects)).reshape(-1, 4, 2)
        return self._with_texts(self._style.oriented(quads, self._image))

    def _with_texts(self, rows: Numbers) -> tuple[Numbers, list[str]]:
        return rows, list(map(self._style.answer_box, rows))


class RecordBoxes:
    """The boxes of one record: those of all from `first` on. `image` is the record's alone."""

    def __init__(self, record: Record, style: BoxStyle, boxes: _AllBoxes, first: int):
        self._record, self._style, self._boxes, self._first = record, style, boxes, first

    @cached_property
    def image(self) -> ImageFrame:
        size = self._record.image
        return ImageFrame([size.width, size.height], self._boxes.max_pixels)

    def texts(self, question: BoxQuestion) -> ClassBoxes:
        """(class, texts of its boxes) in the order of the answer."""
        if not question.groups:
            return []
        is_oriented, first = question.task == "detection-obb", self._first
        _, texts = self._boxes.oriented if is_oriented else self._boxes.horizontal
        return [(category, [texts[first + place] for place in places]) for category, places in question.groups]

    def rows(self, question: BoxQuestion) -> Numbers:
        """Their numbers."""
        is_oriented, first = question.task == "detection-obb", self._first
        rows, _ = self._boxes.oriented if is_oriented else self._boxes.horizontal
        return [rows[first + place] for _, places in question.groups for place in places]

    def region(self, question: BoxQuestion) -> Sequence[float]:
        """The row of the region that is asked about."""
        if question.task == "region-captioning":
            return self.rows(question)[0]
        return self._style.horizontal(np.array([question.region]), self.image)[0]


def record_boxes(records: Sequence[Record], style: BoxStyle, max_pixels: int) -> Iterator[tuple[Record, RecordBoxes]]:
    """Each record with its boxes."""
    boxes, first = _AllBoxes(records, style, max_pixels), 0
    for record in records:
        yield record, RecordBoxes(record, style, boxes, first)
        first += len(record.objects)


@dataclass(frozen=True, slots=True)
class StyleRegions:
    """Regions on the grid of a style: `mmrs.instructions.regions.RegionBoxes`."""

    style: BoxStyle
    of: RecordBoxes

    def format_hbb(self, boxes: npt.ArrayLike, frame: SquareFrame) -> str:
        rows = self.style.horizontal(np.asarray(boxes, dtype=np.float64).reshape(-1, 4), self.of.image)
        return "[" + ";".join(",".join(map(repr, row)) for row in rows) + "]"

    def parse(self, text: str, frame: SquareFrame) -> ParsedBoxes:
        rows = [[float(number) for number in piece.split(",")] for piece in text.split(";")]
        boxes = np.array([self.style.to_pixels(row, self.of.image) for row in rows]).reshape(-1, 4)
        sound = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        return ParsedBoxes(boxes[sound], None, tuple(sound.tolist()))


def grid_to_pixels(last: float) -> Callable[[Sequence[float], ImageFrame], list[float]]:
    """`BoxStyle.to_pixels` of numbers from 0 to `last` along each axis; numbers after the fourth are left out."""

    def to_pixels(row: Sequence[float], image: ImageFrame) -> list[float]:
        sides = (*image.sizes[0], *image.sizes[0])
        return [number * side / last for number, side in zip(row[:4], sides, strict=True)]

    return to_pixels


def corners(boxes: Array) -> Array:
    """``(N, 4)`` -> ``(N, 2, 2)``: the top left and the bottom right corner."""
    return np.asarray(boxes, dtype=np.float64).reshape(-1, 2, 2)


def listed(numbers: Sequence[float]) -> str:
    """``[1, 2, 3, 4]``."""
    return str(list(numbers))


def as_turns(exchange: ChatExchange, images: int = 1) -> list[dict[str, str]]:
    """The turns in LLaVA form, a mark for each image at the start of the first."""
    turns = [{"from": sender, "value": text} for sender, text in exchange.turns]
    marks, first = f"{IMAGE_MARK}\n" * images, turns[0]
    first["value"] = f"{exchange.head}{marks}{first['value']}"
    return turns
