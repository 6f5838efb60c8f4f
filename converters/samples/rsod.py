"""A fake RSOD: a folder of JPEGs for each class with XML and tab-separated labels, numbers with gaps.

The last images of ``playground`` have no label file. The second image of a class has its suffix in capitals, and an XML
file that states no size.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from converters.catalog import facts
from converters.samples.aerial import check_range, paint, scatter
from converters.samples.noise import make_pool
from converters.samples.voc_xml import bndbox, document, flags, head

_SIZE = (1044, 915)
UNLABELLED = "playground"


def write(
    root: Path,
    *,
    images_per_class: Annotated[int, Field(ge=2, le=400)] = 3,
    unlabelled: Annotated[int, Field(ge=0, le=40)] = 2,
    seed: int = 0,
    objects_per_image: tuple[int, int] = (1, 3),
) -> dict[str, Any]:
    """Write the fake into `root`.

    Args:
        root: becomes the source's root.
        images_per_class: labelled images of each class.
        unlabelled: further images of ``playground`` without a label file.
        seed: equal seeds and options give equal bytes.
        objects_per_image: least and greatest number of objects.

    Returns:
        Labelled images and objects by class.
    """
    least, greatest = check_range(objects_per_image)
    rng = np.random.default_rng(seed)
    pool = make_pool(rng, _SIZE[1] + 32, _SIZE[0] + 32, planes=2)
    objects: dict[str, int] = {}
    for label in facts("rsod").classes:
        images, xml, txt = (root / label / part for part in ("JPEGImages", "Annotation/xml", "Annotation/labels"))
        for folder in (images, xml, txt):
            folder.mkdir(parents=True)
        for number in range(images_per_class + (unlabelled if label == UNLABELLED else 0)):
            stem = f"{label}_{number * 2 + 1}"
            placed = scatter(rng, (label,), _SIZE, int(rng.integers(least, greatest + 1)), upright=True)
            suffix = "JPG" if number == 1 else "jpg"
            paint(rng, pool, _SIZE, placed).save(images / f"{stem}.{suffix}", quality=85)
            if number >= images_per_class:
                continue
            nodes = head(f"{stem}.jpg", "Unknown", None if number == 1 else _SIZE)
            for one in placed:
                inner = [("name", label), *flags(truncated=0, difficult=0), bndbox(one.edges)]
                nodes.append(("object", inner))
            (xml / f"{stem}.xml").write_text(document(nodes), encoding="utf-8")
            rows = ["\t".join(map(str, (f"{stem}.jpg", label, *one.edges))) + "\n" for one in placed]
            (txt / f"{stem}.txt").write_text("".join(rows), encoding="utf-8")
            objects[label] = objects.get(label, 0) + len(placed)
    return {"images": dict.fromkeys(objects, images_per_class), "labels": objects}
