"""A fake DIOR: 800-pixel JPEGs in two folders, with both kinds of boxes and the quirks of the real files.

Horizontal files: 1-based edges, mostly CRLF, seldom a declaration, no ``difficult``. Oriented files: corners outside
the image, noisy ``angle``, Chinese paths, objects in another order, one wrong height.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from converters.catalog import facts
from converters.samples.aerial import PlacedObject, check_range, paint, scatter
from converters.samples.counts import split_counts
from converters.samples.noise import make_pool
from converters.samples.voc_xml import Node, bndbox, corner_box, document, flags, head

_IMAGES = {"train": 3, "val": 2, "test": 3}
_SIDE = 800
_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>'
WRONG_HEIGHT = 816
NOISE = -5.5511151231258e-17


def write(
    root: Path,
    *,
    images_per_split: int | Mapping[str, int] | None = None,
    seed: int = 0,
    objects_per_image: tuple[int, int] = (2, 6),
    degenerate: bool = False,
    layout: Literal["official", "torchgeo"] = "official",
) -> dict[str, Any]:
    """Write the fake into `root`.

    Args:
        root: becomes the source's root.
        images_per_split: one number for all splits, or a number by split.
        seed: equal seeds and options give equal bytes.
        objects_per_image: least and greatest number of objects.
        degenerate: whether one horizontal box has no width, as 6 of the real ones.
        layout: official, or repackaged as by torchgeo: no oriented boxes, no labels of test, a table for the lists.

    Returns:
        Images and objects per split, and objects by label.
    """
    counts = split_counts(images_per_split, _IMAGES)
    least, greatest = check_range(objects_per_image)
    rng = np.random.default_rng(seed)
    pool = make_pool(rng, _SIDE + 64, _SIDE + 64, planes=2)
    annotations = root / "Annotations"
    horizontal, oriented = annotations / "Horizontal Bounding Boxes", annotations / "Oriented Bounding Boxes"
    lists = root / "ImageSets" / "Main"
    for folder in (horizontal, oriented, lists):
        folder.mkdir(parents=True)
    found: Counter[str] = Counter()
    objects: dict[str, int] = {}
    number = 0
    for split, count in counts.items():
        images = root / ("JPEGImages-test" if split == "test" else "JPEGImages-trainval")
        images.mkdir(exist_ok=True)
        stems = [f"{number + index + 1:05d}" for index in range(count)]
        for stem in stems:
            placed = scatter(rng, tuple(facts("dior").classes), (_SIDE, _SIDE), int(rng.integers(least, greatest + 1)))
            paint(rng, pool, (_SIDE, _SIDE), placed).save(images / f"{stem}.jpg", quality=85)
            (horizontal / f"{stem}.xml").write_bytes(
                _horizontal(stem, placed, number, degenerate and number == 1).encode()
            )
            (oriented / f"{stem}.xml").write_bytes(_oriented(stem, placed[::-1], number).encode())
            found.update(one.label for one in placed)
            objects[split] = objects.get(split, 0) + len(placed)
            number += 1
        (lists / f"{split}.txt").write_bytes("".join(f"{stem}\r\n" for stem in stems).encode())
    if layout == "torchgeo":
        _repackage(root, tuple(counts))
    return {"images": dict(counts), "objects": objects, "labels": dict(found)}


def _repackage(root: Path, splits: Sequence[str]) -> None:
    annotations, images = root / "Annotations", root / "Images"
    images.mkdir()
    (annotations / "trainval").mkdir()
    rows = ["image_path,label_path,split"]
    for split in splits:
        part = "test" if split == "test" else "trainval"
        for stem in (root / "ImageSets" / "Main" / f"{split}.txt").read_text().split():
            label = f"Annotations/trainval/{stem}.xml" if part == "trainval" else ""
            if label:
                (annotations / "Horizontal Bounding Boxes" / f"{stem}.xml").rename(root / label)
            rows.append(f"Images/{part}/{stem}.jpg,{label},{split}")
    for part in ("trainval", "test"):
        if (root / f"JPEGImages-{part}").is_dir():
            (root / f"JPEGImages-{part}").rename(images / part)
    for folder in (
        annotations / "Horizontal Bounding Boxes",
        annotations / "Oriented Bounding Boxes",
        root / "ImageSets",
    ):
        shutil.rmtree(folder)
    (root / "sample_df.csv").write_text("".join(f"{row}\n" for row in rows))


def _horizontal(stem: str, placed: Sequence[PlacedObject], number: int, degenerate: bool) -> str:
    nodes = head(f"{stem}.jpg", "DIOR", (_SIDE, _SIDE), depth=1 if number == 2 else 3)
    for index, one in enumerate(placed):
        xmin, ymin, xmax, ymax = one.edges
        right = xmin + 1 if degenerate and index == len(placed) - 1 else xmax
        edges = (xmin + 1, ymin + 1, right, ymax)
        nodes.append(("object", [("name", one.label), ("pose", "Unspecified"), bndbox(edges)]))
    text = document(nodes, declaration=_DECLARATION if number == 3 else "")
    return text if number % 4 == 3 else text.replace("\n", "\r\n")


def _oriented(stem: str, placed: Sequence[PlacedObject], number: int) -> str:
    folder = "/影像/JPEGImages-trainval" if number % 2 else "/JPEGImages-trainval.zip/JPEGImages-trainval"
    size = (_SIDE, WRONG_HEIGHT if number == 2 else _SIDE)
    nodes: list[Node] = [("folder", folder), *head(f"{stem}.jpg", "Unknown", size)]
    for index, one in enumerate(placed):
        # The first object of every image reaches past the border, as large airports do.
        shift = max(y for _, y in one.corners) - 20 if index == 0 else 0
        corners = [(round(x), round(y - shift)) for x, y in one.corners]
        angle = NOISE if index == 0 else 45.000000000001
        nodes.append(
            (
                "object",
                [
                    ("type", "robndbox"),
                    ("name", one.label),
                    ("pose", "Unspecified"),
                    *flags(truncated=0, difficult=0),
                    corner_box(corners),
                    ("angle", angle),
                ],
            )
        )
    return document(nodes, indent="    ", declaration=_DECLARATION)
