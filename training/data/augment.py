"""Deterministic changes of a training image, a pure function of (seed, epoch, sample, pack). Off by default.

What is offered keeps the text true. Brightness, contrast and noise change no place and no hue, so captions and answers
that name colours stay right. Turns and mirror images (`dihedral`) move things: they are made only where every dialogue
of the unit is a classification or a detection, no text has a word of direction, and every box in it can be rewritten;
the boxes are then those of the turned square, exactly, in as many characters. All else is shown as it is.

Shape legend: C channels, H W pixels of the square.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from PIL import Image

from mmrs.seeding import random_words
from training.config import AugmentConfig

Turns = list[tuple[str, str]]
TURNABLE_TASKS = frozenset({"classification", "detection-hbb", "detection-obb"})
_DIRECTION = re.compile(
    r"\b(left|right|top|bottom|upper|lower|above|below|north\w*|south\w*|east\w*|west\w*|horizontal\w*|vertical\w*|"
    r"(anti|counter)?-?clockwise|diagonal\w*)\b",
    re.IGNORECASE,
)
_GROUP = re.compile(r"\[([^\[\]]*)\]")
_FRACTION = re.compile(r"[01]\.\d+")
_MIDDLE_GREY = 128


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What happens to one image: factors of brightness and contrast, noise of up to so many grey levels, and one of
    the eight symmetries of the square: swap x and y, then mirror x, then mirror y.
    """

    brightness: float = 1.0
    contrast: float = 1.0
    noise: int = 0
    swap: bool = False
    mirror_x: bool = False
    mirror_y: bool = False
    key: tuple[str | int, ...] = ()

    @property
    def turns(self) -> bool:
        """Whether anything changes its place."""
        return self.swap or self.mirror_x or self.mirror_y


def draw(config: AugmentConfig, *key: str | int) -> Augmentation:
    """The augmentation of an image, drawn from the key alone."""
    words = random_words(3, "augment", *key)
    brightness, contrast = (1 + limit * (2 * (int(word) / 2**64) - 1) for limit, word in zip(
        (config.brightness, config.contrast), words, strict=False
    ))  # fmt: skip
    symmetry = int(words[2] >> np.uint64(61)) if config.dihedral else 0
    return Augmentation(
        brightness, contrast, config.noise, bool(symmetry & 4), bool(symmetry & 2), bool(symmetry & 1), key
    )


def shade(image: Image.Image, augmentation: Augmentation) -> Image.Image:
    """The image with other brightness and contrast, before it is padded, so that the padding keeps its colour."""
    if augmentation.brightness == augmentation.contrast == 1.0:
        return image
    levels = (np.arange(256) - _MIDDLE_GREY) * augmentation.contrast + _MIDDLE_GREY * augmentation.brightness
    table = np.clip(np.rint(levels), 0, 255).astype(int).tolist()
    plain = image if image.mode in ("L", "RGB") else image.convert("RGB")
    return plain.point(table * len(plain.getbands()))


def turn_square(pixels_CHW: np.ndarray, augmentation: Augmentation) -> np.ndarray:
    """The padded square, turned and with noise; uint8 (C, H, W), H = W."""
    if augmentation.swap:
        pixels_CHW = pixels_CHW.transpose(0, 2, 1)
    if augmentation.mirror_x:
        pixels_CHW = pixels_CHW[:, :, ::-1]
    if augmentation.mirror_y:
        pixels_CHW = pixels_CHW[:, ::-1]
    if augmentation.noise:
        span = np.uint64(2 * augmentation.noise + 1)
        words = random_words(pixels_CHW.size, "noise", *augmentation.key)
        noise = (words % span).astype(np.int16) - augmentation.noise
        pixels_CHW = np.clip(pixels_CHW + noise.reshape(pixels_CHW.shape), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels_CHW)


def turn_dialogues(dialogues: list[tuple[str, Turns]], augmentation: Augmentation) -> list[Turns] | None:
    """The turns of (task, turns) pairs for a turned image, None where they cannot be kept true."""
    turned = []
    for task, turns in dialogues:
        if task not in TURNABLE_TASKS:
            return None
        rewritten: Turns = []
        for role, text in turns:
            moved = turn_text(text, augmentation)
            if moved is None:
                return None
            rewritten.append((role, moved))
        turned.append(rewritten)
    return turned


def turn_text(text: str, augmentation: Augmentation) -> str | None:
    """The text with every box moved, None where a bracket is no list of boxes or a word speaks of directions.

    A coordinate keeps its number of decimals: in steps of the last one, x becomes ``10**decimals - x``, without error.
    """
    if _DIRECTION.search(text):
        return None
    parts, last = [], 0
    for match in _GROUP.finditer(text):
        boxes = _turn_boxes(match[1], augmentation)
        if boxes is None:
            return None
        parts += [text[last : match.start()], "[", boxes, "]"]
        last = match.end()
    rest = text[last:]
    return None if "[" in rest or "]" in rest else "".join([*parts, rest])


def _turn_boxes(text: str, augmentation: Augmentation) -> str | None:
    rows = []
    for piece in text.split(";"):
        separator = ", " if ", " in piece else ","
        numbers = piece.split(separator)
        if len(numbers) not in (4, 8) or not all(_FRACTION.fullmatch(number) for number in numbers):
            return None
        decimals = {len(number) - 2 for number in numbers}
        if len(decimals) != 1:
            return None
        unit = 10 ** decimals.pop()
        steps = [int(number.replace(".", "")) for number in numbers]
        if max(steps) > unit:
            return None
        corners = [_turn_point(x, y, unit, augmentation) for x, y in zip(steps[::2], steps[1::2], strict=True)]
        ordered = _rectangle(corners) if len(corners) == 2 else _clockwise(corners)
        rows.append(
            separator.join(f"{n // unit}.{n % unit:0{len(str(unit)) - 1}d}" for corner in ordered for n in corner)
        )
    return ";".join(rows)


def _turn_point(x: int, y: int, unit: int, augmentation: Augmentation) -> tuple[int, int]:
    if augmentation.swap:
        x, y = y, x
    return unit - x if augmentation.mirror_x else x, unit - y if augmentation.mirror_y else y


def _rectangle(corners: list[tuple[int, int]]) -> list[tuple[int, int]]:
    (x1, y1), (x2, y2) = corners
    return [(min(x1, x2), min(y1, y2)), (max(x1, x2), max(y1, y2))]


def _clockwise(corners: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Clockwise on screen from the corner nearest to the top left, ties by the smaller y: as `canonical_quad`."""
    following = corners[1:] + corners[:1]
    doubled_area = sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(corners, following, strict=True))
    ordered = corners if doubled_area >= 0 else corners[::-1]
    first = min(range(4), key=lambda number: (sum(ordered[number]), ordered[number][1]))
    return ordered[first:] + ordered[:first]
