"""COCO detection JSON, one file a split: ``annotations/<split>.json``.

``bbox`` is x, y, width, height in pixels; the quad is the one ring of ``segmentation``, its area is ``area``. Objects
without a horizontal box have the extent of their quad, as mmdetection computes it from the ring. Ids count from 1.
Objects that count as nothing are crowds of their class; regions of no class are left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from mmrs.export.format import IGNORED, ExportCounts, ExportFormat, ExportPart, PlacedSample, WrittenExport, fixed_frame
from mmrs.record import AnnotatedObject, Quad


def _write(samples: Iterable[PlacedSample], part: ExportPart) -> ExportCounts:
    counts = ExportCounts()
    number = {name: place for place, name in enumerate(part.categories, start=1)}
    with part.file("images").open("wb") as images, part.file("annotations").open("wb") as annotations:
        for sample in samples:
            counts.images += 1
            image = part.before.images + counts.images
            size = sample.record.image
            row = {"id": image, "file_name": _name(sample), "width": size.width, "height": size.height}
            images.write((b",\n" if image > 1 else b"\n") + orjson.dumps(row))
            for thing in sample.record.objects:
                if thing.category not in number:
                    # Regions of no class: a crowd has to be one of some class.
                    counts.left_out[IGNORED] += 1
                    continue
                counts.objects += 1
                place = part.before.objects + counts.objects
                written = _annotation(thing, place, image, number[thing.category])
                annotations.write((b",\n" if place > 1 else b"\n") + orjson.dumps(written))
    return counts


def _finish(written: WrittenExport) -> None:
    categories = [
        {"id": place, "name": name, "supercategory": "object"} for place, name in enumerate(written.categories, start=1)
    ]
    (written.folder / "annotations").mkdir(exist_ok=True)
    for split in written.counts:
        with (written.folder / "annotations" / f"{split}.json").open("wb") as file:
            file.write(b'{"categories":' + orjson.dumps(categories) + b',"images":[')
            written.append(file, split, "images")
            file.write(b'],"annotations":[')
            written.append(file, split, "annotations")
            file.write(b"]}\n")


def _annotation(thing: AnnotatedObject, number: int, image: int, category: int) -> dict[str, Any]:
    x1, y1, x2, y2 = thing.extent()
    return {
        "id": number,
        "image_id": image,
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
)
