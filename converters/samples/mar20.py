"""A fake MAR20: JPEGs of several sizes under ``JPEGImages/N.jpg`` with both kinds of boxes.

Horizontal files name ``N.xml`` as their image and are indented; oriented ones are a single line with many digits, angle
0, and a box somewhat larger than the horizontal one. Every third oriented file lost the closing tags of its corners.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from converters.catalog import facts
from converters.samples.aerial import PlacedObject, check_range, paint, scatter
from converters.samples.counts import split_counts
from converters.samples.noise import make_pool
from converters.samples.voc_xml import bndbox, corner_box, document, flags, head

_IMAGES = {"train": 3, "test": 4}
_SIZES = ((800, 800), (859, 831), (752, 834))
# Boxes of the two kinds were drawn separately and differ by some pixels.
MARGIN = 4


def write(
    root: Path,
    *,
    images_per_split: int | Mapping[str, int] | None = None,
    seed: int = 0,
    objects_per_image: tuple[int, int] = (2, 6),
    malformed: bool = True,
) -> dict[str, Any]:
    """Write the fake into `root`.

    Args:
        root: becomes the source's root.
        images_per_split: one number for both splits, or a number by split.
        seed: equal seeds and options give equal bytes.
        objects_per_image: least and greatest number of objects.
        malformed: whether some oriented files lost closing tags.

    Returns:
        Images and objects per split, and objects by label.
    """
    counts = split_counts(images_per_split, _IMAGES)
    least, greatest = check_range(objects_per_image)
    rng = np.random.default_rng(seed)
    pool = make_pool(rng, 900, 900, planes=2)
    labels = tuple(facts("mar20").classes)
    horizontal, oriented = (root / "Annotations" / f"{kind} Bounding Boxes" for kind in ("Horizontal", "Oriented"))
    lists, images = root / "ImageSets" / "Main", root / "JPEGImages"
    for folder in (horizontal, oriented, lists, images):
        folder.mkdir(parents=True)
    found: Counter[str] = Counter()
    objects: dict[str, int] = {}
    number = 0
    for split, count in counts.items():
        stems = [str(number + index + 1) for index in range(count)]
        for stem in stems:
            size = _SIZES[number % len(_SIZES)]
            # All models share one look: the painter knows planes only.
            planes = scatter(rng, ("plane",), size, int(rng.integers(least, greatest + 1)))
            placed = [PlacedObject(labels[(number * 5 + i) % len(labels)], one.rotated) for i, one in enumerate(planes)]
            paint(rng, pool, size, planes).save(images / f"{stem}.jpg", quality=85)
            (horizontal / f"{stem}.xml").write_text(_horizontal(stem, size, placed), encoding="utf-8")
            text = _oriented(stem, size, placed)
            if malformed and number % 3 == 2:
                text = re.sub(r"</[xy](_\w+_\w+>)", r"\1", text)
            (oriented / f"{stem}.xml").write_text(text, encoding="utf-8")
            found.update(one.label for one in placed)
            objects[split] = objects.get(split, 0) + len(placed)
            number += 1
        (lists / f"{split}.txt").write_text("".join(f"{stem}\n" for stem in stems), encoding="utf-8")
    return {"images": dict(counts), "objects": objects, "labels": dict(found)}


def _horizontal(stem: str, size: tuple[int, int], placed: Sequence[PlacedObject]) -> str:
    nodes = head(f"{stem}.xml", "MAR20", size)
    for one in placed:
        xmin, ymin, xmax, ymax = one.edges
        edges = (xmin + MARGIN, ymin + MARGIN, xmax - MARGIN, ymax - MARGIN)
        nodes.append(("object", [("name", one.label), bndbox(edges)]))
    return document(nodes)


def _oriented(stem: str, size: tuple[int, int], placed: Sequence[PlacedObject]) -> str:
    nodes = head(f"{stem}.jpg", "MAR20", size)
    for one in placed:
        inner = [
            ("type", "robndbox"),
            ("name", one.label),
            ("pose", "Unspecified"),
            *flags(truncated=0, difficult=0),
            corner_box(one.corners),
            ("angle", 0),
        ]
        nodes.append(("object", inner))
    return document(nodes, indent=None)
