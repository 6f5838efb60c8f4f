"""The contract of an adapter: what another family of models is told, and how its answers become ours.

A question stays the question of the task. Where it asks for boxes, the classes of the source and one sentence are
added, which say how this family writes boxes; a box inside a prompt is rewritten in the family's numbers. The answer
is read in that form, and its boxes are brought to pixels and said in our words (`training.evaluation.translation`);
what the model said word for word is kept beside it. All other answers stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from PIL import Image

from mmrs.geometry import Array
from mmrs.imaging.probe import in_mode
from mmrs.instructions.answers import box_spans, parse_detections
from training.evaluation.task import Question
from training.evaluation.tasks import find_task
from training.evaluation.translation.answer import FoundBox, say_boxes
from training.evaluation.translation.exact import written_dialect
from training.evaluation.translation.frames import CoordinateFrame, ImageSizes
from training.evaluation.translation.syntax import Reader

# Of one label: its boxes as numbers of the family's frame.
LabelledNumbers = tuple[str, Sequence[Sequence[float]]]
TextSpan = tuple[int, int]
# The mean colour of the encoder that these models look through, as their training padded images with.
_PADDING = (122, 116, 104)


@dataclass(frozen=True, slots=True)
class Translation:
    """An answer in our words, and of each of its boxes, in order, where it stands in what was said.

    `spans` is None where the answer holds no boxes because none were asked for.
    """

    text: str
    spans: tuple[TextSpan, ...] | None


class Adapter(Protocol):
    """What one family of models needs. Implementations are frozen."""

    @property
    def name(self) -> str:
        """What `--adapter` takes."""
        ...

    @property
    def model_types(self) -> tuple[str, ...]:
        """`model_type` of the configurations that it is for; none where it must be named."""
        ...

    @property
    def summary(self) -> str:
        """In a sentence, how the family writes boxes; a table of the documentation prints it."""
        ...

    def fitted(self, processor: Any) -> Adapter:
        """The same for a checkpoint's own processor, where the frame of its boxes depends on that."""
        ...

    def prepare(self, image: Image.Image) -> Image.Image:
        """The image as the model is shown it, before its own processor."""
        ...

    def prompt(self, question: Question[Any]) -> str:
        """What is asked."""
        ...

    def reference(self, question: Question[Any]) -> str:
        """The right answer as the family would write it, as far as its length goes."""
        ...

    def read(self, question: Question[Any], said: str) -> Translation:
        """The answer in our words. Never raises on any text."""
        ...


@dataclass(frozen=True, slots=True)
class PixelBudget:
    """How a family resizes images: sides to multiples of `factor`, and the area between two bounds, in pixels."""

    factor: int
    least: int
    most: int

    def resized(self, width: int, height: int) -> tuple[int, int]:
        """Width and height that the model sees, as `smart_resize` of transformers has them."""
        sides = [round(side / self.factor) * self.factor for side in (width, height)]
        area = width * height
        if sides[0] * sides[1] > self.most:
            shrunk = math.sqrt(area / self.most) * self.factor
            sides = [max(self.factor, math.floor(side / shrunk) * self.factor) for side in (width, height)]
        elif sides[0] * sides[1] < self.least:
            grown = math.sqrt(self.least / area) / self.factor
            sides = [math.ceil(side * grown) * self.factor for side in (width, height)]
        return sides[0], sides[1]


@dataclass(frozen=True, slots=True)
class BoxWriting:
    """How a family writes boxes.

    Args:
        read: finds them in a text.
        write: boxes by label -> an answer.
        in_prompt: numbers of one box -> what stands for it in a question.
        asked_one: the sentence that asks for one box.
        asked_listed: the sentence that asks for boxes by class.
        decimals: of a number.
    """

    read: Reader
    write: Callable[[Sequence[LabelledNumbers]], str]
    in_prompt: Callable[[Sequence[float]], str]
    asked_one: str
    asked_listed: str
    decimals: int = 0


@dataclass(frozen=True, slots=True)
class BoxAdapter:
    """An `Adapter` of a form and a frame of boxes.

    Args:
        pads: images are padded to a square before the processor, as the family was trained, so that none is cropped.
        budget: resizing, where boxes are in pixels of the resized image; None: sizes of boxes do not depend on it.
    """

    name: str
    model_types: tuple[str, ...]
    summary: str
    frame: CoordinateFrame
    form: BoxWriting
    pads: bool = False
    budget: PixelBudget | None = None

    def fitted(self, processor: Any) -> BoxAdapter:
        if self.budget is None:
            return self
        images = processor.image_processor
        size = images.size
        budget = PixelBudget(images.patch_size * images.merge_size, size["shortest_edge"], size["longest_edge"])
        return BoxAdapter(self.name, self.model_types, self.summary, self.frame, self.form, self.pads, budget)

    def prepare(self, image: Image.Image) -> Image.Image:
        image = in_mode(image, "RGB")
        if not self.pads or image.width == image.height:
            return image
        side = max(image.size)
        square = Image.new("RGB", (side, side), _PADDING)
        square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
        return square

    def prompt(self, question: Question[Any]) -> str:
        task = find_task(question.task)
        text = self._with_own_boxes(question)
        if task.boxes == "one":
            return f"{text} {self.form.asked_one}"
        if task.boxes == "listed":
            asked = task.asked_class(question)
            names = [asked] if asked else sorted(question.form.categories)
            return f"{text} The classes are: {', '.join(names)}. {self.form.asked_listed}"
        return text

    def reference(self, question: Question[Any]) -> str:
        task = find_task(question.task)
        own, frame, dialect = task.reference(question), question.frame, question.form.dialect
        if task.boxes is None:
            return own
        groups = parse_detections(own, frame, question.form.categories, dialect)
        return self.form.write([(group.category or "", self._numbers(question, group.boxes.hbb)) for group in groups])

    def read(self, question: Question[Any], said: str) -> Translation:
        task = find_task(question.task)
        if task.boxes is None:
            return Translation(said.strip(), None)
        asked, sizes = task.asked_class(question) or "", self._sizes(question)
        pieces = self.form.read(said)
        found = [FoundBox(piece.label or asked, self.frame.to_pixels(piece.numbers, sizes)) for piece in pieces]
        text, order = say_boxes(task.boxes, found, said, question.frame, written_dialect(question.form.dialect))
        return Translation(text, tuple((pieces[place].start, pieces[place].end) for place in order))

    def _sizes(self, question: Question[Any]) -> ImageSizes:
        image = question.record.image
        seen = (image.width, image.height) if self.budget is None else self.budget.resized(image.width, image.height)
        return ImageSizes(image.width, image.height, *seen)

    def _numbers(self, question: Question[Any], boxes: Array) -> list[list[float]]:
        sizes = self._sizes(question)
        return [[round(n, self.form.decimals) for n in self.frame.to_numbers(box, sizes)] for box in boxes]

    def _with_own_boxes(self, question: Question[Any]) -> str:
        text = question.prompt
        for start, end in reversed(box_spans(text)):
            boxes = question.form.dialect.parse(text[start:end], question.frame).hbb
            if len(boxes) == 1 and text[start - 1] == "[" and text[end : end + 1] == "]":
                (numbers,) = self._numbers(question, boxes)
                text = text[: start - 1] + self.form.in_prompt(numbers) + text[end + 1 :]
        return text
