"""VisDrone-DET: street scenes from drones, ``VisDrone2019-DET-{train,val,test-dev}/{images,annotations}``.

A label line is ``left,top,width,height,score,category,truncation,occlusion`` in pixels, some with a trailing comma.
Category 0 (ignored regions), category 11 (others) and whatever has score 0 take no part in scoring and are kept as
ignore objects. Files of the video tasks have ten columns and are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from converters.base import register
from converters.boxes import BoxAnnotations, BoxConverter
from converters.formats.folders import normal_form
from converters.formats.objects import labelled
from converters.formats.rows import lines_apart
from converters.formats.shapes import BoxObject, check_box
from converters.formats.split_lists import paired
from converters.formats.text import finite, integer, numbered_lines, read_bytes, shown
from converters.layout import last_parts, layout_error, list_files, locate_root, subfolders
from mmrs.errors import BadItem
from mmrs.record import Provenance
from mmrs.source import Discovery, Item

_FOLDERS = {"train": "train", "val": "val", "test": "test-dev"}
_COLUMNS = 8
VIDEO_COLUMNS = 10
FRAME = re.compile(r"(\d+)_\d+_d_\d+", re.ASCII)


@register("visdrone")
@dataclass(frozen=True)
class VisDrone(BoxConverter):
    """No options."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names by category number."""
        first, last = self.facts.ignored_labels
        return (first, *self.facts.classes, last)

    def discover(self, root: Path, split: str) -> Discovery:
        """Pair images and label files by stem; frames of one sequence are one scene."""
        self.check_split(split)
        base, notes = locate_root(
            self.name,
            root,
            lambda folder: any(_split_folder(folder, part) for part in _FOLDERS),
            {root.resolve().name} if _is_split(root.resolve().name) else (),
        )
        folder = _split_folder(base, split)
        if folder is None:
            raise layout_error(self.name, base, f"has no folder VisDrone2019-DET-{_FOLDERS[split]} with images")
        images = list_files(folder / "images", base)
        labels = list_files(folder / "annotations", base, {".txt"})
        both, alone = paired(images, labels)
        items = []
        for stem, image, label in both:
            frame = FRAME.fullmatch(stem)
            items.append(Item(stem, image, (label,), None, frame[1] if frame else None))
        if not items:
            raise layout_error(self.name, folder, f"has no image with a label file for split {split}")
        return Discovery(tuple(items), notes, (*images.problems, *labels.problems, *alone))

    def parse(self, item: Item) -> BoxAnnotations:
        """Objects in file order; ``truncation``, ``occlusion`` (0, 1, 2) and ``score`` as written."""
        path = item.annotations[0]
        raw, unread = lines_apart(read_bytes(path), lambda data: parse_visdrone(data, str(path), self.labels))
        return BoxAnnotations(
            labelled(raw, self.facts.classes, str(path), self.facts.ignored_labels),
            unread=unread,
            provenance=Provenance(annotation=last_parts(path, 3), original_id=item.stem),
        )


def parse_visdrone(data: bytes, path: str, labels: tuple[str, ...]) -> list[BoxObject]:
    """Objects of one label file; `labels` are names by category number. Raises `BadItem` with the line."""
    objects = []
    for number, line in numbered_lines(data, path):
        words = [word.strip() for word in line.split(",")]
        while words and not words[-1]:
            words.pop()
        if len(words) != _COLUMNS:
            video = "; ten columns are a file of the video tasks" if len(words) == VIDEO_COLUMNS else ""
            raise BadItem(f"{len(words)} columns in {shown(line)}, {_COLUMNS} expected{video}", path, number)
        left, top, width, height = (finite(word, "box", path, number) for word in words[:4])
        score, category, truncation, occlusion = (integer(word, "flag", path, number) for word in words[4:])
        if not 0 <= category < len(labels):
            raise BadItem(f"category {category} is out of range 0 to {len(labels) - 1}", path, number)
        objects.append(
            BoxObject(
                labels[category],
                check_box((left, top, left + width, top + height), path, number),
                truncated=truncation > 0,
                line=number,
                ignore=score == 0,
                flags={"score": score, "truncation": truncation, "occlusion": occlusion},
            )
        )
    return objects


def _is_split(name: str) -> bool:
    return any(_names_split(name, split) for split in _FOLDERS)


def _names_split(name: str, split: str) -> bool:
    part = normal_form(_FOLDERS[split])
    return normal_form(name) in (part, split) or (
        normal_form(name).startswith("visdrone") and normal_form(name).endswith(f"det{part}")
    )


def _split_folder(base: Path, split: str) -> Path | None:
    """The split's folder that holds ``images``, or its child where an archive unpacked one level deeper."""
    for child in subfolders(base):
        if _names_split(child.name, split):
            for place in (child, *subfolders(child)):
                if (place / "images").is_dir():
                    return place
    return None
