"""A picture of predictions beside the truth: green is true, orange is predicted, the answers below."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from mmrs.geometry import quad_from_hbb
from mmrs.instructions.answers import parse_detections
from mmrs.shards.reader import ShardSet
from training.evaluation.metrics import normalise_answer
from training.evaluation.questions import Question, open_image
from training.evaluation.scores import frame_of

TRUE_COLOUR, PREDICTED_COLOUR, WRONG_COLOUR = "#2ca02c", "#ff7f0e", "#d62728"
_CELL, _CAPTION = 300, 46
_CHARACTERS = 48
_MARKUP = re.compile(r"</?p>|\[[^\]]*\]?")


def draw_predictions(
    path: Path,
    data: ShardSet,
    questions: Sequence[Question],
    answers: Sequence[str],
    categories: dict[str, tuple[str, ...]],
    columns: int = 4,
    per_task: int = 8,
) -> None:
    """Write a PNG sheet with the first `per_task` questions of each task."""
    chosen: list[int] = []
    for task in sorted({question.task for question in questions}):
        chosen += [index for index, question in enumerate(questions) if question.task == task][:per_task]
    rows = -(-len(chosen) // columns)
    sheet = Image.new("RGB", (columns * _CELL, rows * (_CELL + _CAPTION)), "white")
    for place, index in enumerate(chosen):
        cell = _cell(data, questions[index], answers[index], categories[questions[index].record.source])
        sheet.paste(cell, (place % columns * _CELL, place // columns * (_CELL + _CAPTION)))
    sheet.save(path, "PNG")


def _cell(data: ShardSet, question: Question, answer: str, categories: Sequence[str]) -> Image.Image:
    image = open_image(data, question).convert("RGB")
    scale = (_CELL - 8) / max(image.size)
    image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    draw = ImageDraw.Draw(image)
    if question.task != "classification":
        for item in question.record.objects:
            true = item.quad if question.task == "detection-obb" else quad_from_hbb(item.extent())[0]
            draw.polygon([(float(x) * scale, float(y) * scale) for x, y in true], outline=TRUE_COLOUR, width=2)
        for group in parse_detections(answer, frame_of(question), categories, question.dialect):
            for box in group.boxes.hbb if group.boxes.quads is None else []:
                draw.rectangle([float(value * scale) for value in box], outline=PREDICTED_COLOUR, width=2)
            for quad in group.boxes.quads if group.boxes.quads is not None else []:
                draw.polygon([(x * scale, y * scale) for x, y in quad], outline=PREDICTED_COLOUR, width=2)
    cell = Image.new("RGB", (_CELL, _CELL + _CAPTION), "white")
    cell.paste(image, ((_CELL - image.width) // 2, (_CELL - image.height) // 2))
    words = ImageDraw.Draw(cell)
    words.text((6, _CELL), _line("true: ", question.reference), fill=TRUE_COLOUR)
    right = question.task != "classification" or normalise_answer(answer) == normalise_answer(question.reference)
    words.text((6, _CELL + 16), _line("model: ", answer), fill=PREDICTED_COLOUR if right else WRONG_COLOUR)
    return cell


def _line(head: str, text: str) -> str:
    # The boxes are drawn, so their numbers are left out; Pillow's built-in font has no glyphs beyond Latin-1.
    plain = " ".join(_MARKUP.sub("", text).split()).encode("latin-1", "replace").decode("latin-1")
    return head + (plain if len(plain) <= _CHARACTERS else plain[: _CHARACTERS - 3] + "...")
