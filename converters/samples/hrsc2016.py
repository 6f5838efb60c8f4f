"""A fake HRSC2016: 24-bit BMPs with the data set's own XML and lists; the first XML begins with a byte order mark.

Every third image has no object, and one shipped image stands in no list.
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
from converters.samples.voc_xml import document

_IMAGES = {"train": 3, "val": 2, "test": 3}
_SIZES = ((600, 420), (753, 466), (300, 300))


def write(
    root: Path,
    *,
    images_per_split: int | Mapping[str, int] | None = None,
    seed: int = 0,
    objects_per_image: tuple[int, int] = (1, 4),
) -> dict[str, Any]:
    """Write the fake into `root`.

    Args:
        root: becomes the source's root.
        images_per_split: one number for all splits, or a number by split.
        seed: equal seeds and options give equal bytes.
        objects_per_image: least and greatest number of ships of an image that is not empty.

    Returns:
        Images per split and ships by class number.
    """
    counts = split_counts(images_per_split, _IMAGES)
    least, greatest = check_range(objects_per_image)
    rng = np.random.default_rng(seed)
    pool = make_pool(rng, 520, 800, planes=2)
    numbers = tuple(facts("hrsc2016").classes)
    images, annotations = root / "FullDataSet" / "AllImages", root / "FullDataSet" / "Annotations"
    lists = root / "ImageSets"
    for folder in (images, annotations, lists):
        folder.mkdir(parents=True)
    found: Counter[str] = Counter()
    listed = [split for split, count in counts.items() for _ in range(count)]
    stems: dict[str, list[str]] = {split: [] for split in counts}
    for number, split in enumerate([*listed, ""]):
        stem, size = f"1{number + 1:08d}", _SIZES[number % len(_SIZES)]
        ships = scatter(rng, ("ship",), size, 0 if number % 3 == 2 else int(rng.integers(least, greatest + 1)))
        placed = [PlacedObject(numbers[(number * 7 + i) % len(numbers)], one.rotated) for i, one in enumerate(ships)]
        paint(rng, pool, size, ships).save(images / f"{stem}.bmp")
        text = ("\ufeff" if number == 0 else "") + _xml(stem, size, placed)
        (annotations / f"{stem}.xml").write_text(text, encoding="utf-8")
        if split:
            stems[split].append(stem)
            found.update(one.label for one in placed)
    for split, names in stems.items():
        (lists / f"{split}.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return {"images": dict(counts), "labels": dict(found)}


def _xml(stem: str, size: tuple[int, int], placed: Sequence[PlacedObject]) -> str:
    head = {
        "Img_ID": stem,
        "Img_FileName": stem,
        "Img_FileFmt": "bmp",
        "Img_Date": "2014-07-01",
        "Img_SizeWidth": size[0],
        "Img_SizeHeight": size[1],
        "Img_SizeDepth": 3,
        "Img_Resolution": 1.07,
        "Annotated": 1,
    }
    objects = [("HRSC_Object", list(_object(number, one).items())) for number, one in enumerate(placed)]
    return document([*head.items(), ("HRSC_Objects", objects)], indent="  ", root="HRSC_Image")


def _object(number: int, one: PlacedObject) -> dict[str, Any]:
    cx, cy, width, height, angle = one.rotated
    xmin, ymin, xmax, ymax = one.edges
    # Angles of the real set lie within a quarter turn; the bow says which end is the front.
    turned = (angle + np.pi / 2) % np.pi - np.pi / 2
    bow = (cx + np.cos(angle) * width / 2, cy + np.sin(angle) * width / 2)
    return {
        "Object_ID": 100000001 + number,
        "Class_ID": one.label,
        "truncated": 0,
        "difficult": int(number == 1),
        "box_xmin": xmin,
        "box_ymin": ymin,
        "box_xmax": xmax,
        "box_ymax": ymax,
        "mbox_cx": round(cx, 4),
        "mbox_cy": round(cy, 4),
        "mbox_w": round(width, 4),
        "mbox_h": round(height, 4),
        "mbox_ang": round(float(turned), 7),
        "segmented": 0,
        "seg_color": "",
        "header_x": round(float(bow[0])),
        "header_y": round(float(bow[1])),
    }
