"""The boxes of a user's own sample as drawing tools write them, each in its true layout: Labelme, CVAT, Supervisely,
masks of PASCAL VOC, GeoJSON over GeoTIFF.
"""

from __future__ import annotations

import base64
import io
import json
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SAMPLE_SIZE = (96, 64)
SAMPLE_LABELS = ("ship", "storage-tank")
# One object: index of its label, and xmin, ymin, xmax, ymax in pixels.
SampleBox = tuple[int, tuple[int, int, int, int]]
SampleBoxes = dict[str, list[SampleBox]]


def write_labelme(root: Path, split: str, boxes: SampleBoxes) -> None:
    """A JSON file an image; objects are rectangles and, by turns, polygons."""
    for stem, objects in boxes.items():
        shapes: list[dict[str, Any]] = []
        for number, (label, (x1, y1, x2, y2)) in enumerate(objects):
            corners = [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]
            kind = "polygon" if number % 2 else "rectangle"
            points = corners if number % 2 else corners[::2]
            shape = {"label": SAMPLE_LABELS[label], "points": points, "group_id": None, "description": ""}
            shapes.append(shape | {"shape_type": kind, "flags": {}, "mask": None})
        content: dict[str, Any] = {
            "version": "5.5.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": f"..\\..\\images\\{split}\\{stem}.jpg",
            "imageData": None,
            "imageHeight": SAMPLE_SIZE[1],
            "imageWidth": SAMPLE_SIZE[0],
        }
        _write_json(root / "labels" / split / f"{stem}.json", content)


def write_cvat(root: Path, split: str, boxes: SampleBoxes) -> None:
    """One XML file of CVAT for images 1.1."""
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        "<annotations>",
        "  <version>1.1</version>",
        "  <meta><job/></meta>",
    ]
    for number, (stem, objects) in enumerate(boxes.items()):
        lines.append(f'  <image id="{number}" name="{stem}.jpg" width="{SAMPLE_SIZE[0]}" height="{SAMPLE_SIZE[1]}">')
        for label, (x1, y1, x2, y2) in objects:
            edges = f'xtl="{x1:.2f}" ytl="{y1:.2f}" xbr="{x2:.2f}" ybr="{y2:.2f}"'
            lines.append(
                f'    <box label="{SAMPLE_LABELS[label]}" source="manual" occluded="0" {edges} z_order="0">\n    </box>'
            )
        lines.append("  </image>")
    root.mkdir(parents=True, exist_ok=True)
    (root / f"{split}.xml").write_text("\n".join([*lines, "</annotations>\n"]), encoding="utf-8")


def write_supervisely(root: Path, split: str, boxes: SampleBoxes) -> None:
    """A project with a data set a split; objects are rectangles and, by turns, bitmaps and polygons."""
    classes = [
        {"title": label, "description": "", "shape": "any", "color": "#2C62CE", "geometry_config": {}, "id": number}
        for number, label in enumerate(SAMPLE_LABELS)
    ]
    _write_json(root / "meta.json", {"classes": classes, "tags": [], "projectType": "images"})
    for stem, objects in boxes.items():
        rows = [_supervisely_object(number, label, box) for number, (label, box) in enumerate(objects)]
        size = {"height": SAMPLE_SIZE[1], "width": SAMPLE_SIZE[0]}
        content = {"description": "", "tags": [], "size": size, "objects": rows}
        _write_json(root / split / "ann" / f"{stem}.jpg.json", content)


def _supervisely_object(number: int, label: int, box: tuple[int, int, int, int]) -> dict[str, Any]:
    x1, y1, x2, y2 = box
    row: dict[str, Any] = {"id": number, "classId": label, "classTitle": SAMPLE_LABELS[label], "tags": []}
    if number % 3 == 1:
        # Pixels are 1 bit each with a palette, as the platform packs them.
        mask = Image.fromarray(np.ones((y2 - y1, x2 - x1), dtype=bool))
        buffer = io.BytesIO()
        mask.save(buffer, "PNG", transparency=0)
        data = base64.b64encode(zlib.compress(buffer.getvalue())).decode()
        return row | {"geometryType": "bitmap", "bitmap": {"data": data, "origin": [x1, y1]}}
    # The ends of whole numbers are pixels.
    corners = [[x1, y1], [x2 - 1, y1], [x2 - 1, y2 - 1], [x1, y2 - 1]]
    is_polygon = number % 3 == 2
    points = {"exterior": corners if is_polygon else corners[::2], "interior": []}
    return row | {"geometryType": "polygon" if is_polygon else "rectangle", "points": points}


def write_masks(root: Path, split: str, boxes: SampleBoxes) -> None:
    """A palette PNG an image, as PASCAL VOC has them: 0 is background, objects have a rim of 255."""
    palette = [channel for value in range(256) for channel in (value * 37 % 256, value * 91 % 256, value * 151 % 256)]
    for stem, objects in boxes.items():
        values = np.zeros(SAMPLE_SIZE[::-1], dtype=np.uint8)
        for _, (x1, y1, x2, y2) in objects:
            values[max(y1 - 1, 0) : y2 + 1, max(x1 - 1, 0) : x2 + 1] = 255
        for label, (x1, y1, x2, y2) in objects:
            values[y1:y2, x1:x2] = label + 1
        mask = Image.fromarray(values).convert("P")
        mask.putdata(values.reshape(-1).tolist())
        mask.putpalette(palette)
        path = root / "labels" / split / f"{stem}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        mask.save(path)


def write_geojson(root: Path, split: str, boxes: SampleBoxes) -> None:
    """A GeoJSON file an image in degrees, as RFC 7946 has them; the images become GeoTIFFs of UTM zone 33."""
    import rasterio
    from rasterio.transform import Affine
    from rasterio.warp import transform

    for number, (stem, objects) in enumerate(boxes.items()):
        picture = root / "images" / split / f"{stem}.jpg"
        with Image.open(picture) as image:
            pixels = np.asarray(image)
        picture.unlink()
        # Half a metre a pixel, turned by 30 degrees.
        along, across = 0.5 * math.cos(math.pi / 6), 0.5 * math.sin(math.pi / 6)
        place = (along, across, 500_000 + 100 * number, across, -along, 5_000_000)
        size = {"width": SAMPLE_SIZE[0], "height": SAMPLE_SIZE[1], "count": 3, "dtype": "uint8"}
        with rasterio.open(
            picture.with_suffix(".tif"), "w", driver="GTiff", crs="EPSG:32633", transform=Affine(*place), **size
        ) as scene:
            scene.write(np.moveaxis(pixels, 2, 0))
        features = []
        for label, (x1, y1, x2, y2) in objects:
            corners = np.array([(x1, y1, 1), (x1, y2, 1), (x2, y2, 1), (x2, y1, 1), (x1, y1, 1)], dtype=np.float64)
            on_map = np.array(place).reshape(2, 3) @ corners.T
            degrees = transform("EPSG:32633", "OGC:CRS84", *on_map.tolist())
            ring = [list(point) for point in zip(*degrees, strict=True)]
            geometry = {"type": "Polygon", "coordinates": [ring]}
            properties = {"class": SAMPLE_LABELS[label]}
            features.append({"type": "Feature", "properties": properties, "geometry": geometry})
        content = {"type": "FeatureCollection", "features": features}
        _write_json(root / "labels" / split / f"{stem}.geojson", content)


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")
