"""What files lie in a folder of a stranger's data: grouped by kind and by folder, without the words of splits."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from converters.formats.folders import SPLIT_WORDS
from converters.mirrors.tables import TABLE_PART
from converters.own_data.description import SPLIT
from mmrs.imaging.suffixes import SOURCE_SUFFIXES
from mmrs.row_tables.suffixes import TABLE_SUFFIXES
from mmrs.source import JUNK_FOLDERS

WORDS_OF_SPLITS = tuple(word for words in SPLIT_WORDS.values() for word in words)
_IN_NAME = re.compile(r"(?<![a-z])(train|val|valid|validation|test)(?![a-z])")
# Kinds of files that hold many images each, and are told apart by their names.
_BY_NAME = frozenset({".json", ".csv", *TABLE_SUFFIXES})
# JSON files by their folder, as those of one image each are.
JSON_FOLDERS = "folders of .json"
_MOST_NAMED = 20
_MOST_FILES, _MOST_LOOKED_AT = 2_000_000, 300


@dataclass(frozen=True, slots=True)
class FileGroup:
    """Files of one kind in folders that differ in the word of a split only: split (or "") -> its paths."""

    template: str
    paths: Mapping[str, tuple[str, ...]]

    @property
    def splits(self) -> tuple[str, ...]:
        """The words of splits in its paths, in the order train, val, test."""
        return tuple(word for word in WORDS_OF_SPLITS if word in self.paths)

    def some(self) -> list[str]:
        """A few paths of every split."""
        share = _MOST_LOOKED_AT // len(self.paths)
        return [path for paths in self.paths.values() for path in paths[:share]]


def survey_files(root: Path) -> dict[str, tuple[FileGroup, ...]]:
    """Suffix (``image`` for all images) -> groups of the files below the root, by folder; files of many images by name.

    JSON files may be either, and stand by their folders as `JSON_FOLDERS` too.
    """
    found: dict[str, dict[str, dict[str, list[str]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for path in _files(root):
        folder, _, name = path.rpartition("/")
        suffix = os.path.splitext(name)[1].lower()
        kind = "image" if suffix in SOURCE_SUFFIXES else suffix
        template, split = _templated_file(path) if kind in _BY_NAME else _templated_folder(folder)
        found[kind][template][split].append(path)
        if kind == ".json":
            template, split = _templated_folder(folder)
            found[JSON_FOLDERS][template][split].append(path)
    return {kind: _groups(groups) for kind, groups in found.items()}


def groups_by_name(group: FileGroup) -> tuple[FileGroup, ...]:
    """The files of a folder as groups of their own, told apart by their names; none where they are many."""
    paths = [path for same in group.paths.values() for path in same]
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for path in paths if len(paths) <= _MOST_NAMED else ():
        template, split = _templated(path)
        found[template][split].append(path)
    return _groups(found)


def _groups(found: Mapping[str, Mapping[str, Sequence[str]]]) -> tuple[FileGroup, ...]:
    return tuple(
        FileGroup(template, {split: tuple(paths) for split, paths in sorted(by_split.items())})
        for template, by_split in sorted(found.items())
    )


def _files(root: Path) -> Iterator[str]:
    count = 0
    for place, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name.lower() not in JUNK_FOLDERS)
        for name in sorted(names):
            if not name.startswith("."):
                count += 1
                if count > _MOST_FILES:
                    return
                yield Path(place, name).relative_to(root).as_posix()


def _templated_folder(folder: str) -> tuple[str, str]:
    parts = folder.split("/") if folder else ["."]
    for position, part in enumerate(parts):
        if part in WORDS_OF_SPLITS:
            return "/".join([*parts[:position], SPLIT, *parts[position + 1 :]]), part
    return "/".join(parts), ""


def _templated_file(path: str) -> tuple[str, str]:
    """As `_templated`; parts of one table, and the tables of a folder, are one place."""
    if not path.lower().endswith(TABLE_SUFFIXES):
        return _templated(path)
    folder, _, name = path.rpartition("/")
    stem = name.rpartition(".")[0]
    part = TABLE_PART.fullmatch(stem)
    word = part["word"] if part else stem
    place = folder if word.isdecimal() and folder else f"{folder}/{word}" if folder else word
    return _templated(place)


def _templated(path: str) -> tuple[str, str]:
    """A path of a file with the word of a split, in a folder or in its name, replaced."""
    folder, _, name = path.rpartition("/")
    template, split = _templated_folder(folder) if folder else ("", "")
    if split:
        return f"{template}/{name}", split
    if match := _IN_NAME.search(name):
        name = name[: match.start()] + SPLIT + name[match.end() :]
        split = match[1]
    return f"{folder}/{name}" if folder else name, split
