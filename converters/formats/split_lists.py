"""Sources that list the ids of a split in a text file, over folders of label files and images that hold all splits."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from converters.formats.coco import CocoFile, CocoImage
from converters.formats.folders import normal_form
from converters.formats.shared_file import read_shared
from converters.formats.text import numbered_lines, read_bytes
from converters.layout import (
    FileList,
    Problem,
    found_image,
    layout_error,
    list_files,
    merge_files,
    subfolders,
)
from mmrs.errors import BadItem
from mmrs.imaging.suffixes import SOURCE_SUFFIXES, without_known_suffix
from mmrs.source import Absent, Discovery, Item, ensure_unique_stems

Ids = tuple[tuple[int, str], ...]


def read_ids(path: Path) -> Ids:
    """(1-based line, first word) of every line that is not blank. Raises `BadItem` when the file cannot be read."""
    return tuple((number, line.split()[0]) for number, line in numbered_lines(read_bytes(path), str(path)))


def paired(
    images: FileList, labels: FileList, label_file: str = "label file"
) -> tuple[list[tuple[str, Path, Path]], list[Problem]]:
    """(stem, image, label file) of every stem that both have, sorted; each file without a partner is a problem.

    `label_file` is what a problem calls such a file.
    """
    pairs = [(stem, path, labels.partner(stem, path)) for stem, path in sorted(images.by_stem.items())]
    both = [(stem, path, label) for stem, path, label in pairs if label is not None]
    problems: list[Problem] = [
        Absent(str(path), f"image without a {label_file}") for _, path, label in pairs if label is None
    ]
    problems += [
        Absent(str(path), f"{label_file} without an image")
        for stem, path in sorted(labels.by_stem.items())
        if not images.has(stem)
    ]
    return both, problems


def named_images(
    coco: CocoFile, images: FileList, source: Path, place: str
) -> tuple[list[tuple[CocoImage, Path]], list[Problem]]:
    """Each image row of the COCO file `source` with its file; rows whose file is not in `place` are problems."""
    found: list[tuple[CocoImage, Path]] = []
    problems: list[Problem] = []
    for image in coco.images:
        path, fault = found_image(images, image.file_name, source, f"is named but is not in {place}")
        problems += fault
        if path is not None:
            found.append((image, path))
    return found, problems


def listed_items(source: Path, ids: Ids, images: FileList, labels: FileList) -> tuple[list[Item], list[Problem]]:
    """An item for every listed id with an image and a label file, sorted by stem; the others are problems."""
    items: dict[Path, Item] = {}
    problems: list[Problem] = []
    for line, name in ids:
        try:
            found, label = images.find_all(name), labels.find(name)
        except BadItem as error:
            problems.append((str(source), f"line {line}: {error.reason}"))
            continue
        if not found or label is None:
            missing = "label file" if found else "image"
            problems.append(Absent(str(source), f"line {line}: {name} has no {missing}"))
            continue
        for image in found:
            if image in items:
                problems.append((str(source), f"line {line}: {name} is listed twice"))
            else:
                items[image] = Item(image.stem, image, (label,))
    unique, repeats = ensure_unique_stems(sorted(items.values(), key=lambda item: item.stem))
    return list(unique), [*problems, *repeats]


def listed_split(
    name: str, base: Path, lists: Path, split: str, splits: Sequence[str], images: FileList, labels: FileList
) -> Discovery:
    """The items of ``lists/<split>.txt``; notes say what the lists of all `splits` leave out.

    Raises:
        UserError: no such list, or none of its ids has both an image and a label file.
    """
    source = lists / f"{split}.txt"
    if not source.is_file():
        raise layout_error(name, base, f"has no {source.relative_to(base)}")
    items, problems = listed_items(source, read_shared(name, base, source, read_ids), images, labels)
    if not items:
        counts = f"{len(images.by_stem)} images and {len(labels.by_stem)} label files were found there"
        raise layout_error(name, base, f"has no image with a label file for split {split}; {counts}")
    present = [path for one in splits if (path := lists / f"{one}.txt").is_file()]
    named, unreadable = _all_listed(present)
    notes: tuple[str, ...] = ()
    consulted = frozenset(present)
    if not unreadable:
        notes = unlisted_note("images", images, named) + unlisted_note("label files", labels, named)
        consulted |= unlisted(images, named) | unlisted(labels, named)
    shared = images.problems + labels.problems + unreadable
    return Discovery(tuple(items), notes, tuple(problems), shared_problems=shared, consulted=consulted)


def _all_listed(lists: Sequence[Path]) -> tuple[set[str], tuple[Problem, ...]]:
    """Every name in several lists, with and without suffix, and a problem for each list that cannot be read."""
    named: set[str] = set()
    problems = []
    for path in lists:
        try:
            words = {word for _, word in read_ids(path)}
        except BadItem as error:
            problems.append((str(path), error.reason))
            continue
        named |= words | {without_known_suffix(word) for word in words}
    return named, tuple(problems)


def list_folders(
    base: Path, prefixes: tuple[str, ...], root: Path | None = None, suffixes: Collection[str] = SOURCE_SUFFIXES
) -> FileList:
    """Files of every folder in `base` whose `normal_form` starts with one of `prefixes`; links stay inside `root`.

    Archives that unpack to one more folder, and parts in folders of their own, are looked into one level deep.
    """
    found = [child for child in subfolders(base) if normal_form(child.name).startswith(prefixes)]
    folders = [inner for child in found for inner in (child, *subfolders(child))]
    return merge_files(list_files(folder, root or base, suffixes) for folder in folders)


def unlisted(files: FileList, named: Collection[str]) -> frozenset[Path]:
    """The files that no list names."""
    return frozenset(files.by_stem[stem] for stem in files.by_stem.keys() - set(named))


def unlisted_note(what: str, files: FileList, named: Collection[str]) -> tuple[str, ...]:
    """A note on the files that no list names, or nothing: such a file belongs to no split and is no fault."""
    count = len(unlisted(files, named))
    return (f"{count} {what} are named by no list and belong to no split",) if count else ()
