"""Objects of HIT-UAV's JSON and XML files, as each layout states them."""

from __future__ import annotations

from typing import Any

from converters.detection.hit_uav.files import Layout
from converters.formats.coco import bbox, known_category
from converters.formats.rows import each_row
from converters.formats.shapes import BoxObject, check_box, check_rotated
from converters.formats.text import flag, shown
from converters.formats.voc import VocFile
from mmrs.errors import BadItem
from mmrs.record import UnreadRow
from mmrs.source import Item


def json_rows(item: Item) -> tuple[BoxObject | UnreadRow, ...]:
    """Rows of an item of a JSON layout, in file order."""
    path = str(item.annotations[0])
    return each_row(item.payload["rows"], lambda row: _json_object(row, item.payload["layout"], path))


def xml_rows(voc: VocFile, layout: Layout, path: str) -> tuple[BoxObject | UnreadRow, ...]:
    """Rows of an XML file, in file order; an object of the other box kind is a row that was not understood.

    Raises:
        BadItem: all objects are of the other kind: the file is one of another layout.
    """

    def of_kind(row: BoxObject | UnreadRow) -> BoxObject | UnreadRow:
        kind, tag = ("rotated", "robndbox") if layout.startswith("rotate") else ("box", "bndbox")
        if isinstance(row, BoxObject) and getattr(row, kind) is None:
            raise BadItem(f"object {row.label!r} of {layout} has no <{tag}>", path, row.line)
        return row

    rows = each_row(voc.rows, of_kind)
    if voc.objects and all(isinstance(row, UnreadRow) for row in rows):
        of_kind(voc.objects[0])
    return rows


def _json_object(row: dict[str, Any], layout: Layout, path: str) -> BoxObject:
    label = known_category(row, path)
    stated = row.get("difficult")
    difficult = (
        stated == 1 if stated in (0, 1) else flag(stated, f"difficult of annotation {shown(row.get('id'))}", path)
    )
    if layout == "rotate_json":
        cx, cy, width, height, angle = bbox(row, 5, path)
        return BoxObject(label, None, check_rotated((cx, cy, width, height, angle), path), bool(difficult))
    xmin, ymin, width, height = bbox(row, 4, path)
    return BoxObject(label, check_box((xmin, ymin, xmin + width, ymin + height), path), None, bool(difficult))
