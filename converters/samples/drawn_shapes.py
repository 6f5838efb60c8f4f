"""The boxes of a user's own sample as drawing tools write them, each in its true layout: Labelme, CVAT, Supervisely."""

from __future__ import annotations

import base64
import io
import json
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


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")
