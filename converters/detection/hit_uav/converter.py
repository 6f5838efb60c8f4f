"""HIT-UAV: thermal images from a drone, 640 x 512, annotated in four layouts that repeat the same objects.

``rotate_json`` is the fullest (rotated boxes, difficult, date); only the XML layouts have ``truncated``; ``normal_*``
hold horizontal boxes, the rotated ones' extents rounded down. Rotated boxes are centre x, centre y, width, height and
an angle in radians from the +x axis to the width edge, clockwise on screen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from converters.base import register
from converters.boxes import BoxAnnotations, BoxConverter
from converters.detection.hit_uav.files import (
    LAYOUTS,
    Layout,
    find_images,
    folder_problems,
    has_layout,
    holds_all_splits,
    layout_files,
    listed_images,
    locate_layout,
)
from converters.detection.hit_uav.objects import json_rows, xml_rows
from converters.formats.objects import labelled_rows
from converters.formats.rows import apart, each_row
from converters.formats.shapes import BoxObject
from converters.formats.voc import VocFile, check_names_image, read_voc
from converters.layout import last_parts, layout_error, list_files
from mmrs.errors import BadItem
from mmrs.record import Provenance, TaskName, UnreadRow
from mmrs.source import Discovery, Item, ensure_unique_stems

if TYPE_CHECKING:
    from converters.detection.hit_uav.layouts import LayoutReport

_NAME = re.compile(r"(?P<scenario>[01])_(?P<altitude>\d+)_(?P<angle>\d+)_(?P<weather>[01])_(?P<frame>\d+)", re.ASCII)
_DATE = re.compile(r"(\d{4})(\d{2})(\d{2})", re.ASCII)
SCENARIOS = {"0": "day", "1": "night"}
WEATHERS = {"0": "sunny", "1": "rainy"}
# Both files were written from the same numbers with at most six decimals.
SAME_BOX = 1e-3


@register("hit-uav")
@dataclass(frozen=True)
class HitUav(BoxConverter):
    """One layout of the four, or two of them together."""

    layout: Literal["auto", "rotate_json", "normal_json", "normal_xml", "rotate_xml"] = "auto"
    """The layout to read; auto is rotate_json with truncated from rotate_xml, or rotate_xml alone."""

    @property
    def tasks(self) -> Sequence[TaskName]:
        """Horizontal boxes only for ``normal_*``; both kinds otherwise."""
        return ("detection-hbb",) if self.layout.startswith("normal") else self.facts.tasks

    def discover(self, root: Path, split: str) -> Discovery:
        """List the images that the layout names for `split`; images may lie in a sibling layout's folder."""
        self.check_split(split)
        root, notes = locate_layout(root)
        layout = self._layout(root, split)
        listed = listed_images(root, layout, split)
        images, image_notes, image_problems = find_images(root, layout, split, list(listed.entries))
        wants_truncation = self.layout == "auto" and layout == "rotate_json"
        truncation = list_files(root / "rotate_xml" / "Annotations", root, {".xml"}).by_stem if wants_truncation else {}
        items, lacking = [], 0
        for name, image in images.items():
            annotations, payload = listed.entries[name]
            if truncation:
                xml = truncation.get(image.stem)
                annotations = annotations if xml is None else (*annotations, xml)
                lacking += xml is None
            payload = {"layout": layout, **payload}
            items.append(Item(image.stem, image, annotations, payload, _scene(image.stem, payload)))
        unique, repeats = ensure_unique_stems(sorted(items, key=lambda item: item.stem))
        of_folder = folder_problems(root, layout, split, listed.stems)
        of_split, shared = ((), of_folder) if holds_all_splits(layout) else (of_folder, ())
        notes += (f"annotations taken from {layout}", *image_notes)
        if wants_truncation and not truncation:
            notes += ("rotate_xml is absent, so no object is known to be truncated",)
        if lacking:
            notes += (f"{lacking} images have no file in rotate_xml; none of their objects is known to be truncated",)
        own = listed.problems + image_problems + repeats + of_split
        shared += listed.shared_problems
        consulted = frozenset(layout_files(root, layout, other)[0] for other in self.splits)
        return Discovery(unique, notes, own, listed.unread_rows, shared_problems=shared, consulted=consulted)

    def parse(self, item: Item) -> BoxAnnotations:
        """Objects with raw rotated boxes in ``flags['rotated']`` = [cx, cy, width, height, angle]."""
        layout: Layout = item.payload["layout"]
        path = item.annotations[0]
        metadata = _name_metadata(item.stem)
        if layout.endswith("_json"):
            rows, size, date = json_rows(item), item.payload["size"], item.payload["date"]
            if len(item.annotations) > 1:
                rows = _with_truncation(rows, read_voc(item.annotations[1]), item)
            original_id = str(item.payload["id"])
        else:
            voc = read_voc(path)
            check_names_image(voc, item.stem, str(path))
            rows, size, date = xml_rows(voc, layout, str(path)), voc.size, voc.folder
            original_id = item.stem
        if date and (match := _DATE.fullmatch(date)):
            metadata["date"] = "-".join(match.groups())
        raw, unread = apart(rows)
        for obj in raw:
            if obj.rotated is not None:
                obj.flags = {"rotated": list(obj.rotated)}
        boxes, unknown = labelled_rows(raw, self.facts.classes, str(path), self.facts.ignored_labels, repeats=True)
        return BoxAnnotations(
            boxes,
            unread=unread + unknown,
            metadata=metadata,
            provenance=Provenance(annotation=last_parts(path, 3), original_id=original_id, layout=layout),
            declared_size=None if size is None else tuple(size),
        )

    def compare_layouts(self, root: Path) -> tuple[LayoutReport, ...]:
        """Compare the layouts under `root` object by object. Raises `UserError` when one to compare with is missing."""
        from converters.detection.hit_uav.layouts import compare_layouts

        def find(layout: Layout, split: str) -> tuple[Item, ...]:
            return HitUav(layout).discover(root, split).items

        return tuple(compare_layouts(root, split, find) for split in self.splits)

    def _layout(self, root: Path, split: str) -> Layout:
        wanted: tuple[Layout, ...] = ("rotate_json", "rotate_xml") if self.layout == "auto" else (self.layout,)
        for layout in wanted:
            if all(path.exists() for path in layout_files(root, layout, split)):
                return layout
        expected = [str(path) for layout in wanted for path in layout_files(root, layout, split)]
        present = [layout for layout in LAYOUTS if has_layout(root, layout)]
        reason = f"has no usable {' or '.join(wanted)} for split {split}; layouts present: {', '.join(present)}"
        if self.layout == "auto" and any(layout.startswith("normal") for layout in present):
            reason += " (choose layout=normal_json or layout=normal_xml for horizontal boxes only)"
        raise layout_error(self.name, root, reason, expected)


_Row = BoxObject | UnreadRow


def _with_truncation(rows: tuple[_Row, ...], voc: VocFile, item: Item) -> tuple[_Row, ...]:
    path = str(item.annotations[1])
    check_names_image(voc, item.stem, path)
    advice = "; use layout=rotate_json to do without it"
    if len(voc.rows) != len(rows):
        raise BadItem(f"{len(voc.rows)} objects where rotate_json has {len(rows)}{advice}", path)

    def joined(numbered: tuple[int, tuple[_Row, _Row]]) -> _Row:
        number, (obj, other) = numbered
        if isinstance(obj, UnreadRow):
            return obj
        if isinstance(other, UnreadRow):
            raise BadItem(f"{other.reason}{advice}", path, other.line)
        if not _same_object(obj, other):
            raise BadItem(f"object {number} differs from rotate_json{advice}", path, other.line)
        obj.truncated = other.truncated
        return obj

    return each_row(enumerate(zip(rows, voc.rows, strict=True)), joined)


def _same_object(one: BoxObject, other: BoxObject) -> bool:
    if one.label != other.label or one.rotated is None or other.rotated is None:
        return False
    return all(abs(number - same) <= SAME_BOX for number, same in zip(one.rotated, other.rotated, strict=True))


def _name_metadata(stem: str) -> dict[str, Any]:
    match = _NAME.fullmatch(stem)
    if match is None:
        return {}
    return {
        "scenario": SCENARIOS[match["scenario"]],
        "altitude_m": int(match["altitude"]),
        "camera_angle_deg": int(match["angle"]),
        "weather": WEATHERS[match["weather"]],
    }


def _scene(stem: str, payload: dict[str, Any]) -> str | None:
    """One flight: the date where the layout has it, and the setting that the name states."""
    if _NAME.fullmatch(stem) is None:
        return None
    setting = stem.rsplit("_", 1)[0]
    return f"{payload['date']}_{setting}" if payload.get("date") else setting
