"""Qwen3-VL's own fine-tuning scripts: rows of LLaVA's form, boxes as JSON in thousandths of each side.

``[{"bbox_2d": [x1, y1, x2, y2], "label": "ship"}]``, as the cookbooks of the model show it.
"""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from mmrs.export.format import ExportCounts, ExportFormat, ExportPart, PlacedSample, fixed_frame
from mmrs.export.frames import rounded_bins
from mmrs.export.rows import join_list, llava_row, write_rows
from mmrs.export.style import BoxStyle, ClassBoxes, corners, grid_to_pixels, listed

_FRAME = "JSON of `bbox_2d` and `label`; whole numbers 0 to 1000 of width and of height, x1, y1, x2, y2, rounded"


def json_box_list(groups: ClassBoxes) -> str:
    """``[{"bbox_2d": [1, 2, 3, 4], "label": "ship"}]``: all boxes, in the order of the groups."""
    pieces = []
    for label, boxes in groups:
        end = f', "label": {orjson.dumps(label).decode()}}}'
        pieces += [f'{{"bbox_2d": {box}{end}' for box in boxes]
    return f"[{', '.join(pieces)}]"


QWEN3_VL_STYLE = BoxStyle(
    "qwen3-vl",
    _FRAME,
    horizontal=lambda boxes, image: rounded_bins(corners(boxes), image, 1000),
    to_pixels=grid_to_pixels(1000),
    box=listed,
    answer_box=listed,
    grounding=lambda text, box: json_box_list([(text, [box])]),
    detections=json_box_list,
    nothing=lambda place: "[]",
)


def _write(samples: Iterable[PlacedSample], part: ExportPart) -> ExportCounts:
    return write_rows(samples, part, QWEN3_VL_STYLE, llava_row)


QWEN3_VL_EXPORT = ExportFormat(
    "qwen3-vl",
    "<split>.json, conversations as Qwen's fine-tuning scripts read them; images are relative to this folder",
    fixed_frame(_FRAME),
    _write,
    join_list,
    several="all",
)
