"""SSDD: 1,160 SAR images of ships, in the official release (four sub-sets in two styles) and in the mmrotate pack.

Official: ``{BBox,RBox,PSeg,BBox_RBox_PSeg}_SSDD/{voc_style,coco_style}``; pack: ``train``, ``test/all`` with
``images``, ``labelTxt`` and one JSON. Test images are those whose number ends in 1 or 9. Coordinates are 0-based.
Polygons without a stored oriented box get the least rectangle around them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from converters.base import register
from converters.boxes import BoxAnnotations, BoxConverter
from converters.catalog import Counts
from converters.detection.ssdd.files import PACK, STYLES, SUBSETS, Style, Subset, find_split, has_style, locate_subsets
from converters.detection.ssdd.xml import read_ssdd
from converters.formats.coco import row_object
from converters.formats.dota import parse_dota
from converters.formats.objects import labelled_rows
from converters.formats.polygons import as_corners, coco_points, min_area_corners
from converters.formats.rows import lines_apart, rows_apart
from converters.formats.shapes import BoxObject
from converters.formats.text import read_bytes
from converters.formats.voc import check_names_image
from converters.layout import last_parts, layout_error
from mmrs.record import Provenance, TaskName
from mmrs.source import Discovery, Item

QUAD_NUMBERS = 8


@register("ssdd")
@dataclass(frozen=True)
class Ssdd(BoxConverter):
    """Ships in one style of one sub-set, or of the mmrotate pack."""

    layout: Literal["auto", "voc", "coco", "mmrotate", "mmrotate_json"] = "auto"
    """auto takes the fullest that is there; mmrotate (labelTxt of the pack) and mmrotate_json disagree in places."""

    subset: Literal["auto", "BBox_SSDD", "RBox_SSDD", "PSeg_SSDD", "BBox_RBox_PSeg_SSDD"] = "auto"
    """Sub-set of the official release; auto takes the fullest that is there."""

    @property
    def tasks(self) -> Sequence[TaskName]:
        """Horizontal boxes only for the XML of BBox_SSDD; both kinds otherwise."""
        horizontal = self.subset == "BBox_SSDD" and self.layout in ("auto", "voc")
        return ("detection-hbb",) if horizontal else self.facts.tasks

    def published(self, split: str) -> Counts:
        """Published size of the split in the layout asked for."""
        if self.layout in PACK:
            return self.facts.variants[self.layout].published.get(split, Counts())
        return super().published(split)

    def published_found(self, split: str, found: Discovery) -> Counts:
        """Published size of the split in the layout that was taken."""
        return replace(self, layout=found.items[0].payload["style"]).published(split) if found.items else Counts()

    def discover(self, root: Path, split: str) -> Discovery:
        """Pair the split's images and labels by stem; either without the other is a problem."""
        self.check_split(split)
        base, notes = locate_subsets(self.name, root)
        style, subset = self._style(base)
        found = find_split(self.name, base, style, subset, split)
        taken = f"annotations taken from {style}" + (f" of {subset}" if subset else "")
        return replace(found, notes=(*notes, taken, *found.notes))

    def parse(self, item: Item) -> BoxAnnotations:
        """Objects in file order; ``place`` is inshore or offshore where the lists of the test set are there."""
        style: Style = item.payload["style"]
        path, size = item.annotations[0], item.payload.get("size")
        if style == "voc":
            voc = read_ssdd(path)
            check_names_image(voc, item.stem, str(path))
            raw, unread, size = voc.objects, voc.unread, voc.size
        elif style == "mmrotate":
            labels = tuple(self.facts.classes)
            dota, unread = lines_apart(read_bytes(path), lambda data: parse_dota(data, str(path), labels))
            raw = tuple(dota.boxes)
        else:
            raw, unread = rows_apart(item.payload["rows"], lambda row: coco_object(row, str(path)))
        boxes, unknown = labelled_rows(raw, self.facts.classes, str(path))
        place = item.payload.get("place")
        return BoxAnnotations(
            boxes,
            unread=unread + unknown,
            metadata={"place": place} if place else {},
            provenance=Provenance(annotation=last_parts(path, 3), original_id=item.stem, layout=item.payload["layout"]),
            declared_size=None if size is None else tuple(size),
        )

    def _style(self, base: Path) -> tuple[Style, Subset | None]:
        """The first style and sub-set on disk of those that the options allow. Raises `UserError`."""
        for style in STYLES if self.layout == "auto" else (self.layout,):
            if style in PACK:
                if self.subset == "auto" and has_style(base, style, None):
                    return style, None
                continue
            # BBox_SSDD has no oriented box in XML, so it is taken only when it is asked for.
            usual = [name for name in SUBSETS if style == "coco" or name != "BBox_SSDD"]
            for subset in usual if self.subset == "auto" else (self.subset,):
                if has_style(base, style, subset):
                    return style, subset
        reason = f"has no labels for layout={self.layout}, subset={self.subset}"
        if self.subset == "auto" and has_style(base, "voc", "BBox_SSDD"):
            reason += " (choose subset=BBox_SSDD for horizontal boxes only)"
        raise layout_error(self.name, base, reason)


def coco_object(row: dict[str, Any], path: str) -> BoxObject:
    """One COCO row: the box as written, and the polygon's four corners or the least rectangle around it."""
    found = row_object(row, path)
    points = coco_points(row, path)
    if not len(points) or found.rotated is not None:
        return found
    quad = points if points.size == QUAD_NUMBERS else min_area_corners(points)
    return replace(found, corners=as_corners(quad))
