"""Scenes in Parquet tables: the images of class-folder sources as mirrors hold them.

Names matter: the seeded rule cuts by them, and other sources show the same images under them. A row whose name is lost,
or is none of the source's, is called by its class and its place; where another source needs the names, it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from converters.formats.folders import normal_form
from converters.formats.shared_file import read_shared
from converters.layout import Problem, layout_error
from mmrs.errors import UserError
from mmrs.imaging.suffixes import NAMED_SUFFIXES, without_known_suffix
from mmrs.source import Item, RowImage

if TYPE_CHECKING:
    from converters.mirrors.columns import LabelledRow


@dataclass(frozen=True, slots=True)
class ClassNames:
    """How a source names its classes and files.

    Args:
        source: its key.
        labels: its classes, in the source's spelling.
        form: under which a written class and a label are equal.
        prefixes: label -> what names of its files start with, before their number; empty where names do not tell.
        suffixes: of the files that are its images.
        expected: the layouts that are looked for, in words.
        joined_by_name: sources that show the same images under the same names; empty where there is none.
    """

    source: str
    labels: Collection[str]
    form: Callable[[str], str]
    prefixes: Mapping[str, str]
    suffixes: Collection[str]
    expected: Sequence[str]
    joined_by_name: str = ""


@dataclass(frozen=True, slots=True)
class TableItems:
    """Items by label, in the order of the tables; `notes` and `problems` as those of a discovery."""

    items: Mapping[str, Sequence[Item]]
    notes: tuple[str, ...]
    problems: tuple[Problem, ...]


def read_class_tables(root: Path, base: Path, tables: Sequence[Path], names: ClassNames) -> TableItems:
    """The rows of `tables`, which lie below `base`, as items; no image is read.

    Raises:
        UserError: a table cannot be read, has no images with one class each, or lost names that another source needs.
    """
    known = {names.form(label): label for label in names.labels}
    items: dict[str, list[Item]] = {label: [] for label in names.labels}
    problems: list[Problem] = []
    unnamed = others = 0
    for path in tables:
        column, rows = read_shared(names.source, root, path, _read_table)
        for row in rows:
            place = f"{path}/row {row.row}"
            label = known.get(names.form(row.label))
            if row.fault is not None or label is None:
                problems.append((place, row.fault or f"class {row.label!r} is unknown"))
                continue
            name = _name_of(row, names)
            suffix = PurePosixPath(name or "").suffix.lower()
            if suffix in NAMED_SUFFIXES and suffix not in names.suffixes:
                others += 1
                continue
            said = _class_of_name(name, names)
            if said not in (None, label):
                problems.append((place, f"name {name!r} says another class than its label {row.label!r}"))
                continue
            is_own = name is not None and (said == label or not names.prefixes)
            if not is_own and names.joined_by_name:
                raise _lost_names(place, name, names)
            unnamed += not is_own
            called = name if name is not None else f"{path.stem}-{row.row}"
            block = f"{path.relative_to(base).as_posix()}:{row.block_row}"
            stem = without_known_suffix(called)
            if said != label:
                stem = f"{names.form(label)}-{stem}"
            image = RowImage(path, row.row, called, column, block)
            items[label].append(Item(stem, image, (), {"label": label}))
    listed = ", ".join(sorted(names.suffixes))
    if others and not any(items.values()):
        reason = f"has tables, and of the images in them none is {listed}"
        raise layout_error(names.source, root, reason, names.expected)
    notes: list[str] = []
    if unnamed:
        notes.append(f"{unnamed} rows have no name of the source; they are called by their class and their place")
    if others:
        notes.append(f"{others} rows are images of another suffix than {listed}")
    return TableItems(items, tuple(notes), tuple(problems))


def _read_table(path: Path) -> tuple[str, list[LabelledRow]]:
    """Column of the images, and the rows without them."""
    # pyarrow takes as long to load as all else of a scan, and few hold their images in tables.
    from converters.mirrors.columns import read_image_table, read_labelled_rows

    table = read_image_table(path)
    return table.image, list(read_labelled_rows(path, table))


def _class_of_name(name: str | None, names: ClassNames) -> str | None:
    """The class that the name of a file starts with, None where it says none."""
    start = normal_form(PurePosixPath(name or "").stem).rstrip("0123456789")
    return next((label for label, prefix in names.prefixes.items() if start and start == prefix), None)


def _name_of(row: LabelledRow, names: ClassNames) -> str | None:
    """The first of the row's names that says a class, else the first; None where they are lost."""
    return next((name for name in row.names if _class_of_name(name, names)), next(iter(row.names), None))


def _lost_names(place: str, name: str | None, names: ClassNames) -> UserError:
    named = "no name" if name is None else f"the name {name!r}"
    return UserError(
        f"{names.source}: {place} has {named}, which is none of the source's. The same images stand in "
        f"{names.joined_by_name} under the source's names, and without these no copy could be told and kept out of a "
        f"training set: take tables that keep them, or the archive. `mmrs sources {names.source}` says where."
    )
