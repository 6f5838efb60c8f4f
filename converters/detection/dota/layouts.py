"""Where images and labels of DOTA lie: the official folders, and those that tools made of them.

Below a folder of a split: ``images`` beside ``labelTxt[-vR]`` (official), ``annotations/versionR`` (torchgeo) or
``annfiles`` (tiles that mmrotate cut). Ultralytics has ``images/<split>`` beside ``labels/<split>_original``, which is
DOTA's text, and ``labels/<split>``, the same objects as fractions of the image without the flag ``difficult``.

Images and labels without a folder of a split are no split: which one they are, the user says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from converters.formats.folders import normal_form, split_of_word
from converters.formats.split_lists import list_folders
from converters.layout import FileList, list_files, subfolders

# The images of a split come in several archives; each may be unpacked into a folder of its own.
_IMAGE_FOLDERS = ("images", "part")
# The downloads carry horizontal copies of the labels beside the oriented ones.
HORIZONTAL_MARKS = ("hbb", "rec", "task2")
UNVERSIONED = ("labelTxt", "annfiles", "labels")
FRACTIONS = "labels"
ORIGINAL = "_original"

LabelForm = Literal["text", "fractions"]


@dataclass(frozen=True, slots=True)
class LabelFolder:
    """A folder of label files of one form; `notes` say what a user should know of the choice."""

    folder: Path
    form: LabelForm
    notes: tuple[str, ...] = ()


def split_folder(base: Path, split: str) -> str:
    """The name that the folder of a split has at `base`, or in its ``images``: ``Validation`` means val too."""
    places = (base, base / "images")
    if any((place / split).is_dir() for place in places):
        return split
    names = (child.name for place in places for child in subfolders(place))
    return next((name for name in names if split_of_word(name) == split), split)


def has_split(base: Path, split: str) -> bool:
    """Whether `base` has images of that split, above their folder or below it."""
    split = split_folder(base, split)
    above = any(normal_form(child.name).startswith(_IMAGE_FOLDERS) for child in subfolders(base / split))
    return above or (base / "images" / split).is_dir()


def is_unsplit(base: Path, splits: Sequence[str]) -> bool:
    """Whether `base` has folders of images and labels, and none of a split."""
    if any(has_split(base, split) for split in splits):
        return False
    names = [child.name for child in subfolders(base)]
    has_images = any(normal_form(name).startswith(_IMAGE_FOLDERS) for name in names)
    return has_images and bool(label_folders(base))


def unsplit_below(root: Path, splits: Sequence[str]) -> tuple[Path, ...]:
    """`root`, or the folders in it, with images and with labels that are not all empty, as those of test sets are."""
    found = [folder for folder in (root, *subfolders(root)) if is_unsplit(folder, splits)]
    return tuple(folder for folder in found if any(_says_something(path) for path in label_folders(folder).values()))


def images_of(base: Path, split: str) -> FileList:
    """The images of a split; those of the unsplit folder `base` where `split` is empty."""
    if split and not any(normal_form(child.name).startswith(_IMAGE_FOLDERS) for child in subfolders(base / split)):
        return list_files(base / "images" / split, base)
    return list_folders(base / split, _IMAGE_FOLDERS, base)


def label_folders(folder: Path) -> dict[str, Path]:
    """Name -> folder of labels in the folder of a split, or in an unsplit one."""
    found = {
        child.name: child
        for child in subfolders(folder)
        if child.name.lower().startswith("labeltxt") or child.name in UNVERSIONED
    }
    annotations = folder / "annotations"
    return found | {
        f"annotations/{child.name}": child
        for child in subfolders(annotations)
        if child.name.lower().startswith("version")
    }


def labels_of(base: Path, split: str) -> dict[str, Path]:
    """Name -> folder of labels of a split, whichever layout has them."""
    found = label_folders(base / split)
    if split:
        for name in (split + ORIGINAL, split):
            if (base / "labels" / name).is_dir():
                found[f"labels/{name}"] = base / "labels" / name
    return found


def choose_labels(found: Mapping[str, Path], split: str, release: str) -> LabelFolder | None:
    """The labels of the release, never those of another one: where the folder states it, else where none is stated.

    Text goes before fractions, which lost the flag ``difficult``.
    """
    for name in (f"labelTxt-v{release}", f"annotations/version{release}"):
        if name in found:
            folder, notes = _innermost(found[name])
            return LabelFolder(folder, "text", notes)
    for name in (*UNVERSIONED[:2], f"labels/{split}{ORIGINAL}", f"labels/{split}", FRACTIONS):
        if name not in found:
            continue
        folder, notes = _innermost(found[name])
        place = name if name.startswith("labels/") or not split else f"{split}/{name}"
        notes = (f"{place} states no release; its labels are read as DOTA {release}", *notes)
        if name in (f"labels/{split}", FRACTIONS):
            lost = f"{place} has corners as fractions of the image and no flag `difficult`: no object counts as such"
            return LabelFolder(folder, "fractions", (*notes, lost))
        return LabelFolder(folder, "text", notes)
    return None


def releases_in(found: Mapping[str, Path], releases: Sequence[str]) -> tuple[str, ...]:
    """The releases whose labels are there by the names of their folders."""
    return tuple(one for one in releases if {f"labelTxt-v{one}", f"annotations/version{one}"} & found.keys())


def _says_something(folder: Path) -> bool:
    return any(path.suffix == ".txt" and path.stat().st_size > 0 for path in _innermost(folder)[0].iterdir())


def _innermost(folder: Path) -> tuple[Path, tuple[str, ...]]:
    """The folder itself, or its one child with oriented labels where an archive unpacked one level deeper."""
    if any(entry.suffix == ".txt" for entry in folder.iterdir()):
        return folder, ()
    oriented = [
        child for child in subfolders(folder) if not any(mark in child.name.lower() for mark in HORIZONTAL_MARKS)
    ]
    if len(oriented) == 1:
        return oriented[0], (f"labels were found one folder down, in {oriented[0]}",)
    return folder, ()
