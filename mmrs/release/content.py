"""What a row of the release says: image, question/answer pairs, their tasks and boxes. The raw bytes stay beside it.

A row is ``{"image": ..., "conversations": [{"from": "human"|"gpt", "value": ...}, ...]}`` with these keys alone. Its
boxes are fractions of the padded square; they become pixels only where the image's size is known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from mmrs.geometry import SquareFrame
from mmrs.instructions.answers import parse_detections
from mmrs.instructions.dialects import ParsedBoxes, dialect
from mmrs.instructions.image_mark import without_image_marks
from mmrs.record import TaskName
from mmrs.release.names import FAMILY_TASKS, Family, normal_path, place_of_image

Sizes = Mapping[str, tuple[int, int]]
_RELEASED = dialect("mmrs1m")
# Parsing in a frame of one pixel leaves fractions as they are.
_FRACTIONS = SquareFrame(1, 1)
_CLASSIFICATION = re.compile(r"what is the category of this remote sensing image", re.IGNORECASE)
_CAPTIONING = re.compile(r"one-sentence caption", re.IGNORECASE)
# Texts of strangers are searched part by part: a pattern of several parts with anything between them is tried from each
# place where the first one stands, which takes minutes for some kilobytes.
_REGION = re.compile(r"short description", re.IGNORECASE)
_GROUNDING = tuple(
    re.compile(part, re.IGNORECASE)
    for part in ("bounding box coordinate", "described as:", "in this remote sensing image")
)
_DETECTION_PROMPT = re.compile(r"\s*(please )?detect\b", re.IGNORECASE)
_DETECTION_ANSWER = re.compile(r"\bthere (is|are)\b", re.IGNORECASE)
_BRACKET = re.compile(r"\[([^\[\]]*)(?:\]|$)")
_NUMBER = r"\s*(?:\d+(?:\.\d+)?|\.\d+)\s*"
_BOX = re.compile(rf"(?:{_NUMBER},){{3}}(?:(?:{_NUMBER},){{4}})?{_NUMBER}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Group:
    """Boxes under one name. `numbers`: as written, 4 or 8 a box; `pixels`: the sound ones, clipped, or None.

    `count` is what the text says, None where it says nothing; `degenerate` boxes have no area; `unreadable` pieces are
    no boxes at all.
    """

    name: str
    count: int | None
    numbers: tuple[tuple[float, ...], ...]
    pixels: tuple[tuple[float, ...], ...] | None
    degenerate: int
    unreadable: int


@dataclass(frozen=True, slots=True)
class Pair:
    """One question and its answer, both without an ``<image>`` mark but otherwise as written."""

    task: TaskName
    prompt: str
    answer: str
    groups: tuple[Group, ...] = ()


@dataclass(frozen=True, slots=True)
class Content:
    """A row parsed. `problem` says why a row has no pairs; `extra_keys` are keys that no known row has."""

    image: str | None
    pairs: tuple[Pair, ...] = ()
    problem: str | None = None
    extra_keys: tuple[str, ...] = ()


def parse_row(raw: bytes, family: Family | None = None, sizes: Sizes | None = None) -> Content:
    """Parse the bytes of one row; never raises on any bytes.

    Args:
        raw: one element of the array, as written.
        family: of the JSON file; the image's folder decides where this is None.
        sizes: image path (`normal_path`) -> (width, height) in pixels, for pixel boxes.
    """
    try:
        row = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        return Content(None, problem=f"no JSON: {error.msg}")
    if not isinstance(row, dict) or not isinstance(row.get("image"), str):
        return Content(None, problem="no object with an `image` text")
    image = row["image"]
    extra = tuple(sorted(set(row) - {"image", "conversations"}))
    family = family or place_of_image(image).family
    size = (sizes or {}).get(normal_path(image))
    frame = SquareFrame(*size) if size else None
    texts = _texts(row.get("conversations"))
    if isinstance(texts, str):
        return Content(image, problem=texts, extra_keys=extra)
    pairs = tuple(_pair(prompt, answer, family, frame) for prompt, answer in zip(texts[::2], texts[1::2], strict=True))
    return Content(image, pairs, extra_keys=extra)


def infer_task(prompt: str, answer: str, family: Family | None = None) -> TaskName:
    """The task of a pair. The family decides where it has one task; else the wording does; the rest is ``vqa``."""
    if family in FAMILY_TASKS:
        return FAMILY_TASKS[family]
    if _region(prompt) is not None:
        return "region-captioning"
    if _described(prompt) is not None:
        return "visual-grounding"
    if family == "detection" or _DETECTION_PROMPT.match(prompt) or _is_detection_answer(answer):
        # One box tells for all of an answer: 8 numbers have 7 commas.
        first = _BRACKET.search(answer)
        oriented = "oriented" in prompt.casefold() or bool(first and first[1].split(";", 1)[0].count(",") == 7)
        return "detection-obb" if oriented else "detection-hbb"
    if _CLASSIFICATION.search(prompt):
        return "classification"
    if _CAPTIONING.search(prompt):
        return "captioning"
    return "vqa"


def _region(prompt: str) -> str | None:
    """The inside of the bracket group that ends a prompt for the description of a region."""
    start = _REGION.search(prompt)
    stripped = prompt.rstrip()
    opened = stripped.rfind("[")
    if start is None or opened < start.end() or not stripped.endswith("]"):
        return None
    inside = stripped[opened + 1 : -1]
    return None if "]" in inside else inside


def _described(prompt: str) -> str | None:
    """The description in a prompt of visual grounding."""
    start = before = place = 0
    for part in _GROUNDING:
        found = part.search(prompt, place)
        if found is None:
            return None
        before, start, place = place, found.start(), found.end()
    return prompt[before:start].strip()


def _is_detection_answer(answer: str) -> bool:
    start = _DETECTION_ANSWER.search(answer)
    return start is not None and "[" in answer[start.end() :]


def read_number_groups(text: str) -> tuple[tuple[tuple[float, ...], ...], int]:
    """The inside of one bracket group -> boxes of 4 or 8 numbers as written, and how many pieces were none."""
    boxes, unreadable = [], 0
    for piece in text.split(";"):
        if _BOX.fullmatch(piece):
            boxes.append(tuple(map(float, piece.split(","))))
        else:
            unreadable += bool(piece.strip())
    return tuple(boxes), unreadable


def _texts(conversations: Any) -> list[str] | str:
    """The values of alternating turns, or what is wrong with them."""
    if not isinstance(conversations, list) or not conversations or len(conversations) % 2:
        return "`conversations` is no list of question/answer pairs"
    texts = []
    for number, turn in enumerate(conversations):
        expected = "gpt" if number % 2 else "human"
        if not isinstance(turn, dict) or set(turn) != {"from", "value"} or turn["from"] != expected:
            return f"turn {number} has not the keys from and value, or is not from {expected}"
        if not isinstance(turn["value"], str) or not turn["value"].strip():
            return f"turn {number} has no text"
        texts.append(without_image_marks(turn["value"]))
    return texts


def _pair(prompt: str, answer: str, family: Family | None, frame: SquareFrame | None) -> Pair:
    task = infer_task(prompt, answer, family)
    groups: tuple[Group, ...] = ()
    if task == "region-captioning":
        groups = (_group(answer, None, _region(prompt) or "", frame),)
    elif task == "visual-grounding":
        text = _described(prompt) or ""
        groups = tuple(_group(text, None, inside, frame) for inside in _BRACKET.findall(answer))
    elif task in ("detection-hbb", "detection-obb"):
        parsed = parse_detections(answer, _FRACTIONS, (), _RELEASED)
        insides = _BRACKET.findall(answer)
        groups = tuple(_group(item.name, item.count, text, frame) for item, text in zip(parsed, insides, strict=False))
    return Pair(task, prompt, answer, groups)


def _group(name: str, count: int | None, inside: str, frame: SquareFrame | None) -> Group:
    numbers, unreadable = read_number_groups(inside)
    pixels = None if frame is None else _plain(_RELEASED.parse(inside, frame))
    return Group(name, count, numbers, pixels, sum(_degenerate(box) for box in numbers), unreadable)


def _plain(boxes: ParsedBoxes) -> tuple[tuple[float, ...], ...]:
    found = boxes.hbb if boxes.quads is None else boxes.quads.reshape(-1, 8)
    return tuple(tuple(round(value, 4) for value in row) for row in found.tolist())


def _degenerate(box: Sequence[float]) -> bool:
    xs, ys = box[::2], box[1::2]
    if len(box) == 4:
        return xs[1] <= xs[0] or ys[1] <= ys[0]
    return max(xs) <= min(xs) or max(ys) <= min(ys)
