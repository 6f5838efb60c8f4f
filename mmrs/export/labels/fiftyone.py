"""FiftyOne's ``FiftyOneImageDetectionDataset``: ``<split>/labels.json`` over images of ``images/<split>``.

Keys of ``labels`` are image paths without suffix below ``images/<split>``, as its importer names samples by path::

    fiftyone.Dataset.from_dir(
        dataset_type=fiftyone.types.FiftyOneImageDetectionDataset,
        data_path="images/train", labels_path="train/labels.json",
    )
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from mmrs.export.format import (
    IGNORED,
    NO_HORIZONTAL_BOX,
    ExportCounts,
    ExportFormat,
    ExportPart,
    PlacedSample,
    WrittenExport,
    fixed_frame,
    horizontal_box,
    write_items,
)


def _write(samples: Iterable[PlacedSample], part: ExportPart) -> ExportCounts:
    counts = ExportCounts()
    with part.file("labels").open("wb") as file:
        for sample in samples:
            counts.images += 1
            detections = _detections(sample, part, counts)
            counts.objects += len(detections)
            name = sample.path.removeprefix(f"images/{part.split}/").rpartition(".")[0]
            file.write(orjson.dumps(name) + b":" + orjson.dumps(detections, option=orjson.OPT_APPEND_NEWLINE))
    return counts


def _detections(sample: PlacedSample, part: ExportPart, counts: ExportCounts) -> list[dict[str, Any]]:
    width, height = sample.record.image.width, sample.record.image.height
    detections = []
    for thing in sample.record.objects:
        box = horizontal_box(thing, part.obb)
        if thing.ignore or box is None:
            counts.left_out[IGNORED if thing.ignore else NO_HORIZONTAL_BOX] += 1
            continue
        x1, y1, x2, y2 = box
        shares = (x1 / width, y1 / height, (x2 - x1) / width, (y2 - y1) / height)
        detections.append(
            {
                "label": thing.category,
                "bounding_box": [round(share, 6) for share in shares],
                "attributes": {"difficult": thing.difficult, "truncated": thing.truncated},
            }
        )
    return detections


def _finish(written: WrittenExport) -> None:
    for split in written.counts:
        folder = written.folder / split
        folder.mkdir(exist_ok=True)
        with (folder / "labels.json").open("wb") as file:
            # Without a list of classes labels are read as names, not as numbers.
            file.write(b'{"classes":null,"labels":{')
            write_items(file, written.lines(split, "labels"))
            file.write(b"\n}}\n")


FIFTYONE_EXPORT = ExportFormat(
    "fiftyone",
    "<split>/labels.json of a FiftyOneImageDetectionDataset whose data_path is images/<split>",
    fixed_frame("shares of the image's width and height: left, top, width, height, six decimals"),
    _write,
    _finish,
    several="first",
)
