"""Deterministic changes of a training image, a pure function of (seed, epoch, sample, pack). Off by default.

What is offered keeps the text true. Brightness, contrast and noise change no place and no hue, so captions and answers
that name colours stay right. Turns and mirror images (`dihedral`) move things: they are made only where every box in
the unit's texts can be rewritten, and every word of direction in its answers and free texts. Boxes are then those of
the turned square, exactly, in as many characters, and words those of `training.data.directions`. A prompt that is a
template without free text is the same for all images, so its words say nothing of this one. All else is shown as it is.

Shape legend: C channels, H W pixels of the square.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from mmrs.instructions.symmetry import IDENTITY, Symmetry
from mmrs.seeding import random_words
from training.config import AugmentConfig
from training.data.directions import turn_directions

if TYPE_CHECKING:
    from mmrs.instructions.dialects import Dialect

Turns = list[tuple[str, str]]
AUGMENTATIONS = ("brightness", "contrast", "noise", "dihedral")
"""The kinds, as `AugmentConfig` names them."""
TEMPLATE_PROMPTS = frozenset({"classification", "captioning", "region-captioning", "detection-hbb", "detection-obb"})
"""Tasks whose prompt holds no text of a data set but boxes and names of classes."""
_GROUP = re.compile(r"\[([^\[\]]*)\]")
_MIDDLE_GREY = 128


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What happens to one image: factors of brightness and contrast, noise of up to so many grey levels, and one of
    the eight symmetries of the square.
    """

    brightness: float = 1.0
    contrast: float = 1.0
    noise: int = 0
    symmetry: Symmetry = IDENTITY
    key: tuple[str | int, ...] = ()

    @property
    def kinds(self) -> tuple[bool, ...]:
        """Which of `AUGMENTATIONS` change the image."""
        return self.brightness != 1, self.contrast != 1, self.noise > 0, self.symmetry.moves


def draw(config: AugmentConfig, *key: str | int) -> Augmentation:
    """The augmentation of an image, drawn from the key alone."""
    words = random_words(3, "augment", *key)
    brightness = _factor(int(words[0]), config.brightness)
    contrast = _factor(int(words[1]), config.contrast)
    number = int(words[2] >> np.uint64(61)) if config.dihedral else 0
    symmetry = Symmetry(swap=bool(number & 4), mirror_x=bool(number & 2), mirror_y=bool(number & 1))
    return Augmentation(brightness, contrast, config.noise, symmetry, key)


def _factor(word: int, limit: float) -> float:
    """A factor in 1 ± limit from 64 random bits."""
    return 1 + limit * (2 * (word / 2**64) - 1)


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
    if augmentation.symmetry.swap:
        pixels_CHW = pixels_CHW.transpose(0, 2, 1)
    if augmentation.symmetry.mirror_x:
        pixels_CHW = pixels_CHW[:, :, ::-1]
    if augmentation.symmetry.mirror_y:
        pixels_CHW = pixels_CHW[:, ::-1]
    if augmentation.noise:
        span = np.uint64(2 * augmentation.noise + 1)
        words = random_words(pixels_CHW.size, "noise", *augmentation.key)
        noise = (words % span).astype(np.int16) - augmentation.noise
        pixels_CHW = np.clip(pixels_CHW + noise.reshape(pixels_CHW.shape), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels_CHW)


def turn_dialogues(dialogues: Sequence[tuple[str, Turns]], symmetry: Symmetry, dialect: Dialect) -> list[Turns] | None:
    """The turns of (task, turns) pairs for a turned image, None where they cannot be kept true."""
    turned = []
    for task, turns in dialogues:
        rewritten: Turns = []
        for role, text in turns:
            moved = turn_text(text, symmetry, dialect, speaks=role != "human" or task not in TEMPLATE_PROMPTS)
            if moved is None:
                return None
            rewritten.append((role, moved))
        turned.append(rewritten)
    return turned


def turn_text(text: str, symmetry: Symmetry, dialect: Dialect, speaks: bool = True) -> str | None:
    """The text with every box and every word of direction moved, None where one cannot follow.

    Args:
        speaks: whether its words are about this image; those of a template are left alone.
    """
    parts, last = [], 0
    for match in _GROUP.finditer(text):
        boxes = dialect.transform(match[1], symmetry)
        if boxes is None:
            return None
        parts += [text[last : match.start()], "[", boxes, "]"]
        last = match.end()
    rest = text[last:]
    if "[" in rest or "]" in rest:
        return None
    moved = "".join([*parts, rest])
    return turn_directions(moved, symmetry) if speaks else moved
