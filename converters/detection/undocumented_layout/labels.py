"""Images and label files of a folder that nobody has described: what is there, and which label is whose."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from converters.formats.rows import apart, lines_apart
from converters.formats.shapes import BoxObject
from converters.formats.text import numbered_lines, read_bytes
from converters.formats.tree import FileTree
from converters.formats.voc import read_voc
from converters.formats.yolo import parse_yolo, yolo_boxes
from converters.layout import SHOWN_ENTRIES
from mmrs.errors import BadItem
from mmrs.imaging.probe import probe
from mmrs.record import UnreadRow

RowForm = Literal["voc", "yolo"]
SUFFIXES: dict[RowForm, frozenset[str]] = {"voc": frozenset({".xml"}), "yolo": frozenset({".txt"})}
# A YOLO file does not say how many classes there are; the class map is checked afterwards.
MOST_CLASSES = 1000


@dataclass(frozen=True, slots=True)
class Labels:
    """Label files of one form; `by_stem` lists (folders below the root, file) of each name, sorted."""

    form: RowForm
    tree: FileTree
    by_stem: dict[str, list[tuple[tuple[str, ...], Path]]]

    def nearest(self, subpath: str) -> Path | None:
        """The file named like the image that shares most leading folders with it; the first among equals."""
        folders = PurePosixPath(subpath).parent.parts
        candidates = self.by_stem.get(PurePosixPath(subpath).stem, ())
        return max(candidates, key=lambda entry: _shared(entry[0], folders), default=((), None))[1]


def index_labels(form: RowForm, tree: FileTree) -> Labels:
    """Label files by name."""
    by_stem: dict[str, list[tuple[tuple[str, ...], Path]]] = defaultdict(list)
    for subpath, path in tree.by_path.items():
        place = PurePosixPath(subpath)
        by_stem[place.stem].append((place.parent.parts, path))
    return Labels(form, tree, dict(by_stem))


def stems(tree: FileTree) -> set[str]:
    """File names without suffix."""
    return {PurePosixPath(subpath).stem for subpath in tree.by_path}


def read_objects(path: Path, form: RowForm, image: Path) -> tuple[tuple[BoxObject, ...], tuple[UnreadRow, ...]]:
    """Objects of one label file with boxes in pixels, and its rows that are none.

    The label of a YOLO object is its class number.

    Raises:
        BadItem: the file cannot be used, or for YOLO the image's header cannot be read.
    """
    if form == "voc":
        return apart(read_voc(path).rows)
    data = read_bytes(path)
    objects, unread = lines_apart(data, lambda lines: parse_yolo(lines, str(path), "hbb", MOST_CLASSES))
    boxes = yolo_boxes(objects, *probe(image).upright_size).tolist()
    found = (
        BoxObject(str(obj.index), (box[0], box[1], box[2], box[3]), line=obj.line)
        for obj, box in zip(objects, boxes, strict=True)
    )
    return tuple(found), unread


def count_classes(paths: Iterable[Path], form: RowForm) -> dict[str, int]:
    """Label -> number of objects in some label files; a file that cannot be read counts for nothing."""
    counts: Counter[str] = Counter()
    for path in paths:
        try:
            if form == "voc":
                counts.update(obj.label for obj in read_voc(path).objects)
            else:
                counts.update(line.split()[0] for _, line in numbered_lines(read_bytes(path), str(path)))
        except BadItem:
            continue
    return dict(sorted(counts.items()))


def recognised(what: str, tree: FileTree) -> str:
    """``<n> <what> in <folders>`` for a note."""
    folders = list(dict.fromkeys(subpath.rpartition("/")[0] or "." for subpath in tree.by_path))
    more = f" and {len(folders) - SHOWN_ENTRIES} more folders" if len(folders) > SHOWN_ENTRIES else ""
    return f"{len(tree.by_path)} {what} in {', '.join(folders[:SHOWN_ENTRIES])}{more}"


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    return next(
        (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
