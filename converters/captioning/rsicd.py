"""RSICD: 10,921 aerial images of 224 x 224 with five sentences each, many of them repeats.

``RSICD_images/*.jpg`` and ``dataset_rsicd.json`` (beside it or in ``annotations_rsicd/``), whose ``split`` is official.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from converters.base import Converter, register
from converters.formats.captions import CaptionedImage, CaptionFile, distinct_captions, read_captions
from converters.layout import FileList, Problem, ignored_note, layout_error, list_files, locate_root
from mmrs.errors import BadItem, UserError
from mmrs.record import Annotations, Provenance
from mmrs.source import Discovery, Item, ensure_unique_stems

IMAGE_FOLDER = "RSICD_images"
ANNOTATION_FOLDER = "annotations_rsicd"
ANNOTATION_FILE = "dataset_rsicd.json"


@register("rsicd")
@dataclass(frozen=True)
class Rsicd(Converter):
    """No options."""

    def discover(self, root: Path, split: str) -> Discovery:
        """List the split's images. A caption without words and an image without a usable caption are problems."""
        self.check_split(split)
        base, notes = locate_root(self.name, root, _has_layout, {IMAGE_FOLDER, ANNOTATION_FOLDER})
        source = _annotation_file(base)
        if source is None:
            raise layout_error(self.name, base, f"has {IMAGE_FOLDER} but no {ANNOTATION_FILE}")
        if not (base / IMAGE_FOLDER).is_dir():
            raise layout_error(self.name, base, f"has {source.relative_to(base)} but no {IMAGE_FOLDER}")
        try:
            captions = read_captions(source)
        except BadItem as error:
            raise UserError(
                f"{self.name}: {source} (line {error.line}): {error.reason}. Every split depends on this file: "
                f"download it again, then `mmrs scan {self.name} {root}`."
            ) from error
        images = list_files(base / IMAGE_FOLDER, base)
        items, problems = _items(captions, images, source, split)
        unique, repeats = ensure_unique_stems(sorted(items, key=lambda item: item.stem))
        # Findings about the whole set belong to one split, or every split would count them again.
        if split == self.splits[0]:
            problems += captions.problems + images.problems + self._unplaced(captions, images, source)
        notes += ignored_note(base / IMAGE_FOLDER, images.ignored)
        return Discovery(unique, notes, problems + repeats)

    def read(self, item: Item) -> Annotations:
        """Distinct captions; ``caption_counts``: occurrences of each, ``captions_without_words``: how many fell out."""
        captions = distinct_captions(item.payload["raw"])
        if not captions.texts:
            raise BadItem(f"{item.image.name} has no caption with words", str(item.annotations[0]))
        metadata: dict[str, object] = {"caption_counts": list(captions.counts)}
        if captions.empty:
            metadata["captions_without_words"] = len(captions.empty)
        return Annotations(
            captions=captions.texts,
            metadata=metadata,
            provenance=Provenance(annotation=ANNOTATION_FILE, original_id=item.payload["image_id"]),
        )

    def _unplaced(self, captions: CaptionFile, images: FileList, source: Path) -> tuple[Problem, ...]:
        problems = [
            (str(source), f"{image.file_name} has the unknown split {image.split!r}")
            for image in captions.images
            if image.split not in self.splits
        ]
        named = {image.file_name for image in captions.images}
        problems += [
            (str(path), f"{ANNOTATION_FILE} does not name this image")
            for name, path in images.by_name.items()
            if name not in named
        ]
        return tuple(problems)


def _has_layout(root: Path) -> bool:
    return (root / IMAGE_FOLDER).is_dir() or _annotation_file(root) is not None


def _annotation_file(root: Path) -> Path | None:
    for path in (root / ANNOTATION_FILE, root / ANNOTATION_FOLDER / ANNOTATION_FILE):
        if path.is_file():
            return path
    return None


def _items(captions: CaptionFile, images: FileList, source: Path, split: str) -> tuple[list[Item], tuple[Problem, ...]]:
    items, problems = [], []
    for row in captions.images:
        if row.split != split:
            continue
        cleaned = distinct_captions(row.raw)
        for position in cleaned.empty:
            reason = f"{row.file_name}: caption {position + 1} of {len(row.raw)} has no words: {row.raw[position]!r}"
            problems.append((str(source), reason))
        image = _find(row, images, source, problems)
        if image is not None and cleaned.texts:
            items.append(Item(image.stem, image, (source,), {"raw": list(row.raw), "image_id": row.image_id}))
        elif image is not None:
            problems.append((str(image), "no caption with words"))
    return items, tuple(problems)


def _find(row: CaptionedImage, images: FileList, source: Path, problems: list[Problem]) -> Path | None:
    try:
        image = images.find(row.file_name)
    except BadItem as error:
        problems.append((str(source), error.reason))
        return None
    if image is None:
        problems.append((str(source), f"image {row.file_name} is named but is not in {IMAGE_FOLDER}"))
    return image
