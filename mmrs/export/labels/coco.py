"""COCO detection JSON, one file a split: ``annotations/<split>.json``.

``bbox`` is x, y, width, height in pixels; the quad is the one ring of ``segmentation``, its area is ``area``. Objects
without a horizontal box have the extent of their quad, as mmdetection computes it from the ring. Ids count from 1.
Objects that count as nothing are crowds of their class; regions of no class are left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

import orjson

from mmrs.data_set.sample import Sample
from mmrs.export.format import IGNORED, ExportCounts, ExportFormat, ExportTarget
from mmrs.record import AnnotatedObject, Quad


def _write(samples: Iterable[tuple[Sample, PurePosixPath]], target: ExportTarget) -> ExportCounts:
    counts = ExportCounts()
    number = {name: place for place, name in enumerate(target.categories, start=1)}
    path = target.folder / "annotations" / f"{target.split}.json"
    path.parent.mkdir(exist_ok=True)
    rows_path = path.with_suffix(".rows")
    # Image rows and annotation rows are two lists: the second grows in a file beside the first.
    with path.open("wb") as images, rows_path.open("w+b") as rows:
        categories = [{"id": place, "name": name, "supercategory": "object"} for name, place in number.items()]
        images.write(b'{"categories":' + orjson.dumps(categories) + b',"images":[')
        for sample, image in samples:
            counts.images += 1
            size = sample.record.image
            row = {"id": counts.images, "file_name": _name(image), "width": size.width, "height": size.height}
            images.write((b"," if counts.images > 1 else b"") + b"\n" + orjson.dumps(row))
            for thing in sample.record.objects:
                if thing.category not in number:
                    # Regions of no class: a crowd has to be one of some class.
                    counts.left_out[IGNORED] += 1
                    continue
                counts.objects += 1
                written = _annotation(thing, counts.objects, counts.images, number[thing.category])
                rows.write((b"," if counts.objects > 1 else b"") + b"\n" + orjson.dumps(written))
        images.write(b'],"annotations":[')
        rows.seek(0)
        while block := rows.read(1 << 20):
            images.write(block)
        images.write(b"]}\n")
    rows_path.unlink()
    return counts


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


def _name(image: PurePosixPath) -> str:
    return str(image.relative_to("images"))


COCO_EXPORT = ExportFormat(
    "coco",
    "annotations/<split>.json, boxes and quads; file names are relative to images/",
    "pixels of the image as it lies here, x, y, width, height, two decimals; quads as one ring of segmentation",
    _write,
)
