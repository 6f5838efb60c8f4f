"""DIOR-RSVG: 38,320 referring expressions for objects of DIOR images.

``Annotations/NNNNN.xml`` is DIOR's horizontal form with a ``description`` in every object. The lists ``train.txt``,
``val.txt`` and ``test.txt`` hold neither images nor objects of an image but running numbers: all objects of all XML
files, sorted by name, in document order, from 0. One image's expressions fall into several splits, so an image can be
in train and in test; a record has the expressions, and the objects, of its own split only.

A known copy as tables is read where that layout is not there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from converters.base import register
from converters.boxes import BoxAnnotations, BoxConverter
from converters.catalog import Counts
from converters.formats.objects import from_inclusive, known_objects, labelled
from converters.formats.rows import apart, each_row
from converters.formats.shapes import BoxObject, check_box
from converters.formats.shared_file import read_shared
from converters.formats.split_lists import list_folders
from converters.formats.text import finite, integer, numbered_lines, read_bytes, shown
from converters.formats.voc import read_voc
from converters.layout import FileList, Problem, last_parts, layout_error, list_files, locate_archive
from converters.mirrors.known import ColumnRole
from converters.mirrors.named import MirrorTables, locate_mirror, read_mirror
from mmrs.errors import BadItem, UserError
from mmrs.imaging.suffixes import without_known_suffix
from mmrs.record import Expression, Provenance, UnreadRow
from mmrs.source import Absent, Discovery, Item, RowImage, ensure_unique_stems

_ARCHIVE_FOLDER = "DIOR_RSVG"
_EDGES = 4
_ROW_ROLES: tuple[ColumnRole, ...] = ("boxes", "category", "expressions")
# Objects are counted without parsing: discovery reads thousands of files, and a broken one must not shift the others.
OBJECT = re.compile(rb"<object[\s>]")


@register("dior-rsvg")
@dataclass(frozen=True)
class DiorRsvg(BoxConverter):
    """Expressions by running number."""

    finding_options: ClassVar[frozenset[str]] = frozenset({"mirror_splits"})

    image_disjoint: bool = False
    """Whether each image belongs to one split only, test before val before train; else its expressions decide."""

    mirror_splits: bool = False
    """Whether a copy as tables is read although its splits are its own: none of them may be compared with others."""

    def published(self, split: str) -> Counts:
        """Published size of the official lists; nothing is known where images are kept apart."""
        return Counts() if self.image_disjoint else super().published(split)

    def published_found(self, split: str, found: Discovery) -> Counts:
        """Nothing is published of the splits of a copy."""
        in_tables = any(isinstance(item.image, RowImage) for item in found.items)
        return Counts() if in_tables else self.published(split)

    def discover(self, root: Path, split: str) -> Discovery:
        """List the images that have expressions in `split`, with the positions of these expressions in their file.

        Raises:
            UserError: no such layout, or lists that do not number the objects of the XML files exactly once.
        """
        self.check_split(split)
        try:
            base, notes = locate_archive(self.name, root, _ARCHIVE_FOLDER, _has_layout, {"Annotations", "JPEGImages"})
        except UserError:
            if (tables := locate_mirror(self.name, root)) is None:
                raise
            return self._in_mirror(tables, split)
        labels = list_files(base / "Annotations", base, {".xml"})
        places = _places(self.name, base, labels)
        numbers = self._numbers(base, split, len(places))
        owners: dict[str, set[str]] = {}
        for part, members in numbers.items():
            for number in members:
                owners.setdefault(places[number][0], set()).add(part)
        positions: dict[str, list[int]] = {}
        for number in sorted(numbers[split]):
            stem, position = places[number]
            positions.setdefault(stem, []).append(position)
        shared = sorted(stem for stem in positions if len(owners[stem]) > 1)
        if self.image_disjoint:
            last = {stem: max(owners[stem], key=self.splits.index) for stem in positions}
            positions = {stem: found for stem, found in positions.items() if last[stem] == split}
        notes += self._overlap_note(split, len(shared), shared, positions)
        images = list_folders(base, ("jpegimages",))
        items, problems = _items(positions, images, labels)
        if positions and not items:
            raise layout_error(self.name, base, f"has no image of split {split} in JPEGImages")
        shared_problems = images.problems + labels.problems
        # All XML files are counted, those of other splits and those without an object too.
        consulted = frozenset((*(base / f"{part}.txt" for part in self.splits), *labels.by_name.values()))
        return Discovery(tuple(items), notes, tuple(problems), shared_problems=shared_problems, consulted=consulted)

    def parse(self, item: Item) -> BoxAnnotations:
        """The split's objects in file order and one expression for each."""
        if isinstance(item.image, RowImage):
            return self._parse_row(item, item.image)
        path = item.annotations[0]
        voc, positions = read_voc(path), item.payload["positions"]
        if max(positions) >= len(voc.rows):
            raise BadItem(f"object {max(positions)} is asked for, the file has {len(voc.rows)}", str(path))
        if voc.objects and all(obj.text is None for obj in voc.objects):
            raise BadItem("no object has a <description>, as in the first published archive of labels", str(path))
        rows = each_row(positions, lambda position: _described(voc.rows[position], position, str(path)))
        described, unread = apart(rows)
        known, unknown = known_objects(described, tuple(self.facts.classes), str(path))
        return BoxAnnotations(
            labelled([from_inclusive(obj) for obj in known], self.facts.classes, str(path), repeats=True),
            expressions=tuple(Expression(text=str(obj.text), object=place) for place, obj in enumerate(known)),
            metadata={"object_positions": positions},
            unread=unread + unknown,
            provenance=Provenance(annotation=last_parts(path, 2), original_id=item.stem),
            declared_size=voc.size,
        )

    def _in_mirror(self, tables: MirrorTables, split: str) -> Discovery:
        """The rows of a copy's split: an image each, with those of its objects that the split has."""
        own = tables.mirror.own_splits
        if own is not None and not self.mirror_splits:
            raise UserError(
                f"{self.name}: {tables.inside} is the copy {tables.mirror.repo}: {own}. To train on it and compare "
                "with nothing, add `--option mirror_splits=true`; the official lists come with "
                f"`mmrs fetch {self.name} --to DATA`."
            )
        if self.image_disjoint:
            raise UserError(f"{self.name}: image_disjoint=true needs the official lists, which a copy does not have.")
        rows, problems = read_mirror(tables, split)
        items = [Item(without_known_suffix(row.image.name), row.image, (), dict(row.cells)) for row in rows]
        unique, repeats = ensure_unique_stems(sorted(items, key=lambda item: item.stem))
        notes = (*tables.notes, f"the splits are those of the copy: {own}") if own else tables.notes
        consulted = frozenset(tables.by_split.get(split, ()))
        return Discovery(unique, notes, (*problems, *repeats), shared_problems=tables.problems, consulted=consulted)

    def _parse_row(self, item: Item, image: RowImage) -> BoxAnnotations:
        """The objects of a row and one expression for each."""
        path = str(image)
        edges, labels, texts = (_cell_list(item.payload[role], role, path) for role in _ROW_ROLES)
        if not len(edges) == len(labels) == len(texts):
            raise BadItem(f"{len(edges)} boxes with {len(labels)} classes and {len(texts)} expressions", path)
        described, unread = apart(each_row(zip(edges, labels, texts, strict=True), lambda one: _row_object(*one, path)))
        known, unknown = known_objects(described, tuple(self.facts.classes), path)
        return BoxAnnotations(
            labelled([from_inclusive(obj) for obj in known], self.facts.classes, path, repeats=True),
            expressions=tuple(Expression(text=str(obj.text), object=place) for place, obj in enumerate(known)),
            unread=unread + unknown,
            provenance=Provenance(annotation=image.file.name, original_id=item.stem),
        )

    def _numbers(self, base: Path, split: str, total: int) -> dict[str, tuple[int, ...]]:
        """Running numbers by split, checked: together they are 0 to `total` - 1, each once."""
        numbers = {}
        for part in self.splits:
            source = base / f"{part}.txt"
            if not source.is_file():
                raise layout_error(
                    self.name, base, f"has no {part}.txt; all lists are needed to check the numbers of {split}"
                )
            numbers[part] = read_shared(self.name, base, source, read_numbers)
        listed = [number for members in numbers.values() for number in members]
        if len(set(listed)) != len(listed):
            raise UserError(
                f"{self.name}: the lists in {base} name {len(listed) - len(set(listed))} expressions twice, as an "
                "older release did, and what stands in two splits leaks. Download the three lists again."
            )
        if len(listed) != total or (listed and max(listed) != total - 1):
            raise UserError(
                f"{self.name}: the lists in {base} number {len(listed)} expressions, the XML files in Annotations hold "
                f"{total} objects. A missing or additional XML file shifts the numbers of all later ones, so no split "
                "can be read: unpack Annotations again; the full set has 38,320."
            )
        return numbers

    def _overlap_note(self, split: str, count: int, shared: list[str], kept: dict[str, list[int]]) -> tuple[str, ...]:
        if not count:
            return ()
        if self.image_disjoint:
            left_out = sum(stem not in kept for stem in shared)
            return (f"{left_out} images of {split} were left out: they have expressions in a later split too",)
        advice = "image_disjoint=true keeps each image in one split"
        return (f"{count} images of {split} also have expressions in another split; {advice}",)


def _cell_list(cell: Any, role: str, path: str) -> list[Any]:
    if not isinstance(cell, list):
        raise BadItem(f"the row has no list of {role}", path)
    return cell


def _row_object(edges: Any, label: Any, text: Any, path: str) -> BoxObject:
    """An object of a copy's row: edges as the XML file has them. Raises `BadItem`."""
    if not isinstance(edges, list) or len(edges) != _EDGES:
        raise BadItem(f"box {shown(edges)}; {_EDGES} edges are expected", path)
    if not isinstance(label, str) or not isinstance(text, str) or not text.strip():
        raise BadItem(f"the object {shown(label)} has the expression {shown(text)}", path)
    xmin, ymin, xmax, ymax = (finite(edge, "edge", path) for edge in edges)
    box = check_box((xmin, ymin, xmax, ymax), path)
    return BoxObject(label, box, text=text)


def _described(row: BoxObject | UnreadRow, position: int, path: str) -> BoxObject | UnreadRow:
    if isinstance(row, BoxObject) and row.text is None:
        raise BadItem(f"object {position} has no <description>", path, row.line)
    return row


def read_numbers(path: Path) -> tuple[int, ...]:
    """The running numbers of one list. Raises `BadItem` with the line of whatever is none."""
    numbers = []
    for line, word in numbered_lines(read_bytes(path), str(path)):
        number = integer(word, "expression number", str(path), line)
        if number < 0:
            raise BadItem(f"expression number {number} is negative", str(path), line)
        numbers.append(number)
    return tuple(numbers)


def _has_layout(folder: Path) -> bool:
    return (folder / "Annotations").is_dir() and any((folder / f"{name}.txt").is_file() for name in ("train", "test"))


def _places(name: str, root: Path, labels: FileList) -> list[tuple[str, int]]:
    """(stem, position in its file) of every object by running number: all numbers after a file depend on it."""
    places = []
    for path in sorted(labels.by_name.values(), key=lambda path: path.name):
        count = read_shared(name, root, path, lambda path: len(OBJECT.findall(read_bytes(path))))
        places += [(path.stem, position) for position in range(count)]
    return places


def _items(positions: dict[str, list[int]], images: FileList, labels: FileList) -> tuple[list[Item], list[Problem]]:
    items = []
    problems: list[Problem] = []
    for stem, found in sorted(positions.items()):
        image = images.by_stem.get(stem)
        if image is None:
            problems.append(Absent(str(labels.by_stem[stem]), f"{stem} has no image in JPEGImages"))
        else:
            items.append(Item(stem, image, (labels.by_stem[stem],), {"positions": found}))
    return items, problems
