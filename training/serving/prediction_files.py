"""What `mmrs predict` leaves: predictions of images in four forms.

OUT/predictions.json    for each image its size, the texts of the model, and boxes in pixels of the upright image
OUT/coco.json           boxes of all images with their scores, oriented ones as segmentation
OUT/dota/NAME.txt       eight numbers, the class with "-" for blanks, difficulty 0
OUT/geojson/NAME.geojson    for a GeoTIFF: polygons in the coordinate system of the image, which the file names

A later run replaces what an earlier one left there, and nothing else: the first two name what they are, and the first
lists the images of the others.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from mmrs.geometry import hbb_from_quad
from mmrs.storage.atomic import check_own, write_atomic
from training.evaluation.boxes.windows import MergedBoxes
from training.serving.pictures import ImageFile, ground_place

PREDICTIONS_NAME, COCO_NAME = "predictions.json", "coco.json"
SCHEMA = "mmrs-predictions-1"
_MARK = orjson.dumps(SCHEMA)


@dataclass(frozen=True)
class Prediction:
    """What was found in one image. Boxes are in pixels of the upright image."""

    image: ImageFile
    texts: tuple[str, ...]
    boxes: MergedBoxes

    def each(self) -> Iterator[tuple[str, npt.NDArray[np.float64], float]]:
        """Class, quad (4, 2) and confidence of every box."""
        return zip(self.boxes.names, self.boxes.quads_N42, np.round(self.boxes.confidences_N, 4).tolist(), strict=True)


def write_predictions(found: Sequence[Prediction], out: Path, prompt: str, with_boxes: bool, total: int) -> str:
    """Write all forms, those of boxes where there are any; what a person is told.

    Args:
        total: questions that were asked.

    Raises:
        FileExistsError: as `check_own_predictions`.
    """
    check_own_predictions(out, [each.image.path for each in found])
    out.mkdir(parents=True, exist_ok=True)
    # First of all: by what it lists, the others are known as ours, wherever this is stopped.
    told = {"schema": SCHEMA, "prompt": prompt, "images": [_as_json(each) for each in found]}
    _write(out / PREDICTIONS_NAME, told)
    if not with_boxes:
        return f"{out}/{PREDICTIONS_NAME}: {len(found)} answers"
    _write(out / COCO_NAME, coco(found))
    grounds = 0
    for each in found:
        _write_bytes(_dota_path(out, each.image.path), dota(each).encode())
        content = geojson(each)
        if content is not None:
            grounds += 1
            _write(_geojson_path(out, each.image.path), content)
    boxes = sum(len(each.boxes.names) for each in found)
    also = f", {grounds} geojson" if grounds else ""
    return f"{out}: {boxes} boxes in {len(found)} images ({total} questions); predictions.json, coco.json, dota{also}"


def check_own_predictions(out: Path, images: Sequence[Path]) -> None:
    """Look whether what is to be written replaces nothing but earlier predictions, before the work for them.

    Raises:
        FileExistsError: a file is somebody else's, or a link, a pipe, a folder.
    """
    for name in (PREDICTIONS_NAME, COCO_NAME):
        check_own(out / name, _MARK)
    listed = _listed(out / PREDICTIONS_NAME)
    for image in images:
        for path in (_dota_path(out, image), _geojson_path(out, image)):
            if os.path.lexists(path) and (image.name not in listed or path.is_symlink() or not path.is_file()):
                raise FileExistsError(
                    errno.EEXIST, "is none of the earlier predictions; nothing is replaced", str(path)
                )


def _listed(path: Path) -> frozenset[str]:
    """Names of the images of earlier predictions."""
    if not path.is_file():
        return frozenset()
    try:
        return frozenset(str(image["file"]) for image in orjson.loads(path.read_bytes())["images"])
    except (ValueError, TypeError, LookupError):
        return frozenset()


def _dota_path(out: Path, image: Path) -> Path:
    return out / "dota" / f"{image.stem}.txt"


def _geojson_path(out: Path, image: Path) -> Path:
    return out / "geojson" / f"{image.stem}.geojson"


def coco(found: Sequence[Prediction]) -> dict[str, Any]:
    """The COCO form of boxes: ids from 1; the polygon of every box as its segmentation."""
    names = sorted({name for each in found for name in each.boxes.names})
    ids = {name: number for number, name in enumerate(names, 1)}
    annotations: list[dict[str, Any]] = []
    for image_id, each in enumerate(found, 1):
        for name, quad, confidence in each.each():
            left, top, right, bottom = hbb_from_quad(quad[None])[0].tolist()
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": ids[name],
                    "bbox": [left, top, right - left, bottom - top],
                    "area": _area(quad),
                    "iscrowd": 0,
                    "score": confidence,
                    "segmentation": [quad.reshape(-1).tolist()],
                }
            )
    return {
        "info": {"description": SCHEMA},
        "images": [
            {"id": number, "file_name": each.image.path.name, "width": each.image.width, "height": each.image.height}
            for number, each in enumerate(found, 1)
        ],
        "annotations": annotations,
        "categories": [{"id": ids[name], "name": name} for name in names],
    }


def dota(found: Prediction) -> str:
    """The lines of DOTA: eight numbers, class, difficulty."""
    return "".join(
        f"{' '.join(f'{value:.1f}' for value in quad.reshape(-1))} {'-'.join(name.split()) or 'object'} 0\n"
        for name, quad, _ in found.each()
    )


def geojson(found: Prediction) -> dict[str, Any] | None:
    """Polygons in the coordinate system of the image, which ``crs`` names; None where it states none."""
    place = ground_place(found.image)
    if place is None:
        return None
    return place.polygons([({"name": name, "confidence": sure}, quad.tolist()) for name, quad, sure in found.each()])


def _area(quad: npt.NDArray[np.float64]) -> float:
    x, y = quad[:, 0], quad[:, 1]
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def _as_json(found: Prediction) -> dict[str, Any]:
    boxes = [
        {"name": name, "quad": np.round(quad, 2).tolist(), "confidence": confidence}
        for name, quad, confidence in found.each()
    ]
    image = found.image
    stated = {"file": image.path.name, "width": image.width, "height": image.height}
    return stated | {"texts": list(found.texts), "boxes": boxes}


def _write(path: Path, content: Any) -> None:
    _write_bytes(path, orjson.dumps(content, option=orjson.OPT_INDENT_2))


def _write_bytes(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, content)
