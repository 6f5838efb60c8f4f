"""Fakes of the class folder sources: painted scenes, one folder per class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from PIL import Image
from pydantic import Field

from converters.catalog import facts, nearest
from converters.formats.folders import normal_form
from converters.samples.class_tables import pack_class_folders
from converters.samples.noise import NoisePool, Rng, make_pool
from converters.samples.scenes import SCENES, paint_scene, save_image
from mmrs.errors import UserError

# Painter of class words that UC Merced lacks; the longest word that a label contains counts.
PAINTERS = {
    "airport": "airplane",
    "baseball": "baseballdiamond",
    "center": "buildings",
    "church": "buildings",
    "commercial": "buildings",
    "court": "tenniscourt",
    "crop": "agricultural",
    "farmland": "agricultural",
    "field": "golfcourse",
    "grass": "chaparral",
    "highway": "freeway",
    "industr": "buildings",
    "lake": "river",
    "meadow": "golfcourse",
    "mountain": "chaparral",
    "parking": "parkinglot",
    "pasture": "golfcourse",
    "pond": "river",
    "port": "harbor",
    "railway": "freeway",
    "residen": "mediumresidential",
    "roundabout": "intersection",
    "school": "buildings",
    "sea": "beach",
    "ship": "harbor",
    "stadium": "baseballdiamond",
    "storagetank": "storagetanks",
    "vegetation": "chaparral",
    "viaduct": "overpass",
}

ClassLayout = Literal["official", "torchgeo", "hugging-face", "hugging-face-unnamed"]
LIST_SPLITS = ("train", "val", "test")

Paint = Callable[[str, Rng, NoisePool, int, int], Image.Image]


@dataclass(frozen=True)
class ClassFolderSample:
    """One source's layout.

    Args:
        name: key of the source; its facts give the class folders.
        folder: where the class folders lie, below the root.
        file_name: (class folder, number of the image in its class from 0) -> file name; its suffix decides the format.
        side: side of the images in pixels.
        per_class: usual number of images of a class.
        sizes: (number of the image in its class) -> (width, height) where not all are square; at most `side` each.
        paint: (class folder, random numbers, noise, width, height) -> picture.
        junk: other files, below the root.
        list_name: what other projects' lists of the splits are called, as in ``<list_name>-train.txt``.
    """

    name: str
    folder: str
    file_name: Callable[[str, int], str]
    side: int
    per_class: int = 4
    sizes: Callable[[int], tuple[int, int]] | None = None
    paint: Paint | None = None
    junk: tuple[str, ...] = ()
    list_name: str = ""

    def write(
        self,
        root: Path,
        *,
        images_per_class: Annotated[int, Field(ge=1)] | None = None,
        seed: int = 0,
        classes: Sequence[str] | None = None,
        split_folders: Sequence[str] = (),
        layout: ClassLayout = "official",
    ) -> dict[str, Any]:
        """Write the fake into `root`.

        Args:
            root: becomes the source's root.
            images_per_class: 1 or more; None for the source's usual number.
            seed: equal seeds and options give equal bytes.
            classes: class folders to write; None for all.
            split_folders: folders in the place of the usual one, to which the images of each class are dealt in turn.
            layout: official; with torchgeo's lists of three splits beside the tree; or as Parquet tables of three
                splits in its place, as the Hugging Face Hub has them, with or without the names of files.

        Returns:
            Images by class and in all.
        """
        count = images_per_class or self.per_class
        known = tuple(facts(self.name).classes)
        labels = known if classes is None else tuple(classes)
        for label in labels:
            if label not in known:
                raise UserError(
                    f"{self.name} has no class {label!r}{nearest(label, known)}; `mmrs sources {self.name}` lists them"
                )
        rng = np.random.default_rng(seed)
        pool = make_pool(rng, self.side + 64, self.side + 64)
        paint = self.paint or paint_class
        if layout == "torchgeo" and not self.list_name:
            raise UserError(f"{self.name} has no lists of torchgeo; leave out the option layout={layout}")
        for label in labels:
            for number in range(count):
                width, height = self.sizes(number) if self.sizes else (self.side, self.side)
                folder = split_folders[number % len(split_folders)] if split_folders else self.folder
                path = root / folder / label / self.file_name(label, number)
                save_image(paint(label, rng, pool, width, height), path)
        if layout == "torchgeo":
            self._write_lists(root, labels, count)
        in_tables = layout.startswith("hugging-face")
        if in_tables:
            splits = ("train", "validation", "test")
            pack_class_folders(root / self.folder, root / "data", labels, splits, layout == "hugging-face")
        for name in () if split_folders or in_tables else self.junk:
            (root / name).write_text(f"Painted sample in the layout of {self.name}.\n")
        return {"images": count * len(labels), "classes": {label: count for label in labels}}

    def _write_lists(self, root: Path, labels: Sequence[str], count: int) -> None:
        """Bare file names, one a line; the numbers of a class are dealt in turn."""
        for place, split in enumerate(LIST_SPLITS):
            numbers = range(place, count, len(LIST_SPLITS))
            names = [self.file_name(label, number) for label in labels for number in numbers]
            (root / f"{self.list_name}-{split}.txt").write_text("".join(f"{name}\n" for name in names))


def paint_class(label: str, rng: Rng, pool: NoisePool, width: int, height: int) -> Image.Image:
    """A picture for a class word: its own scene, a related one, or one chosen by the word."""
    word = normal_form(label)
    related = max((key for key in PAINTERS if key in word), key=len, default=None)
    if word in SCENES:
        scene = word
    elif related is not None:
        scene = PAINTERS[related]
    else:
        scene = list(SCENES)[sum(word.encode()) % len(SCENES)]
    return paint_scene(scene, rng, pool, width, height)
