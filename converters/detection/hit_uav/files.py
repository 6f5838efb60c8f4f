"""Where HIT-UAV's four layouts keep their lists, annotations and images."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

from converters.formats.coco import CocoImage, read_coco
from converters.formats.shared_file import read_shared
from converters.formats.text import decode, read_bytes
from converters.layout import FileList, Problem, check_plain_name, list_files, locate_root
from mmrs.errors import BadItem
from mmrs.source import Absent

Layout = Literal["rotate_json", "normal_json", "normal_xml", "rotate_xml"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
_SPLITS = ("train", "val", "test")
# rotate_xml comes last: its images are a re-encoded three-channel copy of the others'.
IMAGE_PREFERENCE: tuple[Layout, ...] = ("normal_json", "rotate_json", "normal_xml", "rotate_xml")


@dataclass(frozen=True, slots=True)
class ListedFile:
    """What a layout lists for one split: image file name (or stem) -> (annotation files, payload).

    `shared_problems` are those of the folder of XML files, which holds all splits.
    """

    entries: dict[str, tuple[tuple[Path, ...], dict[str, Any]]]
    problems: tuple[Problem, ...]
    shared_problems: tuple[Problem, ...] = ()
    unread_rows: tuple[Problem, ...] = ()

    @property
    def stems(self) -> set[str]:
        return {_stem(name) for name in self.entries}


def has_layout(root: Path, layout: Layout) -> bool:
    """Whether the layout's annotation folder is there."""
    return (root / layout / ("annotations" if layout.endswith("_json") else "Annotations")).is_dir()


def locate_layout(root: Path) -> tuple[Path, tuple[str, ...]]:
    """The folder that holds any of the layouts, and a note where it is not `root`. Raises `UserError`."""
    return locate_root("hit-uav", root, lambda folder: any(has_layout(folder, layout) for layout in LAYOUTS), LAYOUTS)


def layout_files(root: Path, layout: Layout, split: str) -> tuple[Path, ...]:
    """Files and folders that must exist before a split of the layout can be read."""
    if layout.endswith("_json"):
        return (root / layout / "annotations" / f"{split}.json",)
    return root / layout / "ImageSets" / "Main" / f"{split}.txt", root / layout / "Annotations"


def listed_images(root: Path, layout: Layout, split: str) -> ListedFile:
    """Read the split's JSON, or its list and the names of the XML files.

    Raises:
        UserError: the shared file cannot be read at all.
    """
    source = layout_files(root, layout, split)[0]
    read = _listed_json if layout.endswith("_json") else partial(_listed_xml, root, layout)
    others = [one for one in reversed(LAYOUTS) if one != layout and _is_there(root, one, split)]
    advice = f", or read another layout with `--option layout={others[0]}`" if others else ""
    return read_shared("hit-uav", root, source, read, f"download it again{advice}")


def _is_there(root: Path, layout: Layout, split: str) -> bool:
    return all(path.exists() for path in layout_files(root, layout, split))


def _listed_json(source: Path) -> ListedFile:
    coco = read_coco(source)
    entries: dict[str, tuple[tuple[Path, ...], dict[str, Any]]] = {}
    problems = list(coco.problems)
    for image in coco.images:
        try:
            check_plain_name(image.file_name)
        except BadItem as error:
            problems.append((str(source), error.reason))
            continue
        entries[image.file_name] = ((source,), _payload(image))
    return ListedFile(entries, tuple(problems), unread_rows=coco.unread_rows)


def _payload(image: CocoImage) -> dict[str, Any]:
    kept = ("id", "label", "category_id", "difficult", "bbox")
    date = image.row.get("date", image.row.get("date_captured"))
    return {
        "id": image.row["id"],
        "size": image.size,
        "date": date if isinstance(date, str) else None,
        "rows": [{key: row[key] for key in kept if key in row} for row in image.rows],
    }


def _listed_xml(root: Path, layout: Layout, source: Path) -> ListedFile:
    annotations = list_files(root / layout / "Annotations", root, {".xml"})
    entries: dict[str, tuple[tuple[Path, ...], dict[str, Any]]] = {}
    problems: list[Problem] = []
    for number, stem in _lines(source):
        try:
            xml = annotations.find(f"{stem}.xml")
        except BadItem as error:
            problems.append((str(source), f"line {number}: {error.reason}"))
            continue
        if xml is None:
            problems.append(Absent(str(source), f"line {number}: {stem} has no XML in {root / layout / 'Annotations'}"))
        elif stem in entries:
            problems.append((str(source), f"line {number}: {stem} is listed twice"))
        else:
            entries[stem] = ((xml,), {})
    return ListedFile(entries, tuple(problems), annotations.problems)


def _lines(source: Path) -> list[tuple[int, str]]:
    lines = decode(read_bytes(source), str(source)).splitlines()
    return [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]


def image_folder(root: Path, layout: Layout, split: str) -> Path:
    """Where a layout keeps the images of a split (the XML layouts keep all splits in one folder)."""
    return root / layout / (split if layout.endswith("_json") else "JPEGImages")


def find_images(
    root: Path, layout: Layout, split: str, names: list[str]
) -> tuple[dict[str, Path], tuple[str, ...], tuple[Problem, ...]]:
    """Image file of every name: from the layout's own folder, else from a sibling layout's in the same root.

    Returns:
        name -> file in the order of `names`, notes on sibling folders used, problems for images found nowhere.
    """
    folders: dict[Path, FileList] = {}
    for candidate in (layout, *IMAGE_PREFERENCE):
        folder = image_folder(root, candidate, split)
        if folder not in folders:
            folders[folder] = list_files(folder, root)
    own = image_folder(root, layout, split)
    images: dict[str, Path] = {}
    borrowed: Counter[Path] = Counter()
    problems: list[Problem] = []
    for name in names:
        for folder, files in folders.items():
            image = files.by_name.get(name) or files.by_stem.get(_stem(name))
            if image is not None:
                images[name] = image
                borrowed[folder] += 1
                break
        else:
            problems.append(Absent(str(own / name), f"image {name} is listed but is in no layout's image folder"))
    notes = tuple(
        f"{count} images that {own.relative_to(root)} lacks were taken from {folder.relative_to(root)}"
        for folder, count in borrowed.items()
        if folder != own
    )
    return images, notes, tuple(problems)


def holds_all_splits(layout: Layout) -> bool:
    """Whether the layout's image folder holds the images of all splits, as that of the XML layouts does."""
    return layout.endswith("_xml")


def folder_problems(root: Path, layout: Layout, split: str, stems: set[str]) -> tuple[Problem, ...]:
    """Faults of the layout's own image folder, images that no list names among them; `stems` are those of `split`.

    They concern the whole set where the folder `holds_all_splits`.
    """
    if holds_all_splits(layout):
        lists = [layout_files(root, layout, other)[0] for other in _SPLITS]
        try:
            stems = {stem for path in lists if path.is_file() for _, stem in _lines(path)}
        except BadItem as error:
            return ((str(error.path), error.reason),)
    files = list_files(image_folder(root, layout, split), root)
    unlisted = [path for stem, path in files.by_stem.items() if stem not in stems]
    return files.problems + tuple((str(path), "no annotation file names this image") for path in unlisted)


def _stem(name: str) -> str:
    return PurePosixPath(name).stem if name.lower().endswith((".jpg", ".jpeg", ".png")) else name
