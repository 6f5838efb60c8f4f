"""A minimal source for tests of the build: images in ``<split>/`` with one JSON of objects each."""

from __future__ import annotations

import io
import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.errors import BadItem
from mmrs.geometry import quad_from_hbb
from mmrs.progress import Progress
from mmrs.record import AnnotatedObject, Annotations, Provenance, UnreadRow
from mmrs.source import BandSelection, Discovery, Item, SourceBuild, Tiling


@dataclass(frozen=True)
class ToySource:
    """Implements `mmrs.source.Source` over a folder that `write_toy` wrote."""

    tile_pixels: int | None = None
    revision: int = 1
    name: str = "toy"
    sensor: str = "optical"
    licence: str = "CC0-1.0"
    tasks: tuple[str, ...] = ("detection-hbb", "detection-obb")
    splits: tuple[str, ...] = ("train", "test")
    categories: tuple[str, ...] = ("car", "ship")
    bands: BandSelection | None = None
    keep_empty: float = 0.0

    @property
    def version(self) -> int:
        return self.revision

    @property
    def tiling(self) -> Tiling | None:
        return Tiling(self.tile_pixels, self.tile_pixels // 4, keep_empty=self.keep_empty) if self.tile_pixels else None

    def options(self) -> dict[str, Any]:
        return {"tile_pixels": self.tile_pixels}

    def discover(self, root: Path, split: str) -> Discovery:
        images = sorted(path for path in (root / split).iterdir() if path.suffix != ".json")
        return Discovery(tuple(Item(path.stem, path, (path.with_suffix(".json"),)) for path in images))

    def read(self, item: Item) -> Annotations:
        try:
            content = json.loads(item.annotations[0].read_bytes())
        except (OSError, ValueError) as error:
            raise BadItem(f"not JSON: {error}", str(item.annotations[0])) from error
        objects = tuple(
            AnnotatedObject(category=name, label=name, quad=quad_from_hbb(box)[0].tolist(), hbb=tuple(box))
            for name, box in content["objects"]
        )
        return Annotations(
            objects=objects,
            declared_size=tuple(content["size"]),
            provenance=Provenance(annotation=item.stem + ".json"),
            unread=tuple(UnreadRow(reason=reason, line=line) for line, reason in content.get("unread", ())),
        )


def write_toy(
    root: Path, images: int = 12, seed: int = 0, size: tuple[int, int] = (64, 48), suffix: str = "jpg"
) -> None:
    """Write `images` train images and a third as many test images, each with one to three boxes."""
    generator = np.random.default_rng(seed)
    for split, count in (("train", images), ("test", max(1, images // 3))):
        folder = root / split
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (folder / f"{split}{number:04d}.{suffix}").write_bytes(noise_image(generator, size, suffix))
            objects = [_box(generator, size) for _ in range(int(generator.integers(1, 4)))]
            content = {"size": size, "objects": objects}
            (folder / f"{split}{number:04d}.json").write_text(json.dumps(content))


def noise_image(generator: np.random.Generator, size: tuple[int, int] = (64, 48), suffix: str = "jpg") -> bytes:
    """A random RGB image of (width, height) pixels, encoded."""
    coarse = generator.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize(size).save(buffer, "JPEG" if suffix == "jpg" else suffix.upper())
    return buffer.getvalue()


def _box(generator: np.random.Generator, size: tuple[int, int]) -> tuple[str, list[float]]:
    width, height = size
    x, y = float(generator.integers(0, width - 12)), float(generator.integers(0, height - 12))
    box = [x, y, x + float(generator.integers(4, 12)), y + float(generator.integers(4, 12))]
    return str(generator.choice(["car", "ship"])), box


def toy_build(root: Path, source: ToySource | None = None, splits: tuple[str, ...] = ("train", "test")) -> SourceBuild:
    """The toy source at `root` as a recipe would ask for it."""
    return SourceBuild(source or ToySource(), root, splits)


def built_toy(folder: Path, images: int) -> Path:
    """A built data set of so many images a split, in shards of some 9 kB, in a folder of its own below `folder`."""
    write_toy(folder / "toy", images=images, seed=4)
    recipe = BuildRecipe.model_validate({"sources": [{"name": "toy"}], "shard_bytes": 9_000})
    quiet = Progress(quiet=True)
    build(plan_build([toy_build(folder / "toy")], recipe, 1, quiet), recipe, folder / "out", 1, quiet)
    return folder / "out"


@dataclass(frozen=True)
class FatalSource(ToySource):
    """A toy source that takes its process along: at each stem of `fatal` once, then a marker says that it has.

    It then kills its process, or with `hang` waits to be killed after it has written who it is into the marker.
    """

    fatal: tuple[str, ...] = ()
    markers: Path = Path()
    hang: bool = False

    def read(self, item: Item) -> Annotations:
        marker = self.markers / item.stem
        if item.stem in self.fatal and not marker.exists():
            marker.write_text(_who_am_i() if self.hang else "")
            if not self.hang:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(120)
        return super().read(item)


def _who_am_i() -> str:
    import ray

    return ray.get_runtime_context().get_node_id()
