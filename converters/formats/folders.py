"""Scene classification by class folders: ``<folder>/<class>/<image>``."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from converters.layout import Problem, list_files, subfolders
from mmrs.imaging.suffixes import SOURCE_SUFFIXES
from mmrs.source import Absent

SEPARATORS = re.compile(r"[\s_-]+")
# Words, in normal form, that folders and files of a split are named by.
SPLIT_WORDS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}


@dataclass(frozen=True, slots=True)
class ClassFolderListing:
    """Images by label, in the order of the labels asked for and sorted within; `problems` are (path, reason)."""

    images: dict[str, tuple[Path, ...]]
    problems: tuple[Problem, ...]


def normal_form(name: str) -> str:
    """Class name without case, blanks, underscores and hyphens, under which spellings of one class are equal."""
    return SEPARATORS.sub("", unicodedata.normalize("NFC", name)).casefold()


def split_of_word(word: str) -> str | None:
    """The split that a folder's or a file's name means (``Validation`` is ``val``), None where it is none."""
    form = normal_form(word)
    return next((split for split, words in SPLIT_WORDS.items() if form in words), None)


def folders_of_splits(folder: Path) -> dict[str, tuple[Path, ...]]:
    """The child folders of `folder` that are named like a split, by split: train, val, test."""
    found: dict[str, tuple[Path, ...]] = {split: () for split in SPLIT_WORDS}
    for child in subfolders(folder):
        if (split := split_of_word(child.name)) is not None:
            found[split] += (child,)
    return {split: folders for split, folders in found.items() if folders}


def has_class_folders(
    folder: Path,
    labels: Sequence[str],
    suffixes: Collection[str] = SOURCE_SUFFIXES,
    form: Callable[[str], str] = normal_form,
) -> bool:
    """Whether a child folder of `folder` is named like one of `labels` (equal under `form`) and holds an image."""
    known = {form(label) for label in labels}
    return any(
        form(child.name) in known and any(path.suffix.lower() in suffixes for path in child.iterdir())
        for child in subfolders(folder)
    )


def read_class_folders(
    folders: Sequence[Path],
    root: Path,
    labels: Sequence[str],
    suffixes: Collection[str] = SOURCE_SUFFIXES,
    form: Callable[[str], str] = normal_form,
) -> ClassFolderListing:
    """List the images of every class folder in `folders` (several where a set lies in parts), never opening one.

    Folders are matched to `labels` by `form`. An unknown class folder is one problem per image in it; a class that no
    folder has is one problem.
    """
    known = {form(label): label for label in labels}
    images: dict[str, tuple[Path, ...]] = {label: () for label in labels}
    problems: list[Problem] = []
    for child in [child for folder in folders for child in subfolders(folder)]:
        files = list_files(child, root, suffixes)
        label = known.get(form(child.name))
        if label is None:
            problems += [(str(path), f"class folder {child.name!r} is unknown") for path in files.by_name.values()]
            continue
        problems += files.problems
        images[label] += tuple(files.by_stem.values())
    problems += [
        Absent(str(folders[0] / label), "class folder is missing or empty") for label in labels if not images[label]
    ]
    return ClassFolderListing(images, tuple(problems))
