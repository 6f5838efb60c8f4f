"""A picture of answers beside the truth: green is true, orange is predicted, the texts below."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from mmrs.imaging.probe import in_mode
from mmrs.shards.reader import ShardSet
from mmrs.storage.atomic import replace_own
from training.evaluation.canvas import PREDICTED_COLOUR, TRUE_COLOUR, WRONG_COLOUR, ImageCanvas
from training.evaluation.questions import question_images
from training.evaluation.task import Answered
from training.evaluation.tasks import find_task

PICTURE_MARK = b"Software\0mmrs"
_CELL, _CAPTION = 300, 46
_CHARACTERS = 48
_MARKUP = re.compile(r"</?p>|\[[^\]]*\]?")


def draw_predictions(
    path: Path, data: ShardSet, pairs: Sequence[Answered[Any]], columns: int = 4, per_task: int = 8
) -> None:
    """Write a PNG sheet with the first `per_task` questions of each task."""
    chosen: list[Answered[Any]] = []
    for task in sorted({pair.question.task for pair in pairs}):
        chosen += [pair for pair in pairs if pair.question.task == task][:per_task]
    rows = -(-len(chosen) // columns)
    sheet = Image.new("RGB", (columns * _CELL, rows * (_CELL + _CAPTION)), "white")
    for place, pair in enumerate(chosen):
        sheet.paste(_cell(data, pair), (place % columns * _CELL, place // columns * (_CELL + _CAPTION)))
    buffer, named = io.BytesIO(), PngInfo()
    named.add_text("Software", "mmrs")
    sheet.save(buffer, "PNG", pnginfo=named)
    replace_own(path, buffer.getvalue(), PICTURE_MARK)


def _cell(data: ShardSet, pair: Answered[Any]) -> Image.Image:
    task = find_task(pair.question.task)
    images = [in_mode(image, "RGB") for image in question_images(data, pair.question)]
    room = (_CELL - 8) // len(images)
    scale = room / max(images[0].size)
    small = [_fitted(image, room) for image in images]
    # Boxes are those of the first image.
    task.draw(ImageCanvas(ImageDraw.Draw(small[0]), scale), pair)
    cell = Image.new("RGB", (_CELL, _CELL + _CAPTION), "white")
    for number, image in enumerate(small):
        left = _CELL * number // len(images) + (_CELL // len(images) - image.width) // 2
        cell.paste(image, (left, (_CELL - image.height) // 2))
    words = ImageDraw.Draw(cell)
    words.text((6, _CELL), _line("true: ", pair.question.truth.text), fill=TRUE_COLOUR)
    colour = WRONG_COLOUR if task.is_wrong(pair) else PREDICTED_COLOUR
    words.text((6, _CELL + 16), _line("answer: ", pair.answer.text), fill=colour)
    return cell


def _fitted(image: Image.Image, side_pixels: int) -> Image.Image:
    scale = side_pixels / max(image.size)
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))


def _line(head: str, text: str) -> str:
    # The boxes are drawn, so their numbers are left out; Pillow's built-in font has no glyphs beyond Latin-1.
    plain = " ".join(_MARKUP.sub("", text).split()).encode("latin-1", "replace").decode("latin-1")
    return head + (plain if len(plain) <= _CHARACTERS else plain[: _CHARACTERS - 3] + "...")
