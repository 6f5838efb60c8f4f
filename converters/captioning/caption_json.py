"""Captioned images with one JSON file that names the images, their split and their sentences.

The base of the sources that share the schema of `converters.formats.captions`; a source states where its images and
its file lie, and overrides `parse` or `images` where it differs. Known copies of a source as tables are read where
neither is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from converters.base import Converter
from converters.formats.captions import CaptionFile, distinct_captions, read_captions
from converters.formats.shared_file import read_shared
from converters.layout import FileList, Problem, found_image, layout_error, list_files, locate_root
from converters.mirrors.named import MirrorTables, locate_mirror, read_mirror
from mmrs.errors import BadItem, UserError
from mmrs.imaging.suffixes import without_known_suffix
from mmrs.record import Annotations, Provenance
from mmrs.source import Discovery, Item, RowImage, ensure_unique_stems


@dataclass(frozen=True)
class CaptionJson(Converter):
    """A source with `image_folders` and `annotation_files` (both below the root, the usual place first)."""

    image_folders: ClassVar[tuple[str, ...]] = ()
    annotation_files: ClassVar[tuple[str, ...]] = ()

    def parse(self, path: Path) -> CaptionFile:
        """Read the caption file. Raises `BadItem` when the file as a whole cannot be used."""
        return read_captions(path)

    def images(self, folder: Path, root: Path) -> FileList:
        """The images of the folder by name."""
        return list_files(folder, root)

    def discover(self, root: Path, split: str) -> Discovery:
        """List the split's images. A caption without words is a detail, an image without a usable caption a problem."""
        self.check_split(split, root)
        try:
            base, notes = locate_root(self.name, root, self._holds, self._top_folders())
        except UserError:
            if (tables := locate_mirror(self.name, root)) is None:
                raise
            return _in_mirror(tables, split)
        source, folder = self._source(base), self._folder(base)
        annotation_name = PurePosixPath(self.annotation_files[0]).name
        if source is None:
            raise layout_error(self.name, base, f"has {self.image_folders[0]} but no {annotation_name}")
        if folder is None:
            raise layout_error(self.name, base, f"has {source.relative_to(base)} but no {self.image_folders[0]}")
        captions = read_shared(self.name, root, source, self.parse)
        images = self.images(folder, base)
        items, problems, details = _items(captions, images, source, folder, split)
        unique, repeats = ensure_unique_stems(sorted(items, key=lambda item: item.stem))
        shared = captions.problems + images.problems + self._unplaced(captions, images, source)
        own = problems + repeats
        return Discovery(unique, notes, own, details=details, shared_problems=shared, consulted=frozenset((source,)))

    def splits_in(self, root: Path) -> Sequence[str]:
        """The splits of a copy that lacks some, else those of the source."""
        try:
            locate_root(self.name, root, self._holds, self._top_folders())
        except UserError:
            with suppress(UserError):
                if (tables := locate_mirror(self.name, root)) is not None:
                    return tuple(split for split in self.splits if split in tables.by_split)
        return self.splits

    def read(self, item: Item) -> Annotations:
        """Distinct captions; ``caption_counts``: occurrences of each, ``captions_without_words``: how many fell out."""
        captions = distinct_captions(item.payload["raw"])
        source = item.image.file if isinstance(item.image, RowImage) else item.annotations[0]
        if not captions.texts:
            raise BadItem(f"{item.image.name} has no caption with words", str(source))
        metadata: dict[str, object] = {"caption_counts": list(captions.counts)}
        if captions.empty:
            metadata["captions_without_words"] = len(captions.empty)
        return Annotations(
            captions=captions.texts,
            metadata=metadata,
            provenance=Provenance(annotation=source.name, original_id=item.payload["image_id"]),
        )

    def _holds(self, root: Path) -> bool:
        return self._folder(root) is not None or self._source(root) is not None

    def _top_folders(self) -> set[str]:
        nested = (*self.image_folders, *(name for name in self.annotation_files if "/" in name))
        return {PurePosixPath(name).parts[0] for name in nested}

    def _folder(self, root: Path) -> Path | None:
        return next((root / name for name in self.image_folders if (root / name).is_dir()), None)

    def _source(self, root: Path) -> Path | None:
        return next((root / name for name in self.annotation_files if (root / name).is_file()), None)

    def _unplaced(self, captions: CaptionFile, images: FileList, source: Path) -> tuple[Problem, ...]:
        problems = [
            (str(source), f"{image.file_name} has the unknown split {image.split!r}")
            for image in captions.images
            if image.split not in self.splits
        ]
        named = {image.file_name for image in captions.images}
        stems = {without_known_suffix(name) for name in named}
        problems += [
            (str(path), f"{source.name} does not name this image")
            for name, path in images.by_name.items()
            if name not in named and path.stem not in stems
        ]
        return tuple(problems)


def _items(
    captions: CaptionFile, images: FileList, source: Path, folder: Path, split: str
) -> tuple[list[Item], tuple[Problem, ...], tuple[Problem, ...]]:
    items: list[Item] = []
    problems: list[Problem] = []
    details: list[Problem] = []
    for row in captions.images:
        if row.split != split:
            continue
        cleaned = distinct_captions(row.raw)
        for position in cleaned.empty:
            reason = f"{row.file_name}: caption {position + 1} of {len(row.raw)} has no words: {row.raw[position]!r}"
            details.append((str(source), reason))
        image, fault = found_image(images, row.file_name, source, f"is named but is not in {folder.name}")
        problems += fault
        if image is not None and cleaned.texts:
            items.append(Item(image.stem, image, (source,), {"raw": list(row.raw), "image_id": row.image_id}))
        elif image is not None:
            problems.append((str(image), "no caption with words"))
    return items, tuple(problems), tuple(details)


def _in_mirror(tables: MirrorTables, split: str) -> Discovery:
    """The split's rows of a copy, as the images that its caption file would name."""
    rows, problems = read_mirror(tables, split)
    items: list[Item] = []
    faults: list[Problem] = []
    details: list[Problem] = []
    others = 0
    for row in rows:
        raw = _sentences(row.cells["captions"])
        cleaned = distinct_captions(raw)
        others += len(raw) != (tables.mirror.captions_per_image or len(raw))
        reasons = (f"caption {at + 1} of {len(raw)} has no words: {raw[at]!r}" for at in cleaned.empty)
        details += [(str(row.image), reason) for reason in reasons]
        if cleaned.texts:
            payload = {"raw": raw, "image_id": str(row.cells.get("image_id", row.image.name))}
            items.append(Item(without_known_suffix(row.image.name), row.image, (), payload))
        else:
            faults.append((str(row.image), "no caption with words"))
    unique, repeats = ensure_unique_stems(sorted(items, key=lambda item: item.stem))
    notes = tables.notes
    if others:
        count = tables.mirror.captions_per_image
        notes += (f"{others} images of {split} have not the {count} sentences of the source: the copy may be altered",)
    consulted = frozenset(tables.by_split[split])
    found = (*problems, *faults, *repeats)
    return Discovery(unique, notes, found, details=tuple(details), shared_problems=tables.problems, consulted=consulted)


def _sentences(cell: Any) -> list[str]:
    """The sentences of a cell; one that is no text is an empty one, as in a caption file."""
    return [text if isinstance(text, str) else "" for text in (cell if isinstance(cell, list) else [cell])]
