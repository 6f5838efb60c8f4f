"""A fake HRRSD under ``OPT2017``: JPEGs of very different sizes, one class in most images, 1-based boxes.

With the per-class lists whose names hold blanks, and a hidden ``~NNNNN.xml`` that no list names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from converters.catalog import facts
from converters.samples.aerial import PlacedObject, check_range, paint, scatter
from converters.samples.counts import split_counts
from converters.samples.noise import make_pool
from converters.samples.voc_xml import Node, bndbox, document, flags, head

_IMAGES = {"train": 3, "val": 3, "test": 4}
_SIZES = ((640, 704), (152, 227), (1272, 1000), (420, 388))


def write(
    root: Path,
    *,
    images_per_split: int | Mapping[str, int] | None = None,
    seed: int = 0,
    objects_per_image: tuple[int, int] = (1, 3),
) -> dict[str, Any]:
    """Write the fake into ``root/OPT2017``.

    Args:
        root: becomes the source's root.
        images_per_split: one number for all splits, or a number by split.
        seed: equal seeds and options give equal bytes.
        objects_per_image: least and greatest number of objects.

    Returns:
        Images and objects per split, and objects by label.
    """
    counts = split_counts(images_per_split, _IMAGES)
    least, greatest = check_range(objects_per_image)
    rng = np.random.default_rng(seed)
    pool = make_pool(rng, 1300, 1300, planes=2)
    labels = tuple(facts("hrrsd").classes)
    base = root / "OPT2017"
    annotations, images, lists = base / "Annotations", base / "JPEGImages", base / "ImageSets" / "Main"
    for folder in (annotations, images, lists):
        folder.mkdir(parents=True)
    shown: dict[str, dict[str, list[PlacedObject]]] = {}
    number = 0
    for split, count in counts.items():
        shown[split] = {}
        for _ in range(count):
            stem, size = f"{number + 1:05d}", _SIZES[number % len(_SIZES)]
            label = labels[number % len(labels)]
            placed = scatter(rng, (label,), size, int(rng.integers(least, greatest + 1)))
            paint(rng, pool, size, placed).save(images / f"{stem}.jpg", quality=85)
            (annotations / f"{stem}.xml").write_text(_xml(stem, size, placed), encoding="utf-8")
            shown[split][stem] = placed
            number += 1
        (lists / f"{split}.txt").write_text("".join(f"{stem}\n" for stem in shown[split]), encoding="utf-8")
        for label in labels:
            rows = [f"{stem} {_present(label, placed)}\n" for stem, placed in shown[split].items()]
            (lists / f"{label}_{split}.txt").write_text("".join(rows), encoding="utf-8")
    (annotations / "~00001.xml").write_text("left by an editor\n", encoding="utf-8")
    return {
        "images": dict(counts),
        "objects": {split: sum(map(len, images.values())) for split, images in shown.items()},
        "labels": dict(Counter(one.label for images in shown.values() for placed in images.values() for one in placed)),
    }


def _present(label: str, placed: Sequence[PlacedObject]) -> str:
    return " 1" if any(one.label == label for one in placed) else "-1"


def _xml(stem: str, size: tuple[int, int], placed: Sequence[PlacedObject]) -> str:
    nodes: list[Node] = [("folder", "OPTIMAL_Z"), *head(f"{stem}.jpg", "The OPTIMAL_Z Database", size)]
    for one in placed:
        xmin, ymin, xmax, ymax = one.edges
        inner = [
            ("name", one.label),
            ("pose", "overlook"),
            *flags(truncated=0, difficult=0),
            bndbox((max(xmin, 0) + 1, max(ymin, 0) + 1, min(xmax, size[0]), min(ymax, size[1]))),
        ]
        nodes.append(("object", inner))
    return document(nodes)
