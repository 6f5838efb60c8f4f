"""Parquet tables and Arrow streams as `datasets` and the Hub write them: images, or their names, with labels and texts.

`annotations` is what the paths of a split's tables start with: ``data/{split}`` are ``data/train.parquet``,
``data/train-00000-of-00004.parquet`` and so on, and all tables in a folder ``data/train``, such as the
``data-00000-of-00004.arrow`` of `save_to_disk`. A configuration that lies in a folder of its own is read by a
description of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from converters.formats.shared_file import read_shared
from converters.formats.tree import list_tree
from converters.layout import Problem
from converters.mirrors.cells import ImageColumn, TableCells, find_image_column, read_table_cells
from converters.mirrors.tables import TableSet, find_tables
from converters.own_data.columns import Columns
from converters.own_data.description import DescribedSet, Description, own_layout_error
from converters.own_data.items import FoundItems, OwnFormat, ReadImage, images_folder, images_named_in, in_sequence
from converters.own_data.table_rows import row_annotations
from mmrs.errors import BadItem
from mmrs.imaging.suffixes import without_known_suffix
from mmrs.record import Provenance
from mmrs.row_tables.suffixes import PARQUET_SUFFIX, TABLE_SUFFIXES
from mmrs.source import Item, RowImage, ensure_unique_stems


def _find(described: DescribedSet, root: Path, split: str) -> FoundItems:
    own = described.content
    columns = own.columns
    if columns is None:
        raise BadItem("the description names no columns")
    place = root / own.path(own.annotations or "", split)
    tables = split_tables(place)
    if not tables.is_any:
        names = " or ".join(TABLE_SUFFIXES)
        expected = [
            f"{place}{PARQUET_SUFFIX}",
            f"{place}-00000-of-00001{PARQUET_SUFFIX}",
            f"{place}/ with {names} files",
        ]
        raise own_layout_error(root, f"has no tables {place.relative_to(root)}*", expected)
    paths = [path for same in tables.by_word.values() for path in same]
    found = FoundItems((), problems=tables.problems, consulted=frozenset(paths))
    rows: list[Item] = []
    for path in paths:
        images, cells = read_shared(
            "generic", root, path, lambda path: _table(path, columns), options=described.command_options
        )
        if images[0].content:
            rows += _row_items(own, root, path, images, cells)
        else:
            found = _merged(found, _named_files(described, root, split, path, cells))
    items, notes = _with_own_stems(rows, own.options.join_rows)
    unique, repeats = ensure_unique_stems((*found.items, *items))
    return replace(found, items=unique, notes=found.notes + notes, problems=found.problems + repeats)


def split_tables(place: Path) -> TableSet:
    """The tables whose paths start with `place`: those in a folder of that name, or those named so, in parts or not."""
    if place.is_dir():
        return find_tables(place)
    found = find_tables(place.parent)
    word = place.stem if place.suffix in TABLE_SUFFIXES else place.name
    return TableSet(
        {name: paths for name, paths in found.by_word.items() if name == word},
        tuple(problem for problem in found.problems if f"{word}-" in problem[1] or f"{word}." in problem[0]),
    )


@dataclass(frozen=True, slots=True)
class _Row:
    """A row with its place and first name, the names of its further images, and what it says of them, as
    `converters.own_data.table_rows` takes it."""

    cells: TableCells
    further: tuple[Any, ...]
    said: dict[str, Any]


def _table(path: Path, columns: Columns) -> tuple[list[ImageColumn], list[_Row]]:
    first, *others = columns.images
    images = [find_image_column(path, first, columns.name), *(find_image_column(path, one) for one in others)]
    if len({bool(image.content) for image in images}) > 1:
        raise BadItem(f"some of its columns {', '.join(columns.images)} hold images, others names of files", str(path))
    return images, list(_rows(path, images, columns))


def _rows(path: Path, images: Sequence[ImageColumn], columns: Columns) -> Iterator[_Row]:
    roles = columns.roles
    named = [image.name for image in images[1:] if image.name]
    asked = [*named, *(column for same in roles.values() for column in same)]
    for row in read_table_cells(path, images[0].name, asked):
        cells = iter(row.cells)
        names = [next(cells) if image.name else None for image in images[1:]]
        said = {key: [next(cells) for _ in same] for key, same in roles.items()}
        plain = {key: values[0] if len(values) == 1 else values for key, values in said.items()}
        yield _Row(row, tuple(names), {"line": None} | plain)


def _row_items(
    own: Description, root: Path, path: Path, images: Sequence[ImageColumn], rows: list[_Row]
) -> Iterator[Item]:
    where = path.relative_to(root).as_posix()
    for row in rows:
        number = row.cells.row
        name = row.cells.name or f"{path.stem}-{number}"
        block = f"{where}:{row.cells.block_row}"
        # Names of further images are for messages alone.
        further = [
            RowImage(path, number, f"{without_known_suffix(name)}-{place}", image.content, block)
            for place, image in enumerate(images[1:], start=1)
        ]
        in_order, role = in_sequence(further, own.images_of_sample)
        image = RowImage(path, number, name, images[0].content, block)
        payload = {"rows": [row.said], "name": row.cells.written_name or name}
        yield Item(without_known_suffix(name), image, (), payload, further=in_order, role=role)


def _with_own_stems(items: list[Item], join: bool) -> tuple[list[Item], tuple[str, ...]]:
    """Items with stems of their own. Of rows with one name each is an image called by its place, or all are one."""
    counts = Counter(item.payload["name"] for item in items)
    if join:
        by_name: dict[str, Item] = {}
        for item in items:
            known = by_name.setdefault(item.payload["name"], item)
            if known is not item:
                known.payload["rows"].extend(item.payload["rows"])
        joined = len(items) - len(by_name)
        notes = (f"{joined} rows are of an image that an earlier row has, and were joined to it",) if joined else ()
        items, counts = list(by_name.values()), Counter(by_name)
    else:
        repeated = sum(count for count in counts.values() if count > 1)
        told = f"{repeated} rows share the names of their images; each is an image of its own (see `join_rows`)"
        notes = (told,) if repeated else ()
    stems = Counter(item.stem for item in items)
    return [item if stems[item.stem] == 1 else replace(item, stem=_placed_stem(item)) for item in items], notes


def _placed_stem(item: Item) -> str:
    image = item.image
    return f"{item.stem}-{image.file.stem}-{image.row}" if isinstance(image, RowImage) else item.stem


def _named_files(described: DescribedSet, root: Path, split: str, path: Path, rows: list[_Row]) -> FoundItems:
    """Items of rows that name image files, each image with all rows of its name."""
    images = list_tree(images_folder(described.content, root, split), root)
    by_name: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    nameless: list[Problem] = []
    for row in rows:
        written = (row.cells.written_name, *row.further)
        names = tuple(name for name in written if isinstance(name, str) and name)
        if len(names) < len(written):
            which = "no image" if len(written) == 1 else f"{len(names)} of {len(written)} images"
            nameless.append((f"{path}/row {row.cells.row}", f"the row names {which}"))
        else:
            by_name.setdefault(names, []).append(row.said)
    said = ((names, {"rows": same, "name": names[0]}) for names, same in by_name.items())
    named = images_named_in(images, path, said, sequence=described.content.images_of_sample)
    return replace(named, unread_rows=tuple(nameless))


def _merged(first: FoundItems, second: FoundItems) -> FoundItems:
    return FoundItems(
        first.items + second.items,
        first.notes + second.notes,
        first.problems + second.problems,
        first.unread_rows + second.unread_rows,
        consulted=first.consulted | second.consulted,
    )


def _read_item(own: Description, item: Item) -> ReadImage:
    table = item.image.file if isinstance(item.image, RowImage) else item.annotations[0]
    provenance = Provenance(annotation=table.name, original_id=item.payload["name"])
    return row_annotations(own, item.payload["rows"], str(item.image), provenance)


PARQUET_FORMAT = OwnFormat(_find, _read_item)
