"""YOLO text, a file an image under ``labels/``, and ``data.yaml``: boxes or, as ``yolo-obb``, four corners.

``class centre-x centre-y width height``, or ``class x1 y1 x2 y2 x3 y3 x4 y4``, as shares of the image's sides.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import yaml

from mmrs.export.format import (
    IGNORED,
    NO_HORIZONTAL_BOX,
    ExportCounts,
    ExportFormat,
    ExportPart,
    PlacedSample,
    WrittenExport,
    fixed_frame,
    horizontal_box,
    label_path,
    write_into,
)
from mmrs.record import AnnotatedObject


def _write(samples: Iterable[PlacedSample], part: ExportPart, corners: bool) -> ExportCounts:
    counts = ExportCounts()
    number = {name: place for place, name in enumerate(part.categories)}
    for sample in samples:
        counts.images += 1
        size = sample.record.image.width, sample.record.image.height
        lines = []
        for thing in sample.record.objects:
            shares = _quad(thing, size) if corners else _box(thing, size, part)
            if thing.ignore or shares is None:
                counts.left_out[IGNORED if thing.ignore else NO_HORIZONTAL_BOX] += 1
            else:
                lines.append(f"{number[thing.category]} {' '.join(f'{share:.6f}' for share in shares)}\n")
        counts.objects += len(lines)
        write_into(part.folder, label_path(sample.path, ".txt"), "".join(lines).encode())
    return counts


def _quad(thing: AnnotatedObject, size: tuple[int, int]) -> list[float]:
    return [value / side for corner in thing.quad for value, side in zip(corner, size, strict=True)]


def _box(thing: AnnotatedObject, size: tuple[int, int], part: ExportPart) -> list[float] | None:
    box = horizontal_box(thing, part.obb)
    if box is None:
        return None
    (x1, y1, x2, y2), (width, height) = box, size
    return [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height]


def _write_names(written: WrittenExport) -> None:
    folders = {split: f"images/{split}" for split in written.counts}
    content = {"path": ".", **folders, "names": dict(enumerate(written.categories))}
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    (written.folder / "data.yaml").write_text(text, encoding="utf-8")


YOLO_EXPORT = ExportFormat(
    "yolo",
    "labels/<split>/<source>/<stem>.txt and data.yaml, horizontal boxes",
    fixed_frame("shares of the image's width and height, centre and size, six decimals"),
    partial(_write, corners=False),
    _write_names,
    several="first",
)
YOLO_OBB_EXPORT = ExportFormat(
    "yolo-obb",
    "labels/<split>/<source>/<stem>.txt and data.yaml, four corners",
    fixed_frame("shares of the image's width and height, four corners clockwise on screen, six decimals"),
    partial(_write, corners=True),
    _write_names,
    several="first",
)
