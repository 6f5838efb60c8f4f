"""COCO detection JSON, one file a split: ``annotations/<split>.json``.

``bbox`` is x, y, width, height in pixels; the quad is the one ring of ``segmentation``, its area is ``area``. Objects
without a horizontal box have the extent of their quad, as mmdetection computes it from the ring. Ids count from 1.
Objects that count as nothing are crowds of their class; regions of no class are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from mmrs.export.format import (
    IGNORED,
    ExportCounts,
    ExportFormat,
    ExportPart,
    PlacedSample,
    WrittenExport,
    fixed_frame,
    write_items,
)
from mmrs.record import AnnotatedObject, Quad


def _write(samples: Iterable[PlacedSample], part: ExportPart) -> ExportCounts:
    counts = ExportCounts()
    number = {name: place for place, name in enumerate(part.categories, start=1)}
    with part.file("images").open("wb") as images, part.file("annotations").open("wb") as annotations:
        for sample in samples:
            counts.images += 1
            size = sample.record.image
            row = {"file_name": _name(sample), "width": size.width, "height": size.height}
            images.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
            for thing in sample.record.objects:
                if thing.category not in number:
                    # Regions of no class: a crowd has to be one of some class.
                    counts.left_out[IGNORED] += 1
                    continue
                counts.objects += 1
                row = _annotation(thing, number[thing.category])
                annotations.write(b"%d %b\n" % (counts.images, orjson.dumps(row)))
    return counts


def _finish(written: WrittenExport) -> None:
    categories = [
        {"id": place, "name": name, "supercategory": "object"} for place, name in enumerate(written.categories, start=1)
    ]
    (written.folder / "annotations").mkdir(exist_ok=True)
    for split in written.counts:
        with (written.folder / "annotations" / f"{split}.json").open("wb") as file:
            file.write(b'{"categories":' + orjson.dumps(categories) + b',"images":[')
            write_items(file, _numbered_images(written, split))
            file.write(b'],"annotations":[')
            write_items(file, _numbered_annotations(written, split))
            file.write(b"]}\n")


def _numbered_images(written: WrittenExport, split: str) -> Iterator[bytes]:
    for number, line in enumerate(written.lines(split, "images"), start=1):
        yield b'{"id":%d,%b' % (number, line[1:])


def _numbered_annotations(written: WrittenExport, split: str) -> Iterator[bytes]:
    """Lines of a part begin with the number of their image in it, to which the images of the parts before are added."""
    place, before = 1, 0
    pieces = (written.pieces(split, kind) for kind in ("images", "annotations"))
    for of_images, of_annotations in zip(*pieces, strict=True):
        with of_annotations.open("rb") as lines:
            for line in lines:
                number, _, row = line.rstrip(b"\n").partition(b" ")
                yield b'{"id":%d,"image_id":%d,%b' % (place, before + int(number), row[1:])
                place += 1
        with of_images.open("rb") as lines:
            before += sum(1 for _ in lines)


def _annotation(thing: AnnotatedObject, category: int) -> dict[str, Any]:
    """An annotation without the ids, which follow from the parts before."""
    x1, y1, x2, y2 = thing.extent()
    return {
        "category_id": category,
        "bbox": [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)],
        "area": round(_area(thing.quad), 2),
        "segmentation": [[round(value, 2) for corner in thing.quad for value in corner]],
        "iscrowd": int(thing.ignore),
    }


def _area(quad: Quad) -> float:
    """Of a quad without crossing sides, by the shoelace formula."""
    doubled = sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(quad, (*quad[1:], quad[0]), strict=True))
    return abs(doubled) / 2


def _name(sample: PlacedSample) -> str:
    return sample.image.removeprefix("images/")


COCO_EXPORT = ExportFormat(
    "coco",
    "annotations/<split>.json, boxes and quads; file names are relative to images/",
    fixed_frame("pixels of the stored image, x, y, width, height, two decimals; quads as one ring of segmentation"),
    _write,
    _finish,
    several="first",
)
