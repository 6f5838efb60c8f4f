"""AIR-SARShip 1.0 (31 scenes of about 3,000 px) and 2.0 (300 of 1,000 px): Gaofen-3, ships, 16-bit amplitude TIFF.

``AIR-SARShip-<release>-data/*.tiff`` with ``AIR-SARShip-<release>-xml/*.xml``: PASCAL VOC in 1.0 (also named
``<scene>-label.xml``), the XML of FAIR1M with a ring of corners around a horizontal box in 2.0. No genuine label file
could be examined: numbers are read as 0-based, and an object with a negative one is flagged. The file's own name for
its image may carry any suffix, so files are paired by their names alone. Scenes of 1.0 are cut into tiles.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from converters.base import register
from converters.boxes import BoxAnnotations, BoxConverter
from converters.catalog import Counts
from converters.detection.fair1m import parse_fair1m
from converters.formats.objects import labelled_rows
from converters.formats.shapes import BoxObject, check_box
from converters.formats.text import read_bytes
from converters.formats.voc import parse_voc
from converters.layout import Problem, last_parts, layout_error, list_files, locate_root, plain_stem
from converters.tiled import Iof, TileOverlap, TileSize, _Share
from mmrs.record import Provenance
from mmrs.source import Absent, BandSelection, Discovery, Item, Tiling

_LABEL_SUFFIX = "-label"
LAST_NUMBER = re.compile(r"(\d+)$", re.ASCII)
LINEAR = BandSelection((1,), linear=True)


@register("air-sarship")
@dataclass(frozen=True)
class AirSarShip(BoxConverter):
    """Two releases; the tiling is used for the large scenes of 1.0 only."""

    release: Annotated[Literal["1.0", "2.0"], BeforeValidator(str)] = "2.0"
    """1.0 has 31 large scenes with VOC labels, 2.0 has 300 small ones in FAIR1M's XML."""

    stretch: Literal["log", "linear"] = "log"
    """How 16-bit values become 8: log where they are amplitudes, linear where they are scaled intensities."""

    tile_size: TileSize = 1000
    """Release 1.0: side of the square window in pixels."""

    tile_overlap: TileOverlap = 200
    """Release 1.0: pixels that neighbouring windows share; less than tile_size."""

    min_iof: Iof = 0.7
    """Release 1.0: an object stays in a tile that holds at least this share of its area."""

    keep_empty: _Share = 0.0
    """Release 1.0: share of the tiles without objects that are kept."""

    def __post_init__(self) -> None:
        # Refuses an impossible tiling when the converter is made, not when the first scene is cut.
        _ = self.tiling

    @property
    def tiling(self) -> Tiling | None:
        """Windows for the large scenes of 1.0; None for 2.0."""
        if self.release == "2.0":
            return None
        return Tiling(self.tile_size, self.tile_overlap, self.min_iof, self.keep_empty)

    @property
    def bands(self) -> BandSelection | None:
        """The one band without a logarithm where `stretch` asks for it."""
        return LINEAR if self.stretch == "linear" else None

    def published(self, split: str) -> Counts:
        """Size of the release's split."""
        return self.facts.variants[self.release].published.get(split, Counts())

    def options(self) -> dict[str, Any]:
        """The tiling only where it is used: it changes nothing in release 2.0."""
        known = super().options()
        return known if self.tiling else {key: known[key] for key in ("release", "stretch")}

    def discover(self, root: Path, split: str) -> Discovery:
        """Pair scenes and label files by name; the scene's number decides the split."""
        self.check_split(split)
        data, labels_folder = (f"AIR-SARShip-{self.release}-{part}" for part in ("data", "xml"))
        base, notes = locate_root(
            self.name,
            root,
            lambda folder: (folder / data).is_dir(),
            {data, labels_folder, f"AIR-SARShip-{self.release}"},
        )
        if not (base / labels_folder).is_dir():
            raise layout_error(self.name, base, f"has {data} but no {labels_folder}")
        images = list_files(base / data, base)
        labels = list_files(base / labels_folder, base, {".xml"})
        by_scene = {stem.removesuffix(_LABEL_SUFFIX): path for stem, path in labels.by_stem.items()}
        items = []
        problems: list[Problem] = []
        for stem, image in sorted(images.by_stem.items()):
            scene = plain_stem(stem, image)
            number = LAST_NUMBER.search(scene)
            if number is None:
                problems.append((str(image), "file name has no scene number, which decides the split"))
            elif scene not in by_scene:
                problems.append(Absent(str(image), "image without a label file"))
            elif self._split(int(number[1])) == split:
                items.append(Item(stem, image, (by_scene[scene],), None, scene))
        problems += [
            Absent(str(path), "label file without an image") for stem, path in by_scene.items() if not images.has(stem)
        ]
        shared = (*problems, *images.problems, *labels.problems)
        return Discovery(tuple(items), notes, shared_problems=shared)

    def parse(self, item: Item) -> BoxAnnotations:
        """Ships in file order."""
        path = item.annotations[0]
        parse = parse_voc if self.release == "1.0" else parse_fair1m
        parsed = parse(read_bytes(path), str(path))
        ships = [_ship(obj, str(path)) for obj in parsed.objects]
        boxes, unknown = labelled_rows(ships, self.facts.classes, str(path))
        return BoxAnnotations(
            boxes,
            unread=parsed.unread + unknown,
            provenance=Provenance(annotation=last_parts(path, 2), original_id=item.stem, layout=self.release),
            declared_size=parsed.size,
        )

    def _split(self, number: int) -> str:
        first = self.facts.variants[self.release].published["train"].images
        return "train" if first is not None and number <= first else "test"


def _ship(obj: BoxObject, path: str) -> BoxObject:
    """With the extent of a ring as its box, and a flag for negative numbers (is the source 1-based after all?)."""
    if obj.corners is not None:
        xs, ys = obj.corners[::2], obj.corners[1::2]
        obj = replace(obj, box=check_box((min(xs), min(ys), max(xs), max(ys)), path, obj.line))
    negative = obj.box is not None and min(obj.box) < 0
    return replace(obj, flags=obj.flags | {"negative_coordinate": True}) if negative else obj
