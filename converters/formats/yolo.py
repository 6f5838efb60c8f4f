"""YOLO text labels: a class index and a box per line, in fractions of the image's own width and height.

Two forms: a horizontal box ``class cx cy w h`` and an oriented one ``class x1 y1 x2 y2 x3 y3 x4 y4``. The label file
names neither the image size nor the classes; class names stand in ``classes.txt`` or in ``names`` of ``data.yaml``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import yaml

from converters.formats.text import decode, finite, integer, read_bytes, shown
from mmrs.config import parse_words
from mmrs.errors import BadItem
from mmrs.geometry import Array, quad_from_hbb

_Form = Literal["hbb", "obb"]
_NUMBERS: dict[_Form, int] = {"hbb": 4, "obb": 8}
# Written centres and sides are rounded on their own, so an edge may pass the border by a few digits.
EDGE_TOLERANCE = 0.01
# Corners of an oriented box may lie outside the image, but numbers far from 0..1 are pixels.
CORNER_RANGE = (-1.0, 2.0)


@dataclass(frozen=True, slots=True)
class YoloObject:
    """One line: class `index` (from 0) and `numbers`, 4 (cx, cy, w, h) or 8 (corners), fractions of width and height.

    `line` is 1-based.
    """

    index: int
    numbers: tuple[float, ...]
    line: int


def read_yolo(path: Path, form: _Form, classes: int) -> tuple[YoloObject, ...]:
    """Read one label file. Raises `BadItem`."""
    return parse_yolo(read_bytes(path), str(path), form, classes)


def parse_yolo(data: bytes, path: str, form: _Form, classes: int) -> tuple[YoloObject, ...]:
    """Parse the bytes of one label file; an empty file has no objects.

    Args:
        data: the file, LF or CRLF, with or without a byte order mark.
        path: names the file in errors.
        form: ``hbb`` (4 numbers a line) or ``obb`` (8).
        classes: number of classes; an index must be below it.

    Raises:
        BadItem: with the line, for a wrong number of words, an index out of range, pixels instead of fractions, or a
            negative width or height.
    """
    objects = []
    for number, line in enumerate(decode(data, path).split("\n"), 1):
        words = line.split()
        if not words:
            continue
        if len(words) != _NUMBERS[form] + 1:
            expected = f"a class index and {_NUMBERS[form]} numbers"
            raise BadItem(f"{len(words)} words in {shown(line.strip())}; {expected} are expected", path, number)
        index = integer(words[0], "class index", path, number)
        if not 0 <= index < classes:
            raise BadItem(f"class index {index} is out of range; there are {classes} classes", path, number)
        numbers = tuple(finite(word, "coordinate", path, number) for word in words[1:])
        (_check_centre_box if form == "hbb" else _check_corners)(numbers, path, number)
        objects.append(YoloObject(index, numbers, number))
    return tuple(objects)


def yolo_boxes(objects: Sequence[YoloObject], width: int, height: int) -> Array:
    """Horizontal objects -> ``(N, 4)`` xmin, ymin, xmax, ymax in pixels, clipped to the image of that size.

    Clipping only removes what `EDGE_TOLERANCE` let through.
    """
    numbers = _numbers(objects, 4)
    low, high = numbers[:, :2] - numbers[:, 2:] / 2, numbers[:, :2] + numbers[:, 2:] / 2
    return np.clip(np.concatenate([low, high], axis=1), 0, 1) * [width, height, width, height]


def yolo_quads(objects: Sequence[YoloObject], width: int, height: int) -> Array:
    """Objects of one form -> ``(N, 4, 2)`` pixels; corners in the order of the file (`yolo_boxes` where horizontal)."""
    if objects and len(objects[0].numbers) == _NUMBERS["hbb"]:
        return quad_from_hbb(yolo_boxes(objects, width, height))
    return _numbers(objects, 8).reshape(-1, 4, 2) * [width, height]


def read_class_names(path: Path) -> tuple[str, ...]:
    """Class names by index from ``classes.txt`` (one a line) or a YAML file with ``names`` (list, or index -> name).

    Raises:
        BadItem: unreadable file, no names, or indices that do not run from 0.
    """
    text = decode(read_bytes(path), str(path))
    if path.suffix.lower() not in {".yaml", ".yml"}:
        names: object = [line.strip() for line in text.split("\n") if line.strip()]
    else:
        try:
            content = parse_words(text)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise BadItem(f"not YAML: {error}", str(path)) from error
        names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, dict):
        names = _by_index(names, str(path))
    if not isinstance(names, list) or not names:
        raise BadItem("no class names found (one a line, or `names` in YAML)", str(path))
    for index, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            raise BadItem(f"the name of class {index} is {shown(name)}; quote it", str(path))
    return tuple(names)


def _by_index(names: dict[object, object], path: str) -> list[object]:
    wanted = [str(index) for index in range(len(names))]
    if set(names) != set(wanted):
        raise BadItem(f"indices of `names` are {shown(list(names))}; 0 to {len(names) - 1} are expected", path)
    return [names[index] for index in wanted]


def _numbers(objects: Sequence[YoloObject], length: int) -> npt.NDArray[np.float64]:
    return np.array([item.numbers for item in objects], dtype=np.float64).reshape(-1, length)


def _check_centre_box(numbers: tuple[float, ...], path: str, line: int) -> None:
    cx, cy, width, height = numbers
    if min(width, height) < 0:
        raise BadItem(f"box {list(numbers)} has a negative width or height", path, line)
    for centre, side in ((cx, width), (cy, height)):
        if centre - side / 2 < -EDGE_TOLERANCE or centre + side / 2 > 1 + EDGE_TOLERANCE:
            reason = f"box {list(numbers)} leaves the image; cx, cy, w, h in fractions (0 to 1) are expected"
            raise BadItem(reason, path, line)


def _check_corners(numbers: tuple[float, ...], path: str, line: int) -> None:
    low, high = CORNER_RANGE
    if min(numbers) < low or max(numbers) > high:
        raise BadItem(f"corners {list(numbers)} are no fractions of the image (0 to 1 expected)", path, line)
