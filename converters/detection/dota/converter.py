"""DOTA v1.0, v1.5 and v2.0: large aerial scenes with oriented boxes.

Layout: ``{train,val}/images/*.png`` and ``{train,val}/labelTxt*/*.txt``. The three releases share images and differ in
labels, so the release is an option and never guessed. The first corner of a DOTA box is meaningful (the head of a plane
or vehicle) and stays first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator

from converters.base import register
from converters.catalog import Counts
from converters.formats.dota import parse_dota, read_meta
from converters.formats.folders import normal_form
from converters.formats.objects import annotated
from converters.formats.rows import lines_apart
from converters.formats.split_lists import list_folders, paired
from converters.formats.text import finite, read_bytes
from converters.layout import (
    ignored_note,
    last_parts,
    layout_error,
    list_files,
    locate_root,
    subfolders,
)
from converters.tiled import TiledConverter
from mmrs.record import Annotations, Provenance
from mmrs.source import Discovery, Item

UNVERSIONED = "labelTxt"
# The images of a split come in several archives; each may be unpacked into a folder of its own.
IMAGE_FOLDERS = ("images", "part")
# The downloads carry horizontal copies of the labels beside the oriented ones.
HORIZONTAL_MARKS = ("hbb", "rec", "task2")


@register("dota")
@dataclass(frozen=True)
class Dota(TiledConverter):
    """Large scenes, cut into tiles, with the labels of one release."""

    release: Annotated[Literal["1.0", "1.5", "2.0"], BeforeValidator(str)] = "1.0"
    """Release of the labels; releases share images and are never mixed."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The release's classes in the source's spelling."""
        return self.facts.variants[self.release].labels

    @property
    def categories(self) -> Sequence[str]:
        """Unified names of the release's classes."""
        return tuple(self.facts.classes[label] for label in self.labels)

    def published(self, split: str) -> Counts:
        """Published size of the release's split."""
        return self.facts.variants[self.release].published.get(split, Counts())

    def discover(self, root: Path, split: str) -> Discovery:
        """Pair scenes and label files by stem; either without the other is a problem."""
        self.check_split(split)
        base, notes = locate_root(self.name, root, lambda folder: _has_split(folder, self.splits), self.splits)
        if not _has_split(base, (split,)):
            raise layout_error(self.name, base, f"has no {split}/images", [f"{base / split / 'images'}/*.png"])
        images = list_folders(base / split, IMAGE_FOLDERS, base)
        places = sorted({str(path.parent.relative_to(base)) for path in images.by_name.values()})
        if places and places != [f"{split}/images"]:
            notes += (f"images of {split} were taken from {', '.join(places)}",)
        folder, label_notes = self._label_folder(base, split)
        labels = list_files(folder, base, {".txt"})
        metas = list_files(base / split / "meta", base, {".txt"})
        both, alone = paired(images, labels)
        items = tuple(
            Item(stem, image, (label, metas.by_stem[stem]) if stem in metas.by_stem else (label,), None, stem)
            for stem, image, label in both
        )
        notes += (*label_notes, *ignored_note(base / split / "images", images.ignored))
        return Discovery(items, notes, (*images.problems, *labels.problems, *alone))

    def read(self, item: Item) -> Annotations:
        """Quads start at the source's first corner; ``gsd_m`` and ``image_source`` where the file states them."""
        path = item.annotations[0]
        parsed, unread = lines_apart(read_bytes(path), lambda data: parse_dota(data, str(path), self.labels))
        header = parsed.header
        for meta in item.annotations[1:]:
            header = {**header, **read_meta(meta)}
        metadata: dict[str, object] = {}
        if "imagesource" in header:
            metadata["image_source"] = header["imagesource"]
        if "gsd" in header:
            metadata["gsd_m"] = finite(header["gsd"], "gsd", str(path))
        if "acquisition dates" in header:
            metadata["acquisition_dates"] = header["acquisition dates"]
        return Annotations(
            objects=annotated(parsed.boxes, self.facts.classes, str(path), repeats=True, first_corner="as-written"),
            unread=unread,
            metadata=metadata,
            provenance=Provenance(
                annotation=last_parts(path, 3), original_id=item.stem, layout=f"{path.parent.name} as {self.release}"
            ),
        )

    def _label_folder(self, root: Path, split: str) -> tuple[Path, tuple[str, ...]]:
        """The folder with the release's label files, never another release's. Raises `UserError`."""
        present = [child.name for child in subfolders(root / split) if child.name.lower().startswith("labeltxt")]
        versioned = f"labelTxt-v{self.release}"
        for name, note in ((versioned, ""), (UNVERSIONED, f"{split}/{UNVERSIONED} states no release")):
            if name in present:
                folder, nested = _innermost(root / split / name)
                notes = (f"{note}; its labels are read as DOTA {self.release}",) if note else ()
                return folder, notes + nested
        reason = (
            f"has no labels of DOTA {self.release} for {split}; label folders there: {', '.join(present) or 'none'}"
        )
        others = [key for key in self.facts.variants if f"labelTxt-v{key}" in present]
        if others:
            reason += f" (releases are never mixed; choose release={others[0]})"
        raise layout_error(self.name, root, reason, [f"{root / split / versioned}/*.txt"])


def _has_split(root: Path, splits: Sequence[str]) -> bool:
    return any(
        normal_form(child.name).startswith(IMAGE_FOLDERS) for split in splits for child in subfolders(root / split)
    )


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
