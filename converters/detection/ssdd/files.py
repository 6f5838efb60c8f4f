"""Where the releases of SSDD keep their labels and images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from converters.formats.coco import polygon_fields, read_coco
from converters.formats.shared_file import read_shared
from converters.formats.split_lists import named_images, paired
from converters.layout import FileList, layout_error, list_files, list_subfolders, locate_root, merge_files
from mmrs.source import Discovery, Item, ensure_unique_stems

Style = Literal["voc", "coco", "mmrotate", "mmrotate_json"]
Subset = Literal["BBox_RBox_PSeg_SSDD", "RBox_SSDD", "PSeg_SSDD", "BBox_SSDD"]
STYLES: tuple[Style, ...] = ("voc", "coco", "mmrotate", "mmrotate_json")
# The fullest first.
SUBSETS: tuple[Subset, ...] = ("BBox_RBox_PSeg_SSDD", "RBox_SSDD", "PSeg_SSDD", "BBox_SSDD")
PACK: tuple[Style, ...] = ("mmrotate", "mmrotate_json")
_PLACES = ("inshore", "offshore")
_ARCHIVE_FOLDER = "Official-SSDD-OPEN"
TEST_ENDINGS = ("1", "9")


def locate_subsets(name: str, root: Path) -> tuple[Path, tuple[str, ...]]:
    """The folder with the sub-sets or the pack, also inside one or two folders of the archive. Raises `UserError`."""
    for base in (root / _ARCHIVE_FOLDER, root / _ARCHIVE_FOLDER / _ARCHIVE_FOLDER):
        if _holds(base):
            return base, (f"the layout was found in {base.relative_to(root)}",)
    return locate_root(name, root, _holds, {*SUBSETS, "train", "test"})


def _holds(folder: Path) -> bool:
    official = any((folder / subset).is_dir() for subset in SUBSETS)
    return official or any(has_style(folder, style, None) for style in PACK)


def has_style(base: Path, style: Style, subset: Subset | None) -> bool:
    """Whether labels of that style, in any split, are there."""
    if style == "voc" and subset:
        folder = base / subset / "voc_style"
        return any((folder / name).is_dir() for name in ("Annotations", "Annotations_train", "Annotations_test"))
    if style == "coco" and subset:
        return (base / subset / "coco_style" / "annotations").is_dir()
    name = "labelTxt" if style == "mmrotate" else "images"
    return style in PACK and any((base / part / name).is_dir() for part in ("train", "test/all"))


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Stem -> inshore or offshore, of the test images that the lists name; `consulted` are the files that say so."""

    by_stem: dict[str, str]
    consulted: frozenset[Path]


def is_test(stem: str) -> bool:
    """The official rule: the image's number ends in 1 or 9."""
    return stem.endswith(TEST_ENDINGS)


def find_split(name: str, base: Path, style: Style, subset: Subset | None, split: str) -> Discovery:
    """Items of one split, sorted by stem. Raises `UserError` when the split's labels are not there."""
    if style == "voc":
        found = _voc_split(name, base, base / str(subset) / "voc_style", split)
    elif style == "coco":
        found = _coco_split(name, base, base / str(subset) / "coco_style", split)
    else:
        found = _pack_split(name, base, base / ("train" if split == "train" else "test/all"), style, split)
    layout = f"{subset}/{style}_style" if subset else style
    items = tuple(replace(item, payload={**item.payload, "style": style, "layout": layout}) for item in found.items)
    unique, repeats = ensure_unique_stems(sorted(items, key=lambda item: item.stem))
    return replace(found, items=unique, problems=found.problems + repeats)


def _voc_split(name: str, base: Path, folder: Path, split: str) -> Discovery:
    labels, images = (_split_files(folder, base, what, split) for what in ("Annotations", "JPEGImages"))
    if not labels.by_stem:
        raise layout_error(name, base, f"has no XML of split {split} in {folder.relative_to(base)}/Annotations_{split}")
    misplaced = sum(is_test(stem) != (split == "test") for stem in labels.by_stem)
    notes = (f"{misplaced} files of {split} belong to the other split by the rule of last digits",) if misplaced else ()
    found = _pair(images, labels, _places(folder, base, "Annotations_test_{}", {".xml"}))
    return replace(found, notes=notes)


def _split_files(folder: Path, base: Path, what: str, split: str) -> FileList:
    """Files of ``<what>_<split>``, then those of ``<what>`` that the rule gives to the split."""
    suffixes = {".xml"} if what == "Annotations" else {".jpg", ".jpeg", ".png"}
    own = list_files(folder / f"{what}_{split}", base, suffixes)
    shared = list_files(folder / what, base, suffixes)
    added = {
        path.name: path
        for stem, path in shared.by_stem.items()
        if is_test(stem) == (split == "test") and stem not in own.by_stem
    }
    return merge_files([own, FileList(added, {path.stem: path for path in added.values()})])


def _pack_split(name: str, base: Path, folder: Path, style: Style, split: str) -> Discovery:
    images = list_files(folder / "images", base)
    places = _places(base / "test", base, "{}/labelTxt", {".txt"})
    if style == "mmrotate_json":
        return _from_json(name, base, folder / f"{split}.json", images, places)
    labels = list_files(folder / "labelTxt", base, {".txt"})
    if not labels.by_stem:
        raise layout_error(name, base, f"has no labels in {folder.relative_to(base)}/labelTxt")
    return _pair(images, labels, places)


def _coco_split(name: str, base: Path, folder: Path, split: str) -> Discovery:
    # Where the images lie below coco_style is not documented, so the style's own folders come before the XML style's.
    places = [folder / "images", folder / "images" / split, folder.parent / "voc_style" / f"JPEGImages_{split}"]
    parts = [list_files(place, base) for place in places] + [list_subfolders(folder / "images", base)]
    parts.append(list_files(folder.parent / "voc_style" / "JPEGImages", base))
    first: dict[str, Path] = {}
    for part in parts:
        first = part.by_name | first
    images = FileList(first, {path.stem: path for path in first.values()})
    lists = {place: folder / "annotations" / f"test_{place}.json" for place in _PLACES}
    present = {place: path for place, path in lists.items() if path.is_file()}
    by_stem = {
        Path(image.file_name).stem: place
        for place, listed in present.items()
        for image in read_shared(name, base, listed, read_coco).images
    }
    marks = Surroundings(by_stem, frozenset(present.values()))
    return _from_json(name, base, folder / "annotations" / f"{split}.json", images, marks)


def _from_json(name: str, base: Path, source: Path, images: FileList, places: Surroundings) -> Discovery:
    if not source.is_file():
        raise layout_error(name, base, f"has no {source.relative_to(base)}")
    coco = read_shared(name, base, source, read_coco)
    named, missing = named_images(coco, images, source, "any image folder")
    items = []
    for image, path in named:
        payload: dict[str, Any] = {"rows": [polygon_fields(row) for row in image.rows]}
        payload |= {"size": None if image.size is None else list(image.size), "place": places.by_stem.get(path.stem)}
        items.append(Item(path.stem, path, (source,), payload))
    problems = (*coco.problems, *images.problems, *missing)
    return Discovery(tuple(items), (), problems, coco.unread_rows, consulted=places.consulted | {source})


def _pair(images: FileList, labels: FileList, places: Surroundings) -> Discovery:
    both, alone = paired(images, labels)
    items = tuple(Item(stem, image, (label,), {"place": places.by_stem.get(stem)}) for stem, image, label in both)
    return Discovery(items, (), (*images.problems, *labels.problems, *alone), consulted=places.consulted)


def _places(folder: Path, base: Path, pattern: str, suffixes: set[str]) -> Surroundings:
    listed = {place: list_files(folder / pattern.format(place), base, suffixes).by_stem for place in _PLACES}
    by_stem = {stem: place for place, files in listed.items() for stem in files}
    return Surroundings(by_stem, frozenset(path for files in listed.values() for path in files.values()))
