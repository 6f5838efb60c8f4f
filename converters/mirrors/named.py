"""A known copy of a source (`converters.mirrors.known`) below a folder: found, told by its columns, read row by row.

What a copy means is said by the facts and never guessed: one whose columns are none of theirs is refused with what is
missing, and so is a row without the name by which another source knows the same image.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters.formats.shared_file import read_shared
from converters.formats.text import listed_names
from converters.layout import Problem, layout_error
from converters.mirrors.known import ROLE_WORDS, ColumnRole, Mirror, SourceMirrors, load_mirrors
from converters.mirrors.tables import TableSet, locate_tables
from mmrs.errors import BadItem, UserError
from mmrs.source import RowImage

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class MirrorTables:
    """A copy on disk: its tables by split, the folder that they lie in, and parts of them that are not there."""

    source: str
    root: Path
    mirror: Mirror
    inside: Path
    by_split: Mapping[str, tuple[Path, ...]]
    problems: tuple[Problem, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of the copy."""
        known = f"{self.inside} was read as the copy {self.mirror.repo}"
        return (f"{known}, which lacks {self.mirror.lacks}" if self.mirror.lacks else known,)


@dataclass(frozen=True, slots=True)
class MirrorRow:
    """One row: its image, and its cells by what they are."""

    image: RowImage
    cells: Mapping[ColumnRole, Any]


def locate_mirror(source: str, root: Path) -> MirrorTables | None:
    """The copy below `root`; None where there is no table, or no copy of that source that is read is known.

    Raises:
        UserError: tables in several folders, of columns that no copy has, of no known split, or of a refused copy.
    """
    known = load_mirrors().get(source)
    located = locate_tables(source, root) if known is not None else None
    if known is None or located is None:
        return None
    inside, found = located
    _check_not_refused(source, root, inside, known)
    if all(mirror.refused is not None for mirror in known.copies):
        return None
    first = next(path for paths in found.by_word.values() for path in paths)
    # pyarrow takes as long to load as all else of a scan, and few hold their images in tables.
    from converters.mirrors.cells import table_schema

    mirror = _told_by_columns(source, root, known, read_shared(source, root, first, table_schema))
    return MirrorTables(source, root, mirror, inside, _by_split(source, root, mirror, found), found.problems)


def read_mirror(tables: MirrorTables, split: str) -> tuple[list[MirrorRow], tuple[Problem, ...]]:
    """The rows of one split, in the order of its tables, and those that cannot be used; no image is read.

    Raises:
        UserError: a table that cannot be read, or a row without the name that another source needs.
    """
    rows: list[MirrorRow] = []
    problems: list[Problem] = []
    roles = tuple(role for role in tables.mirror.columns if role not in ("image", "name"))
    for path in tables.by_split.get(split, ()):
        found = read_shared(tables.source, tables.root, path, lambda path: list(_rows(tables, path, roles)))
        for row in found:
            if isinstance(row, MirrorRow):
                rows.append(row)
            else:
                problems.append(row)
    return rows, tuple(problems)


def _rows(tables: MirrorTables, path: Path, roles: Sequence[ColumnRole]) -> Iterator[MirrorRow | Problem]:
    from converters.mirrors.cells import find_image_column, read_table_cells

    columns = tables.mirror.columns
    image = find_image_column(path, columns["image"], columns.get("name"))
    if not image.content:
        raise BadItem(f"its column {columns['image']} has no bytes of images", str(path))
    where = path.relative_to(tables.inside).as_posix()
    for row in read_table_cells(path, image.name, [columns[role] for role in roles]):
        place = f"{path}/row {row.row}"
        if not row.name:
            said = "no name" if row.written_name is None else f"the name {row.written_name[:80]!r}"
            if joined := load_mirrors()[tables.source].joined_by_name:
                raise UserError(_lost_names(tables.source, f"{place} has {said}", joined))
            yield place, f"the row has {said}, which is none of a file"
            continue
        cell = RowImage(path, row.row, row.name, image.content, f"{where}:{row.block_row}")
        yield MirrorRow(cell, dict(zip(roles, row.cells, strict=True)))


def _check_not_refused(source: str, root: Path, inside: Path, known: SourceMirrors) -> None:
    for mirror in known.copies:
        if mirror.refused is not None and (mirror.is_named_by(root) or mirror.is_named_by(inside)):
            raise UserError(
                f"{source}: {inside} is the copy {mirror.repo} by the name of its folder, which is not read: "
                f"{mirror.refused}. {_others(source, known)}"
            )


def _told_by_columns(source: str, root: Path, known: SourceMirrors, schema: pa.Schema) -> Mirror:
    """The copy whose columns the tables have; of several, the one that has most of them."""
    from converters.mirrors.cells import has_column

    copies = [mirror for mirror in known.copies if mirror.refused is None]
    missing = {
        mirror.repo: [role for role, column in mirror.columns.items() if not has_column(schema, column)]
        for mirror in copies
    }
    whole = [mirror for mirror in copies if not missing[mirror.repo]]
    if whole:
        return max(whole, key=lambda mirror: len(mirror.columns))
    nearest = min(copies, key=lambda mirror: len(missing[mirror.repo]))
    if missing[nearest.repo] == ["name"] and known.joined_by_name:
        has = f"its tables have no column {nearest.columns['name']} of names"
        raise UserError(_lost_names(source, f"{root}: {has}", known.joined_by_name))
    lost = ", ".join(f"{nearest.columns[role]} ({ROLE_WORDS[role]})" for role in missing[nearest.repo])
    reason = f"has tables with the columns {listed_names(schema.names)}, and no known copy of it has these"
    expected = [f"{mirror.repo}: {', '.join(mirror.columns.values())}" for mirror in copies]
    folder = shlex.quote(str(root))
    described = f"`mmrs scan generic {folder} --guess` reads tables of any columns, under a description of yours"
    raise layout_error(
        source,
        root,
        reason,
        expected,
        next_lines=(f"nearest is {nearest.repo}, of which {lost} is missing;", described),
    )


def _by_split(source: str, root: Path, mirror: Mirror, found: TableSet) -> dict[str, tuple[Path, ...]]:
    by_split: dict[str, tuple[Path, ...]] = {}
    for word, paths in found.by_word.items():
        if word not in mirror.splits:
            reason = f"has tables called {word}; those of {mirror.repo} are {', '.join(mirror.splits)}"
            raise layout_error(source, root, reason)
        split = mirror.splits[word]
        by_split[split] = (*by_split.get(split, ()), *paths)
    return by_split


def _lost_names(source: str, what: str, joined: str) -> str:
    return (
        f"{source}: {what}. The same images stand in {joined} under the source's names, and without these no copy "
        f"could be told and kept out of a training set. {_others(source, load_mirrors()[source])}"
    )


def _others(source: str, known: SourceMirrors) -> str:
    names = " or ".join(mirror.repo for mirror in known.copies if mirror.refused is None)
    copies = f"Take {names}, or the source itself" if names else "Take the source itself"
    return f"{copies}: `mmrs fetch {source} --to DATA --dry-run` says where it is."
