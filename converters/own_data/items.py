"""What each format of a user's own data hands over: items of one place, paired with their labels or named by a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from converters.boxes import BoxAnnotations
from converters.formats.shared_file import read_shared
from converters.formats.tree import FileTree, list_tree
from converters.layout import Problem
from converters.own_data.description import DescribedSet, Description, SequenceImage, own_layout_error
from mmrs.errors import BadItem
from mmrs.record import Annotations, TaskName
from mmrs.source import Absent, FurtherImage, Item, RowImage, ensure_unique_stems

T = TypeVar("T")

TURNED_BOX_TASKS: tuple[TaskName, ...] = ("detection-obb",)
# Label files that are looked into for the kind of their boxes before they are read.
LOOKED_AT_FOR_BOXES = 200


@dataclass(frozen=True, slots=True)
class FoundItems:
    """Items of one place (before any cut into splits), notes and problems; `tasks` that its labels allow besides.

    `consulted` are the annotation file of all images, and the images that a note counts and leaves out.
    """

    items: tuple[Item, ...]
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    unread_rows: tuple[Problem, ...] = ()
    details: tuple[Problem, ...] = ()
    tasks: tuple[TaskName, ...] = ()
    consulted: frozenset[Path] = frozenset()


ReadImage = Annotations | BoxAnnotations
"""What is known of an image; boxes are left as their file states them, for the geometry of many images at once."""


@dataclass(frozen=True, slots=True)
class OwnFormat:
    """One format: `find` lists the items of a split below the root, `read` parses one image's annotation.

    `find` raises `UserError` where a path of the description is not there or a file that all images depend on cannot be
    used; `read` raises `BadItem`.
    """

    find: Callable[[DescribedSet, Path, str], FoundItems]
    read: Callable[[Description, Item], ReadImage]


def images_folder(own: Description, root: Path, split: str) -> Path:
    """The folder of a split's images. Raises `UserError` where it is not there."""
    folder = root / own.path(own.images, split)
    if not folder.is_dir():
        raise own_layout_error(root, f"has no folder {own.path(own.images, split)}", [f"{folder}/ with images"])
    return folder


def label_folder(own: Description, root: Path, split: str, suffix: str) -> Path:
    """The folder of a split's label files. Raises `UserError` where it is not there."""
    folder = root / own.path(own.annotations or "", split)
    if not folder.is_dir():
        raise own_layout_error(root, f"has no folder {folder.relative_to(root)}", [f"{folder}/ with {suffix} files"])
    return folder


def shared_annotations(own: Description, root: Path, split: str) -> Path:
    """The one annotation file of a split. Raises `UserError` where it is not there."""
    source = root / own.path(own.annotations or "", split)
    if not source.is_file():
        raise own_layout_error(root, f"has no file {source.relative_to(root)}", [str(source)])
    return source


def images_and_file(
    described: DescribedSet, root: Path, split: str, read: Callable[[Path], T]
) -> tuple[FileTree, Path, T]:
    """The images of a split, its one annotation file, and what `read` makes of that.

    Raises:
        UserError: either is not there, or the file cannot be used.
    """
    images = list_tree(images_folder(described.content, root, split), root)
    source = shared_annotations(described.content, root, split)
    return images, source, read_shared("generic", root, source, read, "mend it", described.command_options)


def labelled_images(own: Description, root: Path, split: str, suffix: str, without_label: str = "") -> FoundItems:
    """Images with the label file of their name, each in its folder.

    `without_label` is what an image without a label file counts as; where that says nothing, such an image is a
    problem.
    """
    images = list_tree(images_folder(own, root, split), root)
    labels = list_tree(label_folder(own, root, split, suffix), root, {suffix})
    items, problems = [], list(labels.problems)
    without = 0
    for stem, image in images.by_stem.items():
        label = labels.partner(stem, image)
        if label is not None:
            items.append(Item(stem, image, (label,)))
        elif without_label:
            items.append(Item(stem, image))
            without += 1
        else:
            problems.append(Absent(str(image), "image without a label file"))
    problems += [
        Absent(str(path), "label file without an image")
        for stem, path in labels.by_stem.items()
        if not images.has(stem) and path.name != "classes.txt"
    ]
    notes = (f"{without} images have no label file and count as {without_label}",) if without else ()
    return FoundItems(tuple(items), notes, (*images.problems, *problems))


def images_named_in(
    images: FileTree,
    source: Path,
    rows: Iterable[tuple[str | tuple[str, ...], Mapping[str, Any]]],
    problems: tuple[Problem, ...] = (),
    sequence: Sequence[SequenceImage] = (),
) -> FoundItems:
    """Items of the images that an annotation file names, each with its payload; `problems` are those of the file.

    Args:
        rows: name of an image, or of the images of a sample in order, with what is said of it.
        sequence: what the images of a sample are; without it a sample may have any number of them.
    """
    stems = {path: stem for stem, path in images.by_stem.items()}
    items: dict[tuple[Path, ...], Item] = {}
    missing: list[Problem] = []
    for named, payload in rows:
        names = (named,) if isinstance(named, str) else named
        try:
            found = _found_images(images, stems, names, sequence, source)
        except BadItem as error:
            missing.append((str(source), error.reason))
            continue
        if isinstance(found, Absent):
            missing.append(found)
        elif found not in items:
            further, role = in_sequence(found[1:], sequence)
            items[found] = Item(stems[found[0]], found[0], (source,), payload, further=further, role=role)
        elif (joined := _joined(items[found].payload, payload)) is not None:
            # Two spellings of one file: what is said under both is known of the one image.
            items[found] = replace(items[found], payload=joined)
        else:
            told = f"image {names[0]} is {items[found].image.name}, which has another size before"
            missing.append((str(source), told))
    named_images = {image for found in items for image in found}
    rest = frozenset(path for path in images.by_stem.values() if path not in named_images)
    notes = (f"{len(rest)} images are not named by {source.name} and were left out",) if rest else ()
    known, repeats = _with_stems_of_all(items, stems)
    return FoundItems(known, notes, (*images.problems, *problems, *missing, *repeats), consulted=rest | {source})


def in_sequence(
    further: Sequence[Path | RowImage], sequence: Sequence[SequenceImage]
) -> tuple[tuple[FurtherImage, ...], str | None]:
    """The images after the first as an item has them, and the first one's role, where a sample has several."""
    if not further:
        return (), None
    if not sequence:
        return tuple(map(FurtherImage, further)), None
    told = zip(further, sequence[1:], strict=True)
    return tuple(FurtherImage(image, one.role, one.sensor) for image, one in told), sequence[0].role


def _found_images(
    images: FileTree,
    stems: Mapping[Path, str],
    names: Sequence[str],
    sequence: Sequence[SequenceImage],
    source: Path,
) -> tuple[Path, ...] | Absent:
    """The files of those names. Raises `BadItem` for a name that leads out, or another number than the sequence has."""
    if sequence and len(names) != len(sequence):
        expected = ", ".join(one.role for one in sequence)
        raise BadItem(f"the sample of {names[0]} has {len(names)} images; the sequence is {expected}")
    found = []
    for name in names:
        image = images.find(name)
        if image is None or image not in stems:
            return Absent(str(source), f"image {name} is named but is not there")
        found.append(image)
    return tuple(found)


def _with_stems_of_all(
    items: Mapping[tuple[Path, ...], Item], stems: Mapping[Path, str]
) -> tuple[tuple[Item, ...], tuple[Problem, ...]]:
    """Items by stem; one that shares its first image with others is called by all of its images."""
    firsts = Counter(found[0] for found in items)
    if len(firsts) == len(items):
        return tuple(sorted(items.values(), key=lambda item: item.stem)), ()
    named = [
        item if len(found) == 1 or firsts[found[0]] == 1 else replace(item, stem="+".join(stems[one] for one in found))
        for found, item in items.items()
    ]
    return ensure_unique_stems(named)


def _joined(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any] | None:
    """Lists one after the other; None where the two say different things of anything else."""
    if any(first[key] != second[key] for key in first if not isinstance(first[key], list)):
        return None
    return {key: value + second[key] if isinstance(value, list) else value for key, value in first.items()}
