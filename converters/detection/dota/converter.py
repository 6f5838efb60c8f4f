"""DOTA v1.0, v1.5 and v2.0: large aerial scenes with oriented boxes.

Layout: ``{train,val}/images/*.png`` and ``{train,val}/labelTxt*/*.txt``; `layouts` has those of other tools. The three
releases share images and differ in labels, so the release is an option and never guessed. The first corner of a DOTA
box is meaningful (the head of a plane or vehicle) and stays first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator

from converters.base import register
from converters.boxes import BoxAnnotations, BoxConverter
from converters.catalog import Counts
from converters.detection.dota.layouts import (
    LabelFolder,
    choose_labels,
    has_split,
    images_of,
    is_unsplit,
    labels_of,
    releases_in,
    split_folder,
    unsplit_below,
)
from converters.formats.dota import parse_dota, read_meta
from converters.formats.objects import known_label, labelled
from converters.formats.rows import lines_apart
from converters.formats.shapes import BoxObject
from converters.formats.split_lists import paired
from converters.formats.text import finite, read_bytes
from converters.formats.yolo import parse_yolo, read_class_names, yolo_quads
from converters.layout import build_command, last_parts, layout_error, list_files, locate_root
from converters.tiled import TiledConverter
from mmrs.errors import BadItem, UserError
from mmrs.imaging.limits import SCENE
from mmrs.imaging.probe import probe
from mmrs.record import Provenance, UnreadRow
from mmrs.source import Discovery, Item

BY_FOLDERS = "folders"
# Tiles are named after their scene, the rate or the size of the window, and its left and upper edge.
TILE_NAME = re.compile(r"(?P<scene>.+?)__\d+(?:\.\d+)?__-?\d+___-?\d+")


@register("dota")
@dataclass(frozen=True)
class Dota(BoxConverter, TiledConverter):
    """Large scenes, cut into tiles, with the labels of one release."""

    release: Annotated[Literal["1.0", "1.5", "2.0"], BeforeValidator(str)] = "1.0"
    """Release of the labels; releases share images and are never mixed."""

    split: Literal["folders", "train", "val"] = "folders"
    """folders: the names of folders say it; train or val: which split images and labels without such a folder are."""

    finding_options: ClassVar[frozenset[str]] = frozenset({"split"})

    @property
    def splits(self) -> Sequence[str]:
        """Those of the folders, or the one that the images are said to be."""
        return self.facts.splits if self.split == BY_FOLDERS else (self.split,)

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
        base, notes = self._base(root, split)
        folder = split_folder(base, split) if self.split == BY_FOLDERS else ""
        images = images_of(base, folder)
        places = sorted({str(path.parent.relative_to(base)) for path in images.by_name.values()})
        if places and places != [str(Path(folder, "images"))]:
            notes += (f"images of {split} were taken from {', '.join(places)}",)
        chosen = self._labels(root, base, folder)
        labels = list_files(chosen.folder, base, {".txt"})
        metas = list_files(base / folder / "meta", base, {".txt"})
        payload = {"names": list(self._names_by_index(base))} if chosen.form == "fractions" else None
        both, alone = paired(images, labels)
        items = tuple(
            Item(
                stem,
                image,
                (label, metas.by_stem[stem]) if stem in metas.by_stem else (label,),
                payload,
                _scene_of(stem),
            )
            for stem, image, label in both
        )
        notes += chosen.notes
        consulted = frozenset(_name_files(base)) if payload else frozenset()
        return Discovery(items, notes, (*images.problems, *labels.problems, *alone), consulted=consulted)

    def parse(self, item: Item) -> BoxAnnotations:
        """Quads start at the source's first corner; ``gsd_m`` and ``image_source`` where the file states them."""
        path = item.annotations[0]
        if item.payload is None:
            parsed, unread = lines_apart(read_bytes(path), lambda data: parse_dota(data, str(path), self.labels))
            boxes, header = parsed.boxes, parsed.header
        else:
            boxes, unread = _read_fractions(item)
            header = {}
        for meta in item.annotations[1:]:
            header = {**header, **read_meta(meta)}
        metadata: dict[str, object] = {}
        if "imagesource" in header:
            metadata["image_source"] = header["imagesource"]
        if "gsd" in header:
            metadata["gsd_m"] = finite(header["gsd"], "gsd", str(path))
        if "acquisition dates" in header:
            metadata["acquisition_dates"] = header["acquisition dates"]
        return BoxAnnotations(
            labelled(boxes, self.facts.classes, str(path), repeats=True, first_corner="as-written"),
            unread=unread,
            metadata=metadata,
            provenance=Provenance(
                annotation=last_parts(path, 3), original_id=item.stem, layout=f"{path.parent.name} as {self.release}"
            ),
        )

    def _base(self, root: Path, split: str) -> tuple[Path, tuple[str, ...]]:
        """The folder that holds the layout. Raises `UserError` with what to type."""
        known = self.facts.splits
        if self.split != BY_FOLDERS:
            if any(has_split(root, one) for one in known):
                command = build_command(self.name, root, self._options_but_split())
                reason = f"has folders of splits, so they are not all {self.split}"
                raise layout_error(self.name, root, reason, next_lines=[f"build them by their folders: `{command}`"])
            return locate_root(self.name, root, lambda folder: is_unsplit(folder, known))
        try:
            base, notes = locate_root(
                self.name, root, lambda folder: any(has_split(folder, one) for one in known), known
            )
        except UserError:
            if unsplit := unsplit_below(root, known):
                raise self._without_split(root, unsplit) from None
            raise
        if not has_split(base, split):
            present = [one for one in known if has_split(base, one)]
            command = build_command(self.name, root, self._options_but_split(), present)
            raise layout_error(
                self.name,
                base,
                f"has no {split}/images",
                [f"{base / split / 'images'}/*.png"],
                next_lines=[f"put {split} there, or build {', '.join(present)} alone: `{command}`"],
            )
        return base, notes

    def _without_split(self, root: Path, unsplit: Sequence[Path]) -> UserError:
        place = "it" if unsplit[0] == root else ", ".join(folder.name for folder in unsplit)
        commands = [
            build_command(self.name, folder, self._options_but_split() | {"split": self.facts.splits[0]})
            for folder in unsplit
        ]
        lines = [f"say that it is train (or val, in the same way): `{command}`" for command in commands]
        reason = f"has images and labels in {place}, but no folder of a split; which split they are is not guessed"
        return layout_error(self.name, root, reason, next_lines=lines)

    def _options_but_split(self) -> dict[str, object]:
        return {name: value for name, value in self.changed_options().items() if name != "split"}

    def _labels(self, root: Path, base: Path, folder: str) -> LabelFolder:
        found = labels_of(base, folder)
        if (chosen := choose_labels(found, folder, self.release)) is not None:
            return chosen
        there = ", ".join(found) or "none"
        reason = f"has no labels of DOTA {self.release} for {folder or self.split}; label folders there: {there}"
        others = releases_in(found, tuple(self.facts.variants))
        lines: list[str] = []
        if others:
            reason += f" (releases are never mixed; choose release={others[0]})"
            command = build_command(self.name, root, self.changed_options() | {"release": others[0]})
            lines.append(f"build DOTA {others[0]}: `{command}`")
        expected = [f"{base / folder / f'labelTxt-v{self.release}'}/*.txt"]
        raise layout_error(self.name, base, reason, expected, next_lines=lines)

    def _names_by_index(self, base: Path) -> tuple[str, ...]:
        """The labels that the numbers of a file of fractions mean: by the set's own YAML where it has one."""
        labels = self.facts.indexed_labels[: len(self.labels)]
        for path in _name_files(base):
            try:
                if b"names" not in read_bytes(path):
                    continue
                return tuple(known_label(name, labels, str(path)) for name in read_class_names(path))
            except BadItem as error:
                raise UserError(
                    f"{path}: {error.reason}. Its `names` say what the numbers of the label files mean: put the "
                    f"classes of DOTA {self.release} there, or take the file away where it lists other classes."
                ) from error
        return labels


def _name_files(base: Path) -> list[Path]:
    """The files of a set of fractions that may name its classes."""
    return sorted((*base.glob("*.yaml"), *base.glob("*.yml")))


def _scene_of(stem: str) -> str:
    """The scene that a tile was cut from; of any other image, the image itself."""
    tile = TILE_NAME.fullmatch(stem)
    return stem if tile is None else tile["scene"]


def _read_fractions(item: Item) -> tuple[list[BoxObject], tuple[UnreadRow, ...]]:
    """Corners as fractions of the image: its header is read for its size in pixels."""
    path, names = item.annotations[0], item.payload["names"]
    parsed, unread = lines_apart(read_bytes(path), lambda data: parse_yolo(data, str(path), "obb", len(names)))
    quads = yolo_quads(parsed, *probe(item.file, SCENE).upright_size).reshape(-1, 8).round(4).tolist()
    boxes = [
        BoxObject(names[obj.index], corners=tuple(quad), line=obj.line) for obj, quad in zip(parsed, quads, strict=True)
    ]
    return boxes, unread
