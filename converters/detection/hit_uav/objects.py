"""Objects of HIT-UAV's JSON and XML files, as each layout states them."""

from __future__ import annotations

from typing import Any

from converters.detection.hit_uav.files import Layout
from converters.formats.coco import bbox, known_category
from converters.formats.shapes import BoxObject, check_box, check_rotated
from converters.formats.text import flag, shown
from converters.formats.voc import VocFile
from mmrs.errors import BadItem
from mmrs.source import Item


def json_objects(item: Item) -> list[BoxObject]:
    """Objects of an item of a JSON layout, in file order. Raises `BadItem`."""
    path = str(item.annotations[0])
    return [_json_object(row, item.payload["layout"], path) for row in item.payload["rows"]]


def xml_objects(voc: VocFile, layout: Layout, path: str) -> list[BoxObject]:
    """Objects of an XML file, in file order. Raises `BadItem` when they are not of the layout's box kind."""
    for obj in voc.objects:
        if (obj.rotated is None) == layout.startswith("rotate"):
            expected = "robndbox" if obj.rotated is None else "bndbox"
            raise BadItem(f"object {obj.label!r} of {layout} has no <{expected}>", path, obj.line)
    return list(voc.objects)


def _json_object(row: dict[str, Any], layout: Layout, path: str) -> BoxObject:
    label = known_category(row, path)
    difficult = flag(row.get("difficult"), f"difficult of annotation {shown(row.get('id'))}", path)
    if layout == "rotate_json":
        cx, cy, width, height, angle = bbox(row, 5, path)
        return BoxObject(label, None, check_rotated((cx, cy, width, height, angle), path), difficult)
    xmin, ymin, width, height = bbox(row, 4, path)
    return BoxObject(label, check_box((xmin, ymin, xmin + width, ymin + height), path), None, difficult)
