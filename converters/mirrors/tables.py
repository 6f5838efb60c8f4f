"""Which tables a folder has, by split: as `datasets` uploads and saves them, and as the Hub converts others.

``data/train-00000-of-00004.parquet`` (a hash may follow), ``train.parquet``, ``default/train/0000.parquet``; as
`save_to_disk` lays them, ``train/data-00000-of-00004.arrow``; as its cache does, ``NAME-train.arrow``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from converters.formats.folders import split_of_word
from converters.layout import Problem, find_below, layout_error, list_files, several_places, subfolders
from mmrs.errors import UserError
from mmrs.row_tables.suffixes import TABLE_SUFFIXES
from mmrs.source import Absent
from mmrs.storage.plain_files import FOLLOW_OPTION

TABLE_PART = re.compile(r"(?P<word>.+?)-(?P<number>\d{5})-of-(?P<count>\d{5})(-[0-9a-f]+)?")


@dataclass(frozen=True, slots=True)
class TableSet:
    """The tables of a folder by the word that names their split, in their order.

    `problems` are parts that are not there, and links that lead out of the folder.
    """

    by_word: dict[str, tuple[Path, ...]]
    problems: tuple[Problem, ...] = ()

    @property
    def is_any(self) -> bool:
        """Whether there is a table, readable or not."""
        return bool(self.by_word or self.problems)


def find_tables(folder: Path) -> TableSet:
    """The tables in `folder`, or those in its child folders that are named like splits.

    Raises:
        UserError: two versions of one split lie beside each other.
    """
    files = list_files(folder, folder, TABLE_SUFFIXES)
    problems = list(files.problems)
    if not files.by_name:
        by_word = {}
        for child in subfolders(folder):
            inner = list_files(child, folder, TABLE_SUFFIXES) if split_of_word(child.name) else None
            if inner is not None and (inner.by_name or inner.problems):
                by_word[child.name] = tuple(inner.by_name.values())
                problems += inner.problems
        return TableSet({word: paths for word, paths in by_word.items() if paths}, tuple(problems))
    parts: dict[str, list[Path]] = {}
    numbered: dict[str, dict[int, set[int]]] = {}
    for path in files.by_name.values():
        named = TABLE_PART.fullmatch(path.stem)
        word = named["word"] if named else path.stem
        if (first := parts.setdefault(word, [])) and first[0].suffix.lower() != path.suffix.lower():
            raise UserError(f"{folder} has the tables {word} twice, as {first[0].name} and {path.name}: take one away.")
        first.append(path)
        if named:
            numbered.setdefault(word, {}).setdefault(int(named["count"]), set()).add(int(named["number"]))
    for word, counts in numbered.items():
        problems += _missing_parts(folder, word, counts, parts[word][0].suffix)
    return TableSet({word: tuple(paths) for word, paths in parts.items()}, tuple(problems))


def locate_tables(source: str, root: Path, expected: Sequence[str] = ()) -> tuple[Path, TableSet] | None:
    """The one folder at or below `root` that has tables, and these; None where there are none.

    Args:
        expected: the layouts that an error names, by default all of the source.

    Raises:
        UserError: several folders have tables, or none of them can be read.
    """
    if not root.is_dir():
        return None
    holders = (root,) if find_tables(root).is_any else find_below(root, lambda folder: find_tables(folder).is_any)
    if not holders:
        return None
    if len(holders) > 1:
        raise several_places(source, root, holders, expected, "folders with tables")
    found = find_tables(holders[0])
    if not found.by_word:
        path, fault = found.problems[0]
        linked = f"`{FOLLOW_OPTION}` reads tables that links lead to, as the cache of the Hub has them"
        following = (linked,) if Path(path).is_symlink() else ()
        raise layout_error(
            source, root, f"has a table that cannot be read: {path}: {fault}", expected, next_lines=following
        )
    by_word: dict[str, tuple[Path, ...]] = {}
    for word, paths in found.by_word.items():
        by_word[_split_word(word)] = (*by_word.get(_split_word(word), ()), *paths)
    return holders[0], replace(found, by_word=by_word)


def _split_word(word: str) -> str:
    """The word of a split behind the name that the cache of `datasets` puts before it; else the word as it is."""
    last = word.rpartition("-")[2]
    return last if split_of_word(word) is None and split_of_word(last) is not None else word


def _missing_parts(folder: Path, word: str, counts: dict[int, set[int]], suffix: str) -> list[Problem]:
    if len(counts) > 1:
        listed = " and ".join(f"{word}-*-of-{count:05d}{suffix}" for count in sorted(counts))
        raise UserError(f"{folder} has tables of two versions, {listed}: take the older ones away.")
    ((count, numbers),) = counts.items()
    missing = count - len(numbers & set(range(count)))
    if not missing:
        return []
    return [Absent(str(folder), f"{missing} of {count} tables {word}-*-of-{count:05d}{suffix} are missing")]
