"""FAIR1M 1.0 and 2.0: large scenes with oriented boxes of 37 fine-grained classes.

``train/part1/{images,labelXml}``, ``train/part2/{images-1,images-2,labelXml}``, and in 2.0 ``validation``. Stems begin
at 0 again in every part, so an item's stem names its part. An object is a ring of five ``x,y`` points whose last
repeats the first; the winding varies and the first point means nothing. Scenes are cut into tiles.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

from converters.base import register
from converters.boxes import BoxAnnotations, BoxConverter
from converters.formats.folders import normal_form
from converters.formats.objects import labelled_rows
from converters.formats.rows import rows_apart
from converters.formats.shapes import BoxObject
from converters.formats.split_lists import list_folders, paired
from converters.formats.text import decode, finite, read_bytes, shown
from converters.formats.xmltree import node_size, node_text, parse_tree
from converters.layout import Problem, last_parts, layout_error, list_files, locate_root, subfolders
from converters.tiled import TiledConverter
from mmrs.errors import BadItem
from mmrs.imaging.suffixes import without_known_suffix
from mmrs.record import Provenance, UnreadRow
from mmrs.source import Discovery, Item

_FOLDERS = {"train": ("train", "trainval"), "val": ("validation", "val")}


@dataclass(frozen=True, slots=True)
class Fair1mFile:
    """One label file: `filename` and (width, height) where stated, objects with corners in file order.

    `unread` are the objects without a class, or whose points are no ring of four corners.
    """

    filename: str | None
    size: tuple[int, int] | None
    objects: tuple[BoxObject, ...]
    unread: tuple[UnreadRow, ...]


@register("fair1m")
@dataclass(frozen=True)
class Fair1m(BoxConverter, TiledConverter):
    """Large scenes in parts, cut into tiles."""

    def discover(self, root: Path, split: str) -> Discovery:
        """Pair scenes and label files within every part of the split."""
        self.check_split(split)
        base, notes = locate_root(
            self.name,
            root,
            lambda folder: any(_parts(folder, part) for part in _FOLDERS),
            {name for names in _FOLDERS.values() for name in names},
        )
        parts = _parts(base, split)
        if not parts:
            raise layout_error(self.name, base, f"has no folder {_FOLDERS[split][0]} with images and labelXml")
        items: list[Item] = []
        problems: list[Problem] = []
        for part in parts:
            prefix = f"{part.name}-" if normal_form(part.name).startswith("part") else ""
            found, lost = _pair(part, base, prefix)
            items += found
            problems += lost
        if not items:
            raise layout_error(self.name, base, f"has no scene with a label file for split {split}")
        return Discovery(tuple(sorted(items, key=lambda item: item.stem)), notes, tuple(problems))

    def parse(self, item: Item) -> BoxAnnotations:
        """Quads in file order, clockwise from the corner nearest the top left."""
        path = item.annotations[0]
        parsed = parse_fair1m(read_bytes(path), str(path))
        if parsed.filename is not None and item.image.stem not in (
            parsed.filename,
            without_known_suffix(parsed.filename),
        ):
            raise BadItem(f"label file of another image: its filename is {parsed.filename!r}", str(path))
        boxes, unknown = labelled_rows(parsed.objects, self.facts.classes, str(path))
        return BoxAnnotations(
            boxes,
            unread=parsed.unread + unknown,
            provenance=Provenance(annotation=last_parts(path, 4), original_id=last_parts(item.file, 3)),
            declared_size=parsed.size,
        )


def parse_fair1m(data: bytes, path: str) -> Fair1mFile:
    """Parse the bytes of one label file; `path` names it in errors.

    Raises:
        BadItem: no such XML.
    """
    root, lines = parse_tree(decode(data, path), path, "annotation", "object")
    nodes = root.findall("objects/object")
    objects, unread = rows_apart(nodes, lambda node: _object(node, path, lines.get(node)))
    size = node_size(root, "size/width", "size/height", path)
    return Fair1mFile(node_text(root, "source/filename"), size, objects, unread)


def _object(node: Element, path: str, line: int | None) -> BoxObject:
    label = node_text(node, "possibleresult/name")
    if label is None:
        raise BadItem("object without <possibleresult><name>", path, line)
    return BoxObject(label, line=line, corners=_ring(node, path, line))


def _ring(node: Element, path: str, line: int | None) -> tuple[float, ...]:
    points = []
    for point in node.findall("points/point"):
        words = (point.text or "").split(",")
        if len(words) != 2:
            raise BadItem(f"point {shown(point.text)} is not of the form x,y", path, line)
        points.append(tuple(finite(word, "point", path, line) for word in words))
    if len(points) == 5 and points[0] == points[-1]:
        points.pop()
    if len(points) != 4:
        raise BadItem(f"{len(points)} points where a closed ring of four corners is expected", path, line)
    return tuple(value for point in points for value in point)


def _label_folder(part: Path) -> Path | None:
    return next((child for child in subfolders(part) if normal_form(child.name).startswith("labelxml")), None)


def _parts(base: Path, split: str) -> list[Path]:
    """Folders of the split that hold a label folder: the split's own, or its parts."""
    folders = {normal_form(child.name): child for child in subfolders(base)}
    for folder in (folders[name] for name in _FOLDERS[split] if name in folders):
        found = [part for part in (folder, *subfolders(folder)) if _label_folder(part) is not None]
        if found:
            return found
    return []


def _pair(part: Path, base: Path, prefix: str) -> tuple[list[Item], list[Problem]]:
    labels = list_files(_label_folder(part) or part, base, {".xml"})
    images = list_folders(part, ("images",))
    both, alone = paired(images, labels)
    items = [Item(prefix + stem, image, (label,), None, prefix + stem) for stem, image, label in both]
    return items, [*images.problems, *labels.problems, *alone]
