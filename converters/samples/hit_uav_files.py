"""HIT-UAV's four layouts as files, with the true key names, number forms and node order."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image

from mmrs.geometry import hbb_from_quad, quad_from_rotated

IMAGE_SIZE = (640, 512)
WrittenLayout = Literal["normal_json", "normal_xml", "rotate_json", "rotate_xml"]
WRITTEN_LAYOUTS: tuple[WrittenLayout, ...] = get_args(WrittenLayout)
_LABELS = ("Person", "Car", "Bicycle", "OtherVehicle", "DontCare")
SUPERCATEGORIES = ("Person", "Vehicle", "Vehicle", "Vehicle", "DontCare")
INFO = {"year": "2020", "version": "1.0", "description": "painted sample", "contributor": "", "url": ""}


@dataclass(frozen=True)
class Flight:
    """What the frames of one flight share; `brightness` and `contrast` are grey levels of the painted ground."""

    date: str
    night: bool
    altitude_m: int
    camera_angle_deg: int
    brightness: float
    contrast: float

    @property
    def setting(self) -> str:
        """The fields of the file name before the frame number."""
        return f"{int(self.night)}_{self.altitude_m}_{self.camera_angle_deg}_0"


@dataclass(frozen=True)
class FakeObject:
    """One object; `rotated` is (cx, cy, w, h, angle) as every layout must round it."""

    label: str
    rotated: tuple[float, float, float, float, float]
    difficult: bool
    truncated: bool

    @property
    def edges(self) -> list[int]:
        """xmin, ymin, xmax, ymax of the normal layouts: the extent of the rotated box, rounded down."""
        return np.floor(hbb_from_quad(quad_from_rotated([self.rotated]))[0]).astype(int).tolist()


@dataclass(frozen=True)
class FakeImage:
    """One frame with its JPEG bytes."""

    split: str
    frame: int
    flight: Flight
    objects: tuple[FakeObject, ...]
    jpeg: bytes

    @property
    def stem(self) -> str:
        return f"{self.flight.setting}_{self.frame:05d}"


def write_layouts(
    root: Path, images: Sequence[FakeImage], splits: Sequence[str], layouts: Sequence[WrittenLayout]
) -> None:
    """Write the images and annotations of every layout asked for; ids run on over the splits."""
    for layout in layouts:
        if layout.endswith("_json"):
            _write_json(root / layout, images, splits, rotated=layout.startswith("rotate"))
        else:
            _write_xml(root / layout, images, splits, rotated=layout.startswith("rotate"))


def _write_json(folder: Path, images: Sequence[FakeImage], splits: Sequence[str], rotated: bool) -> None:
    (folder / "annotations").mkdir(parents=True)
    first_image = first_object = 0
    for split in splits:
        (folder / split).mkdir()
        own = [image for image in images if image.split == split]
        for image in own:
            (folder / split / f"{image.stem}.jpg").write_bytes(image.jpeg)
        make = _rotate_tables if rotated else _normal_tables
        tables = make(own, first_image, first_object)
        (folder / "annotations" / f"{split}.json").write_text(json.dumps(tables), encoding="utf-8")
        first_image += len(own)
        first_object += sum(len(image.objects) for image in own)
    if rotated:
        log = {"images": first_image, "annotations": first_object}
        (folder / "annotations" / "log.json").write_text(json.dumps(log), encoding="utf-8")


def _rotate_tables(images: Sequence[FakeImage], first_image: int, first_object: int) -> dict[str, Any]:
    image_rows: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for image_id, image in enumerate(images, first_image):
        flight = image.flight
        image_rows.append(
            {"id": image_id, "width": IMAGE_SIZE[0], "height": IMAGE_SIZE[1], "depth": 1,
             "filename": f"{image.stem}.jpg", "scenario": str(int(flight.night)), "weather": "0",
             "perspective": str(flight.camera_angle_deg), "altitude": str(flight.altitude_m), "date": flight.date}
        )  # fmt: skip
        for obj in image.objects:
            rows.append(
                {"id": first_object + len(rows), "image_id": image_id, "category_id": _LABELS.index(obj.label),
                 "difficult": obj.difficult, "bbox": list(obj.rotated)}
            )  # fmt: skip
    return {
        "info": INFO,
        "licenses": [],
        "scenarios": [{"id": 0, "name": "day"}, {"id": 1, "name": "night"}],
        "weather": [{"id": 0, "name": "sunny"}, {"id": 1, "name": "rainy"}],
        "images": image_rows,
        "categories": [{"id": number, "name": label} for number, label in enumerate(_LABELS)],
        "annotations": rows,
    }


def _normal_tables(images: Sequence[FakeImage], first_image: int, first_object: int) -> dict[str, Any]:
    image_rows: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for image_id, image in enumerate(images, first_image):
        image_rows.append(
            {"filename": f"{image.stem}.jpg", "height": IMAGE_SIZE[1], "width": IMAGE_SIZE[0], "id": image_id,
             "date_captured": image.flight.date}
        )  # fmt: skip
        for obj in image.objects:
            x1, y1, x2, y2 = obj.edges
            rows.append(
                {"segmentation": [[x1, y1, x2, y1, x2, y2, x1, y2]], "area": (x2 - x1) * (y2 - y1),
                 "image_id": image_id, "bbox": [x1, y1, x2 - x1, y2 - y1],
                 "category_id": _LABELS.index(obj.label), "id": first_object + len(rows)}
            )  # fmt: skip
    categories = [
        {"supercategory": above, "id": number, "name": label}
        for number, (label, above) in enumerate(zip(_LABELS, SUPERCATEGORIES, strict=True))
    ]
    return {"info": INFO, "licenses": [], "images": image_rows, "categories": categories, "annotation": rows}


def _write_xml(folder: Path, images: Sequence[FakeImage], splits: Sequence[str], rotated: bool) -> None:
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    for image in images:
        text = _rotate_xml(image) if rotated else _normal_xml(image)
        (folder / "Annotations" / f"{image.stem}.xml").write_text(text, encoding="utf-8")
        data = _three_channels(image.jpeg) if rotated else image.jpeg
        (folder / "JPEGImages" / f"{image.stem}.jpg").write_bytes(data)
    for listed in (*splits, "trainval"):
        members = ("train", "val") if listed == "trainval" else (listed,)
        stems = [image.stem for image in images if image.split in members]
        (folder / "ImageSets" / "Main" / f"{listed}.txt").write_text("".join(f"{stem}\n" for stem in stems))


def _three_channels(jpeg: bytes) -> bytes:
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(jpeg)) as image:
        image.convert("RGB").save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


SIZE_NODES = f"""  <size>
    <width>{IMAGE_SIZE[0]}</width>
    <height>{IMAGE_SIZE[1]}</height>
    <depth>1</depth>
  </size>
  <segmented>0</segmented>
"""


def _normal_xml(image: FakeImage) -> str:
    objects = "".join(
        f"""  <object>
    <name>{obj.label}</name>
    <pose>{image.flight.camera_angle_deg}</pose>
    <truncated>{int(obj.truncated)}</truncated>
    <difficult>{int(obj.difficult)}</difficult>
    <bndbox>
      <xmin>{edges[0]}</xmin>
      <ymin>{edges[1]}</ymin>
      <xmax>{edges[2]}</xmax>
      <ymax>{edges[3]}</ymax>
    </bndbox>
  </object>
"""
        for obj in image.objects
        for edges in (obj.edges,)
    )
    return f"""<annotation>
  <folder>./JPEGImages</folder>
  <filename>{image.stem}.jpg</filename>
  <source>
    <database>painted sample</database>
  </source>
{SIZE_NODES}{objects}</annotation>
"""


def _rotate_xml(image: FakeImage) -> str:
    flight = image.flight
    objects = "".join(
        f"""  <object>
    <type>robndbox</type>
    <name>{obj.label}</name>
    <pose>Unspecified</pose>
    <truncated>{int(obj.truncated)}</truncated>
    <difficult>{int(obj.difficult)}</difficult>
    <robndbox>
      <cx>{obj.rotated[0]}</cx>
      <cy>{obj.rotated[1]}</cy>
      <w>{obj.rotated[2]}</w>
      <h>{obj.rotated[3]}</h>
      <angle>{obj.rotated[4]}</angle>
    </robndbox>
  </object>
"""
        for obj in image.objects
    )
    drive = f"D:\\{'night' if flight.night else 'day'}\\{flight.altitude_m}m\\{flight.date}"
    return f"""<annotation verified="no">
  <folder>{flight.date}</folder>
  <filename>{image.stem}</filename>
  <path>{drive}\\{image.stem}.jpg</path>
  <source>
    <database>Unknown</database>
  </source>
{SIZE_NODES}{objects}</annotation>
"""
