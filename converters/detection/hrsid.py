"""HRSID: 5,604 SAR images of 800 x 800 with ships as polygons, in a JPG and a PNG release.

A box is x, y, width, height with ``width = max - min + 1`` over the pixels of the contour, so it covers whole pixels.
No oriented box is published. Ours is the rectangle of least area around the polygon (`converters.formats.polygons`),
whose points cover their pixels where all coordinates are whole numbers, as the source's own boxes do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from converters.base import register
from converters.boxes import BoxAnnotations, BoxConverter
from converters.formats.coco import polygon_fields, read_coco, row_object
from converters.formats.objects import labelled_rows
from converters.formats.polygons import as_corners, coco_points, min_area_corners, pixel_squares
from converters.formats.rows import rows_apart
from converters.formats.shapes import BoxObject
from converters.formats.shared_file import read_shared
from converters.formats.split_lists import named_images
from converters.layout import last_parts, layout_error, list_files, locate_root
from mmrs.record import Provenance
from mmrs.source import Discovery, Item, ensure_unique_stems

_FOLDERS = {"jpg": "HRSID_JPG", "png": "HRSID_png"}
_IMAGE_FOLDERS = ("JPEGImages", "images", ".")
# Scene, then two start/end pairs of the window; which pair counts rows is not known. P0137_<n> states no window.
_NAME = re.compile(r"(P\d+)_(\d+)_(\d+)_(\d+)_(\d+)", re.ASCII)


@register("hrsid")
@dataclass(frozen=True)
class Hrsid(BoxConverter):
    """Ships as polygons in one COCO file for each split."""

    flavour: Literal["auto", "jpg", "png"] = "auto"
    """The release to read; auto takes the PNG one, which is not compressed, where it is there."""

    def discover(self, root: Path, split: str) -> Discovery:
        """List the images of the split's JSON; tiles of one scene are one scene, and overlap across splits."""
        self.check_split(split)
        top, notes = locate_root(self.name, root, lambda folder: any(self._bases(folder)), {*_FOLDERS.values()})
        flavour, base = next(self._bases(top))
        source = base / "annotations" / f"{split}2017.json"
        if not source.is_file():
            raise layout_error(self.name, base, f"has no {source.relative_to(base)}")
        coco = read_shared(self.name, root, source, read_coco)
        folders = [base / name for name in _IMAGE_FOLDERS if (base / name).is_dir()]
        images = next((found for folder in folders if (found := list_files(folder, base)).by_name), None)
        if images is None:
            raise layout_error(self.name, base, "has annotations but no images")
        named, missing = named_images(coco, images, source, "the image folder")
        items = []
        for image, path in named:
            rows = [polygon_fields(row) for row in image.rows]
            payload = {
                "id": image.row["id"],
                "rows": rows,
                "size": None if image.size is None else list(image.size),
                "layout": flavour,
            }
            name = _NAME.fullmatch(path.stem)
            items.append(Item(path.stem, path, (source,), payload, name[1] if name else None))
        unique, repeats = ensure_unique_stems(sorted(items, key=lambda item: item.stem))
        notes += (f"annotations taken from {source}",)
        return Discovery(
            unique, notes, (*coco.problems, *missing, *repeats), coco.unread_rows, shared_problems=images.problems
        )

    def parse(self, item: Item) -> BoxAnnotations:
        """Ships in file order; ``name_window``: the four numbers of the file name, in pixels of the scene."""
        path = item.annotations[0]
        name, size = _NAME.fullmatch(item.stem), item.payload["size"]
        ships, unread = rows_apart(item.payload["rows"], lambda row: _ship(row, str(path)))
        boxes, unknown = labelled_rows(ships, self.facts.classes, str(path))
        return BoxAnnotations(
            boxes,
            unread=unread + unknown,
            metadata={} if name is None else {"name_window": [int(number) for number in name.groups()[1:]]},
            provenance=Provenance(
                annotation=last_parts(path, 3), original_id=str(item.payload["id"]), layout=item.payload["layout"]
            ),
            declared_size=None if size is None else tuple(size),
        )

    def _bases(self, folder: Path) -> Iterator[tuple[str, Path]]:
        """(flavour, folder with ``annotations``): a flavour's own folder, or one whose name states none."""
        wanted = ("png", "jpg") if self.flavour == "auto" else (self.flavour,)
        for flavour in wanted:
            if (folder / _FOLDERS[flavour] / "annotations").is_dir():
                yield flavour, folder / _FOLDERS[flavour]
        if any((folder / "annotations" / f"{split}2017.json").is_file() for split in self.splits):
            flavour = next((flavour for flavour, name in _FOLDERS.items() if name == folder.name), "unnamed")
            if self.flavour in ("auto", flavour) or flavour == "unnamed":
                yield flavour, folder


def _ship(row: dict[str, Any], path: str) -> BoxObject:
    found = row_object(row, path)
    points = pixel_squares(coco_points(row, path))
    if not len(points) or found.rotated is not None:
        return found
    return replace(found, corners=as_corners(min_area_corners(points)))
