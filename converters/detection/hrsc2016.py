"""HRSC2016: ships in harbours with rotated and horizontal boxes, their bow, and a tree of classes.

``FullDataSet/{AllImages/*.bmp,Annotations/*.xml}`` or the same two folders in ``Train`` and ``Test``, and
``ImageSets/{train,val,test}.txt``. ``mbox_ang`` is in radians, clockwise on screen, about the centre; the width is the
long side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from xml.etree.ElementTree import Element

from converters.base import register
from converters.boxes import BoxAnnotations, BoxConverter
from converters.formats.objects import labelled_rows
from converters.formats.rows import rows_apart
from converters.formats.shapes import BoxObject, check_box, check_rotated
from converters.formats.split_lists import listed_split
from converters.formats.text import decode, finite, read_bytes
from converters.formats.xmltree import node_flag, node_number, node_size, node_text, parse_tree
from converters.layout import FileList, last_parts, layout_error, list_files, locate_root, merge_files
from mmrs.errors import BadItem
from mmrs.record import Provenance, UnreadRow
from mmrs.source import Discovery, Item

_COARSE = "ship"
WHOLE = "FullDataSet"
HALVES = ("Train", "Test")
EDGES = ("box_xmin", "box_ymin", "box_xmax", "box_ymax")
ROTATED = ("mbox_cx", "mbox_cy", "mbox_w", "mbox_h", "mbox_ang")


@dataclass(frozen=True, slots=True)
class HrscFile:
    """One label file; `metadata` has ``date`` and ``gsd_m`` where stated, labels are the numbers of ``Class_ID``.

    `unread` are the objects with missing nodes, or without a rotated box, as in copies with horizontal ones only.
    """

    image: str | None
    size: tuple[int, int] | None
    metadata: dict[str, Any]
    objects: tuple[BoxObject, ...]
    unread: tuple[UnreadRow, ...]


@register("hrsc2016")
@dataclass(frozen=True)
class Hrsc2016(BoxConverter):
    """Ships by type, or all alike."""

    names: Literal["ship", "type"] = "ship"
    """Categories: ship for all alike, or the type that the file names."""

    @property
    def categories(self) -> Sequence[str]:
        """``ship``, or the types."""
        return self.facts.categories if self.names == "type" else (_COARSE,)

    def discover(self, root: Path, split: str) -> Discovery:
        """List the ids of ``ImageSets/<split>.txt``; 619 of the images that are shipped belong to no split."""
        self.check_split(split)
        base, notes = locate_root(self.name, root, lambda folder: bool(_folders(folder)), {WHOLE, *HALVES, "ImageSets"})
        places = [base / "ImageSets", base / WHOLE / "ImageSets", base / "ImageSets" / "Main"]
        lists = next((place for place in places if (place / f"{split}.txt").is_file()), None)
        if lists is None:
            raise layout_error(self.name, base, f"has no ImageSets/{split}.txt")
        images = _merged(base, "AllImages")
        labels = _merged(base, "Annotations", {".xml"})
        found = listed_split(self.name, base, lists, split, self.splits, images, labels)
        return replace(found, notes=notes + found.notes)

    def parse(self, item: Item) -> BoxAnnotations:
        """Objects in file order; ``bow`` = [x, y] and ``rotated`` = [cx, cy, width, height, angle] in the flags."""
        path = item.annotations[0]
        parsed = parse_hrsc(read_bytes(path), str(path))
        if parsed.image not in (None, item.stem, item.image.name):
            raise BadItem(f"label file of another image: its Img_FileName is {parsed.image!r}", str(path))
        classes = self.facts.classes
        if self.names == "ship":
            classes = dict.fromkeys(classes, _COARSE)
        boxes, unknown = labelled_rows(parsed.objects, classes, str(path))
        return BoxAnnotations(
            boxes,
            unread=parsed.unread + unknown,
            metadata=parsed.metadata,
            provenance=Provenance(annotation=last_parts(path, 3), original_id=item.stem),
            declared_size=parsed.size,
        )


def parse_hrsc(data: bytes, path: str) -> HrscFile:
    """Parse the bytes of one label file; `path` names it in errors.

    Raises:
        BadItem: no such XML, or an image that the file calls not annotated.
    """
    root, lines = parse_tree(decode(data, path), path, "HRSC_Image", "HRSC_Object")
    if node_text(root, "Annotated") == "0":
        raise BadItem("the file says that its image is not annotated", path)
    metadata: dict[str, Any] = {}
    if date := node_text(root, "Img_Date"):
        metadata["date"] = date
    if resolution := node_text(root, "Img_Resolution"):
        metadata["gsd_m"] = finite(resolution, "Img_Resolution", path)
    nodes = root.findall("HRSC_Objects/HRSC_Object")
    objects, unread = rows_apart(nodes, lambda node: _object(node, path, lines.get(node)))
    size = node_size(root, "Img_SizeWidth", "Img_SizeHeight", path)
    return HrscFile(node_text(root, "Img_FileName"), size, metadata, objects, unread)


def _object(node: Element, path: str, line: int | None) -> BoxObject:
    label = node_text(node, "Class_ID")
    if label is None:
        raise BadItem("object without <Class_ID>", path, line)
    xmin, ymin, xmax, ymax = (node_number(node, tag, path, line) for tag in EDGES)
    cx, cy, width, height, angle = (node_number(node, tag, path, line) for tag in ROTATED)
    flags: dict[str, Any] = {"rotated": [cx, cy, width, height, angle]}
    if node_text(node, "header_x") and node_text(node, "header_y"):
        flags["bow"] = [node_number(node, tag, path, line) for tag in ("header_x", "header_y")]
    return BoxObject(
        label,
        check_box((xmin, ymin, xmax, ymax), path, line),
        check_rotated((cx, cy, width, height, angle), path, line),
        node_flag(node, "difficult", path, line),
        node_flag(node, "truncated", path, line),
        line,
        flags=flags,
    )


def _folders(base: Path) -> list[Path]:
    """``FullDataSet`` where it holds both folders, else ``Train`` and ``Test``, which repeat its files."""
    whole = base / WHOLE
    if (whole / "AllImages").is_dir() and (whole / "Annotations").is_dir():
        return [whole]
    return [base / half for half in HALVES if (base / half / "Annotations").is_dir()]


def _merged(base: Path, name: str, suffixes: set[str] | None = None) -> FileList:
    folders = [folder / name for folder in _folders(base)]
    return merge_files(
        list_files(folder, base, suffixes) if suffixes else list_files(folder, base) for folder in folders
    )
