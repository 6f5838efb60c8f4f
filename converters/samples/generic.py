"""A small data set of a user's own in each format of the generic converter, with its description ``mmrs.yaml``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from PIL import Image

from converters.own_data.description import Format
from converters.samples.counts import split_counts
from converters.samples.drawn_shapes import (
    SAMPLE_LABELS,
    SAMPLE_SIZE,
    SampleBox,
    SampleBoxes,
    write_cvat,
    write_geojson,
    write_labelme,
    write_masks,
    write_supervisely,
)
from converters.samples.noise import Rng

_IMAGES = {"train": 4, "val": 2}


def write(
    root: Path,
    *,
    format: Format = "coco",
    images_per_split: int | Mapping[str, int] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Write the data set and its description into `root`.

    Args:
        root: becomes the source's root.
        format: how it is annotated.
        images_per_split: one number for all splits, or a number by split.
        seed: equal seeds and options give equal bytes.

    Returns:
        Images per split and the description's path.
    """
    counts = split_counts(images_per_split, _IMAGES)
    rng = np.random.default_rng(seed)
    writers: dict[str, Callable[[Path, str, SampleBoxes], None]] = {
        "coco": _coco,
        "coco-captions": _coco_captions,
        "voc": _voc,
        "dota": _dota,
        "yolo": _yolo,
        "yolo-obb": _yolo_obb,
        "llava": _llava,
        "csv": _csv,
        "parquet": _parquet,
        "labelme": write_labelme,
        "cvat": write_cvat,
        "supervisely": write_supervisely,
        "masks": write_masks,
        "geojson": write_geojson,
    }
    for split, count in counts.items():
        if format == "folders":
            for number in range(count):
                for label in SAMPLE_LABELS:
                    _image(rng, root / split / label / f"{number}.jpg")
            continue
        boxes: SampleBoxes = {f"{split}{number}": _boxes(rng, number) for number in range(count)}
        folder = root / (f"{split}/img" if format == "supervisely" else f"images/{split}")
        for stem in boxes:
            _image(rng, folder / f"{stem}.jpg")
        writers[format](root, split, boxes)
    path = root / "mmrs.yaml"
    path.write_text(yaml.safe_dump(_description(format, list(counts)), sort_keys=False), encoding="utf-8")
    return {"images": dict(counts), "description": str(path)}


def _description(format: str, splits: list[str]) -> dict[str, Any]:
    places: dict[str, dict[str, Any]] = {
        "coco": {"images": "images/{split}", "annotations": "annotations/{split}.json"},
        "coco-captions": {"images": "images/{split}", "annotations": "annotations/captions_{split}.json"},
        "llava": {"images": "images", "annotations": "annotations/{split}.json"},
        "folders": {"images": "{split}"},
        "csv": {
            "images": "images/{split}",
            "annotations": "annotations/{split}.csv",
            "columns": {"image": "filename", "boxes": ["xmin", "ymin", "xmax", "ymax"], "category": "class"},
            "options": {"box_order": "xyxy"},
        },
        "parquet": {
            "annotations": "data/{split}",
            "columns": {"image": "image", "boxes": "objects.bbox", "category": "objects.category"},
            "options": {"box_order": "xywh"},
        },
        "cvat": {"images": "images/{split}", "annotations": "{split}.xml"},
        "supervisely": {"images": "{split}/img", "annotations": "{split}/ann"},
    }
    own: dict[str, Any] = {"name": "my-harbour", "format": format, "sensor": "optical", "licence": "CC-BY-4.0"}
    own |= places.get(format, {"images": "images/{split}", "annotations": "labels/{split}"})
    own["splits"] = splits
    if format not in ("llava", "coco-captions"):
        own["classes"] = [*(["background"] if format == "masks" else []), *SAMPLE_LABELS]
    if format == "geojson":
        own["options"] = {"label_property": "class"}
    return own


def _image(rng: Rng, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(SAMPLE_SIZE).save(path, quality=90)


def _boxes(rng: Rng, number: int) -> list[SampleBox]:
    boxes = []
    for index in range(number % 3):
        x, y = int(rng.integers(0, SAMPLE_SIZE[0] - 24)), int(rng.integers(0, SAMPLE_SIZE[1] - 16))
        boxes.append((index % len(SAMPLE_LABELS), (x, y, x + int(rng.integers(8, 24)), y + int(rng.integers(8, 16)))))
    return boxes


def _text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _coco(root: Path, split: str, boxes: SampleBoxes) -> None:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (stem, objects) in enumerate(boxes.items()):
        images.append({"id": number, "file_name": f"{stem}.jpg", "width": SAMPLE_SIZE[0], "height": SAMPLE_SIZE[1]})
        for label, (x1, y1, x2, y2) in objects:
            row = {"id": len(annotations), "image_id": number, "category_id": label + 1, "iscrowd": 0}
            annotations.append(row | {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)})
    categories = [{"id": number + 1, "name": label} for number, label in enumerate(SAMPLE_LABELS)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    _text(root / "annotations" / f"{split}.json", json.dumps(content))


def _coco_captions(root: Path, split: str, boxes: SampleBoxes) -> None:
    images = [{"id": 10 + number, "file_name": f"{stem}.jpg"} for number, stem in enumerate(boxes)]
    rows = [
        {"id": 2 * number + other, "image_id": 10 + number, "caption": f"{words} {len(objects)} objects."}
        for number, objects in enumerate(boxes.values())
        for other, words in enumerate(("There are", "A harbour with"))
    ]
    _text(root / "annotations" / f"captions_{split}.json", json.dumps({"images": images, "annotations": rows}))


def _voc(root: Path, split: str, boxes: SampleBoxes) -> None:
    for stem, objects in boxes.items():
        rows = [
            f"<object><name>{SAMPLE_LABELS[label]}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax>"
            f"<ymax>{y2}</ymax></bndbox></object>"
            for label, (x1, y1, x2, y2) in objects
        ]
        size = f"<size><width>{SAMPLE_SIZE[0]}</width><height>{SAMPLE_SIZE[1]}</height><depth>3</depth></size>"
        text = f"<annotation><filename>{stem}.jpg</filename>{size}{''.join(rows)}</annotation>\n"
        _text(root / "labels" / split / f"{stem}.xml", text)


def _corners(box: tuple[int, int, int, int]) -> tuple[int, ...]:
    x1, y1, x2, y2 = box
    return x1, y1, x2, y1, x2, y2, x1, y2


def _dota(root: Path, split: str, boxes: SampleBoxes) -> None:
    for stem, objects in boxes.items():
        rows = [f"{' '.join(map(str, _corners(box)))} {SAMPLE_LABELS[label]} 0\n" for label, box in objects]
        _text(root / "labels" / split / f"{stem}.txt", "imagesource:own\ngsd:0.3\n" + "".join(rows))


def _yolo(root: Path, split: str, boxes: SampleBoxes) -> None:
    width, height = SAMPLE_SIZE
    for stem, objects in boxes.items():
        rows = [
            f"{label} {(x1 + x2) / 2 / width:.6f} {(y1 + y2) / 2 / height:.6f} "
            f"{(x2 - x1) / width:.6f} {(y2 - y1) / height:.6f}\n"
            for label, (x1, y1, x2, y2) in objects
        ]
        _text(root / "labels" / split / f"{stem}.txt", "".join(rows))


def _yolo_obb(root: Path, split: str, boxes: SampleBoxes) -> None:
    for stem, objects in boxes.items():
        rows = []
        for label, box in objects:
            numbers = [value / SAMPLE_SIZE[place % 2] for place, value in enumerate(_corners(box))]
            rows.append(f"{label} {' '.join(f'{number:.6f}' for number in numbers)}\n")
        _text(root / "labels" / split / f"{stem}.txt", "".join(rows))


def _csv(root: Path, split: str, boxes: SampleBoxes) -> None:
    lines = ["filename,width,height,class,xmin,ymin,xmax,ymax"]
    for stem, objects in boxes.items():
        start = f"{stem}.jpg,{SAMPLE_SIZE[0]},{SAMPLE_SIZE[1]}"
        lines += [f"{start},{SAMPLE_LABELS[label]},{','.join(map(str, box))}" for label, box in objects]
        # An image that shows nothing has a row without a box.
        lines += [] if objects else [f"{start},,,,,"]
    _text(root / "annotations" / f"{split}.csv", "\n".join(lines) + "\n")


def _parquet(root: Path, split: str, boxes: SampleBoxes) -> None:
    """As `datasets` uploads object detection: the images go into the table."""
    folder = root / "images" / split
    cells, objects = [], []
    for stem, own in boxes.items():
        path = folder / f"{stem}.jpg"
        cells.append({"bytes": path.read_bytes(), "path": path.name})
        path.unlink()
        rows = [[float(value) for value in (x1, y1, x2 - x1, y2 - y1)] for _, (x1, y1, x2, y2) in own]
        objects.append({"bbox": rows, "category": [label for label, _ in own]})
    folder.rmdir()
    if not list(folder.parent.iterdir()):
        folder.parent.rmdir()
    box = {"feature": {"dtype": "float32", "_type": "Value"}, "length": 4, "_type": "List"}
    category = {"feature": {"names": list(SAMPLE_LABELS), "_type": "ClassLabel"}, "_type": "List"}
    features = {
        "image": {"_type": "Image"},
        "objects": {"bbox": {"feature": box, "_type": "List"}, "category": category},
    }
    image_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    objects_type = pa.struct([("bbox", pa.list_(pa.list_(pa.float32(), 4))), ("category", pa.list_(pa.int64()))])
    table = pa.table({"image": pa.array(cells, image_type), "objects": pa.array(objects, objects_type)})
    (root / "data").mkdir(parents=True, exist_ok=True)
    stated = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(stated), root / "data" / f"{split}-00000-of-00001.parquet")


def _llava(root: Path, split: str, boxes: SampleBoxes) -> None:
    rows = []
    for stem, objects in boxes.items():
        turns = [
            {"from": "human", "value": "<image>\nHow many objects are in the image?"},
            {"from": "gpt", "value": f"There are {len(objects)}."},
            {"from": "human", "value": "Which ones?"},
            {"from": "gpt", "value": ", ".join(SAMPLE_LABELS[label] for label, _ in objects) or "None."},
        ]
        rows.append({"id": stem, "image": f"{split}/{stem}.jpg", "conversations": turns})
    _text(root / "annotations" / f"{split}.json", json.dumps(rows, indent=1))
