"""A fake DOTA rearranged as tools of other people have it: the same scenes and labels in other folders and forms."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from converters.catalog import facts
from converters.formats.dota import read_dota
from mmrs.geometry import as_quads
from mmrs.imaging.windows import plan_windows
from mmrs.polygons import iof_in_window
from mmrs.source import Tiling

DotaLayout = Literal["official", "torchgeo", "mmrotate", "ultralytics", "unsplit"]
_TILING = Tiling(size=1024, overlap=200)


def rearrange(root: Path, layout: DotaLayout, labels: str, splits: Sequence[str], release: str) -> None:
    """Turn the official layout in `root`, whose label folders are called `labels`, into another one.

    The unsplit layout has the scenes of the first split only.
    """
    if layout == "torchgeo":
        _torchgeo(root, labels, splits, release)
    elif layout == "mmrotate":
        for split in splits:
            _cut_tiles(root / split, labels, release)
    elif layout == "ultralytics":
        for split in splits:
            _ultralytics(root, split, labels, release)
    elif layout == "unsplit":
        for split in splits[1:]:
            shutil.rmtree(root / split)
        for child in sorted((root / splits[0]).iterdir()):
            child.rename(root / child.name)
        (root / splits[0]).rmdir()


def _torchgeo(root: Path, labels: str, splits: Sequence[str], release: str) -> None:
    rows: list[Mapping[str, object]] = []
    for split in splits:
        target = root / split / "annotations" / f"version{release}"
        target.parent.mkdir()
        (root / split / labels).rename(target)
        shutil.rmtree(root / split / "meta", ignore_errors=True)
        rows += [
            {
                "": number,
                "image_path": f"{split}/images/{path.stem}.png",
                "annotation_path": path.relative_to(root).as_posix(),
                "split": split,
                "version": release,
            }
            for number, path in enumerate(sorted(target.iterdir()))
        ]
    with (root / "samples.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _cut_tiles(folder: Path, labels: str, release: str) -> None:
    """Windows of 1,024 pixels, those at a border filled up; an object stays where 0.7 of it is in the window."""
    names = facts("dota").variants[release].labels
    scenes, target = folder / "scenes", folder / "annfiles"
    (folder / "images").rename(scenes)
    (folder / "images").mkdir()
    target.mkdir()
    for path in sorted(scenes.iterdir()):
        objects = read_dota(folder / labels / f"{path.stem}.txt", names).objects
        quads = as_quads(np.array([obj.corners for obj in objects]).reshape(-1, 4, 2))
        with Image.open(path) as image:
            scene = image.convert("RGB")
        for window in plan_windows(*scene.size, _TILING):
            left, upper = window.x, window.y
            area = (left, upper, left + _TILING.size, upper + _TILING.size)
            name = f"{path.stem}__{_TILING.size}__{left}___{upper}"
            scene.crop(area).save(folder / "images" / f"{name}.png", compress_level=1)
            lines = []
            for obj, quad, share in zip(objects, quads, iof_in_window(quads, area), strict=True):
                if share >= _TILING.min_iof:
                    corners = " ".join(f"{value:.1f}" for value in (quad - [left, upper]).ravel())
                    lines.append(f"{corners} {obj.label} {obj.difficult if share > 1 - 1e-9 else 2}\n")
            (target / f"{name}.txt").write_text("".join(lines))
    shutil.rmtree(scenes)
    shutil.rmtree(folder / labels)
    shutil.rmtree(folder / "meta", ignore_errors=True)


def _ultralytics(root: Path, split: str, labels: str, release: str) -> None:
    """DOTA's text beside the same corners in fractions of the image, six digits, after the number of the class."""
    known = facts("dota")
    images, text, fractions = root / "images" / split, root / "labels" / f"{split}_original", root / "labels" / split
    for folder in (images, text):
        folder.parent.mkdir(exist_ok=True)
    fractions.mkdir()
    (root / split / "images").rename(images)
    (root / split / labels).rename(text)
    shutil.rmtree(root / split)
    for path in sorted(images.iterdir()):
        with Image.open(path) as image:
            size = image.size
        lines = []
        for obj in read_dota(text / f"{path.stem}.txt", known.variants[release].labels).objects:
            corners = " ".join(f"{value / size[place % 2]:.6g}" for place, value in enumerate(obj.corners))
            lines.append(f"{known.indexed_labels.index(obj.label)} {corners}\n")
        (fractions / f"{path.stem}.txt").write_text("".join(lines))
