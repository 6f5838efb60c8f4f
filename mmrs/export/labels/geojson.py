"""GeoJSON, one FeatureCollection a split: ``<split>.geojson``, a polygon an object, as xView's labels are laid out.

Coordinates are pixels, not degrees: shards keep no map position. RFC 7946 knows longitude and latitude alone, so the
README says so, and readers must be told that there is no reference system. A tile's features carry its window, by
which they can be moved into the scene and, with the scene's own transform, onto the map.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from mmrs.export.format import (
    ExportCounts,
    ExportFormat,
    ExportPart,
    PlacedSample,
    WrittenExport,
    fixed_frame,
    write_items,
)
from mmrs.record import AnnotatedObject, Record


def _write(samples: Iterable[PlacedSample], part: ExportPart) -> ExportCounts:
    counts = ExportCounts()
    with part.file("features").open("wb") as file:
        for sample in samples:
            counts.images += 1
            of_image = _image_properties(sample)
            for thing in sample.record.objects:
                counts.objects += 1
                file.write(orjson.dumps(_feature(thing, of_image), option=orjson.OPT_APPEND_NEWLINE))
    return counts


def _image_properties(sample: PlacedSample) -> dict[str, Any]:
    record: Record = sample.record
    size = record.image
    properties: dict[str, Any] = {
        "image": sample.image,
        "image_id": record.id,
        "image_width": size.width,
        "image_height": size.height,
    }
    if size.parent is not None:
        properties["scene"] = size.parent
    if size.window is not None:
        properties["window"] = [size.window.x, size.window.y, size.window.width, size.window.height]
    return properties


def _feature(thing: AnnotatedObject, of_image: dict[str, Any]) -> dict[str, Any]:
    # Rings of RFC 7946 run counter-clockwise with y up: on screen, where y points down, our order is that already.
    ring = [[round(x, 2), round(y, 2)] for x, y in (*thing.quad, thing.quad[0])]
    properties = {
        "category": thing.category,
        "label": thing.label,
        "difficult": thing.difficult,
        "truncated": thing.truncated,
        "ignore": thing.ignore,
        **of_image,
    }
    return {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": properties}


def _finish(written: WrittenExport) -> None:
    for split in written.counts:
        with (written.folder / f"{split}.geojson").open("wb") as file:
            file.write(b'{"type":"FeatureCollection","features":[')
            write_items(file, written.lines(split, "features"))
            file.write(b"\n]}\n")


GEOJSON_EXPORT = ExportFormat(
    "geojson",
    "<split>.geojson, a polygon an object; ignored regions have the property `ignore`",
    fixed_frame(
        "pixels of the image as it is stored (x right, y down, no map coordinates), four corners, two decimals; "
        "`window` is x, y, width, height of a tile in its scene"
    ),
    _write,
    _finish,
    several="first",
)
