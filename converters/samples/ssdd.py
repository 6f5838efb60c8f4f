"""A fake SSDD: the official sub-sets in both styles, and the mmrotate pack with its quirks.

Official XML has CRLF lines and whole numbers that are floors of the polygons in the JSON, whose category id is 0. The
pack's images are JPEGs under ``.png``, its quadrilaterals are no exact rectangles and wind both ways, ``test.json``
names ``.jpg`` files and has one box less, and its category name is a number.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from converters.detection.ssdd.files import SUBSETS, Subset, is_test
from converters.samples.counts import split_counts
from converters.samples.noise import Rng, make_pool
from converters.samples.sea import Ship, paint_grey, scatter_ships
from converters.samples.voc_xml import Node, bndbox, document, flags
from mmrs.geometry import canonical_quad, quad_from_rotated

_IMAGES = {"train": 6, "test": 4}
_SIZES = ((416, 323), (501, 355), (214, 190), (668, 526))


def write(
    root: Path,
    *,
    images_per_split: int | Mapping[str, int] | None = None,
    seed: int = 0,
    layouts: Sequence[Literal["official", "mmrotate"]] = ("official",),
    subsets: Sequence[Subset] = SUBSETS[:1],
) -> dict[str, Any]:
    """Write the fake into `root`.

    Args:
        root: becomes the source's root.
        images_per_split: one number for both splits, or a number by split.
        seed: equal seeds and options give equal bytes.
        layouts: the official release, the mmrotate pack, or both.
        subsets: sub-sets of the official release.

    Returns:
        Images and objects per split.
    """
    counts = split_counts(images_per_split, _IMAGES)
    rng = np.random.default_rng(seed)
    pool = make_pool(rng, 600, 740, planes=2)
    shown: dict[str, dict[str, list[Ship]]] = {split: {} for split in counts}
    files: dict[str, bytes] = {}
    number = 0
    while any(len(shown[split]) < count for split, count in counts.items()):
        number += 1
        stem = f"{number:06d}"
        split = "test" if is_test(stem) else "train"
        if len(shown.get(split, ())) >= counts.get(split, 0):
            continue
        size = _SIZES[number % len(_SIZES)]
        ships = scatter_ships(rng, size, 1 + number % 4)
        buffer = io.BytesIO()
        paint_grey(rng, pool, size, ships, shore=_inshore(stem)).convert("RGB").save(buffer, "JPEG", quality=92)
        shown[split][stem], files[stem] = ships, buffer.getvalue()
    for split, images in shown.items():
        if "official" in layouts:
            for subset in subsets:
                _write_voc(root / subset / "voc_style", split, images, files, subset)
                if subset != "RBox_SSDD":
                    _write_coco(root / subset / "coco_style", split, images, files)
        if "mmrotate" in layouts:
            _write_pack(root / ("train" if split == "train" else "test/all"), split, images, files, rng)
    return {
        "images": dict(counts),
        "objects": {split: sum(map(len, images.values())) for split, images in shown.items()},
    }


def _inshore(stem: str) -> bool:
    return int(stem) % 3 == 0


def _size(stem: str) -> tuple[int, int]:
    return _SIZES[int(stem) % len(_SIZES)]


def _write_voc(
    folder: Path, split: str, images: Mapping[str, list[Ship]], files: Mapping[str, bytes], subset: Subset
) -> None:
    parts = [split, *([f"test_{place}" for place in ("inshore", "offshore")] if split == "test" else [])]
    for part in parts:
        for what in ("Annotations", "JPEGImages"):
            (folder / f"{what}_{part}").mkdir(parents=True, exist_ok=True)
    for stem, ships in images.items():
        text = document(_nodes(stem, ships, subset)).replace("\n", "\r\n")
        own = [split, *([f"test_{'inshore' if _inshore(stem) else 'offshore'}"] if split == "test" else [])]
        for part in own:
            (folder / f"Annotations_{part}" / f"{stem}.xml").write_bytes(text.encode())
            (folder / f"JPEGImages_{part}" / f"{stem}.jpg").write_bytes(files[stem])


def _nodes(stem: str, ships: Sequence[Ship], subset: Subset) -> list[Node]:
    width, height = _size(stem)
    nodes: list[Node] = [("folder", "JPEGImages"), ("filename", f"{stem}.jpg"), ("path", "JPEGImages")]
    nodes.append(("size", [("width", width), ("height", height), ("depth", 3)]))
    for ship in ships:
        inner: list[Node] = [("name", "ship"), ("pose", "Unspecified"), *flags(truncated=0, difficult=0)]
        if "BBox" in subset:
            edges = [int(edge) for edge in ship.extent]
            tag, box = bndbox(edges)
            sides = [("bbox_w", edges[2] - edges[0]), ("bbox_h", edges[3] - edges[1])]
            inner.append((tag, [*list(box), *sides]))  # type: ignore[arg-type]
        if "RBox" in subset:
            inner.append(("rotated_bndbox", _rotated(ship)))
        if "PSeg" in subset:
            points = enumerate(ship.outline.astype(int).tolist(), 1)
            inner.append(("segm", [(f"point-{index}", f"{x},{y}") for index, (x, y) in points]))
        nodes.append(("object", inner))
    return nodes


def _rotated(ship: Ship) -> list[Node]:
    """Centre, sides and an angle in (0, 90] degrees, which decides whether w is the long side; rounded corners."""
    cx, cy, width, height, angle = ship.rotated
    degrees = float(np.rad2deg(angle)) % 180
    sides, theta = ((width, height), degrees) if 0 < degrees <= 90 else ((height, width), degrees % 90 or 90.0)
    values = [round(cx), round(cy), round(sides[0]), round(sides[1]), theta]
    nodes: list[Node] = [
        (f"rotated_bbox_{name}", value) for name, value in zip(("cx", "cy", "w", "h", "theta"), values, strict=True)
    ]
    for index, (x, y) in enumerate(canonical_quad(quad_from_rotated([ship.rotated]))[0].tolist(), 1):
        nodes += [(f"x{index}", round(x)), (f"y{index}", round(y))]
    return nodes


def _write_coco(folder: Path, split: str, images: Mapping[str, list[Ship]], files: Mapping[str, bytes]) -> None:
    for name in ("annotations", f"images/{split}"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for stem in images:
        (folder / "images" / split / f"{stem}.jpg").write_bytes(files[stem])
    outlines = {stem: [ship.outline for ship in ships] for stem, ships in images.items()}
    tables = _tables(outlines, "jpg", {"supercategory": "none", "id": 0, "name": "ship"})
    (folder / "annotations" / f"{split}.json").write_text(json.dumps(tables | {"type": "instances"}))


def _tables(outlines: Mapping[str, Sequence[Any]], suffix: str, category: dict[str, Any]) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    for stem, polygons in outlines.items():
        for points in polygons:
            low, high = np.min(points, axis=0), np.max(points, axis=0)
            rows.append(
                {
                    "area": float(np.prod(high - low)),
                    "iscrowd": 0,
                    "image_id": int(stem),
                    "bbox": [*low.tolist(), *(high - low).tolist()],
                    "category_id": category["id"],
                    "id": len(rows) + 1,
                    "ignore": 0,
                    "segmentation": [np.ravel(points).tolist()],
                }
            )
    sizes = {stem: _size(stem) for stem in outlines}
    named = [
        {"file_name": f"{stem}.{suffix}", "height": size[1], "width": size[0], "id": int(stem)}
        for stem, size in sizes.items()
    ]
    return {"images": named, "annotations": rows, "categories": [category]}


def _write_pack(
    folder: Path, split: str, images: Mapping[str, list[Ship]], files: Mapping[str, bytes], rng: Rng
) -> None:
    for name in ("images", "labelTxt"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    quads: dict[str, list[Any]] = {}
    for stem, ships in images.items():
        corners = np.round(quad_from_rotated([ship.rotated for ship in ships])) + rng.integers(
            -1, 2, (len(ships), 4, 2)
        )
        quads[stem] = [quad if rng.random() < 0.2 else quad[::-1] for quad in corners]
        lines = [" ".join(str(int(value)) for value in quad.ravel()) + " ship 0\n" for quad in quads[stem]]
        (folder / "labelTxt" / f"{stem}.txt").write_text("".join(lines))
        (folder / "images" / f"{stem}.png").write_bytes(files[stem])
    if split == "train":
        tables = _tables(quads, "png", {"supercategory": "none", "id": 1, "name": 0})
    else:
        straight = {stem: [_straight(quad) for quad in members] for stem, members in quads.items()}
        longest = max(straight, key=lambda stem: len(straight[stem]))
        straight[longest] = straight[longest][:-1]
        tables = _tables(straight, "jpg", {"supercategory": "none", "id": 1, "name": "0"})
    (folder / f"{split}.json").write_text(json.dumps(tables))


def _straight(quad: Any) -> Any:
    (x1, y1), (x2, y2) = quad.min(axis=0), quad.max(axis=0)
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]]) + 3e-14
