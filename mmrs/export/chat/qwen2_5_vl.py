"""Qwen2.5-VL's own fine-tuning scripts: rows of LLaVA's form, boxes as JSON in pixels of the image as it is resized.

The processor resizes every image to sides in steps of 28 within a budget of pixels, so numbers are right for one
budget alone: ``--max-pixels`` has to be the ``max_pixels`` of the training.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from mmrs.export.chat.qwen3_vl import json_box_list
from mmrs.export.format import ExportCounts, ExportFormat, ExportPart, PlacedSample
from mmrs.export.frames import ImageFrame, resized_for_qwen
from mmrs.export.rows import join_list, llava_row, write_rows
from mmrs.export.style import BoxStyle, corners, listed
from mmrs.geometry import Array

_FRAME = (
    "JSON of `bbox_2d` and `label`; whole pixels of the image after the resize of Qwen2.5-VL with max_pixels "
    "{max_pixels} and min_pixels 3,136, x1, y1, x2, y2, rounded"
)


def _resized(image: ImageFrame) -> Array:
    """Width and height ``(N, 2)`` of the images as they are resized."""
    known: dict[tuple[float, float], tuple[int, int]] = {}
    for width, height in image.sizes.tolist():
        if (width, height) not in known:
            known[width, height] = resized_for_qwen(int(width), int(height), image.max_pixels)
    return np.array([known[width, height] for width, height in image.sizes.tolist()], dtype=np.float64)


def _horizontal(boxes: Array, image: ImageFrame) -> list[list[int]]:
    fractions = image.fractions(image.clipped(corners(boxes)))
    return np.rint(fractions * _resized(image)[:, None]).astype(int).reshape(-1, 4).tolist()


def _to_pixels(row: Sequence[float], image: ImageFrame) -> list[float]:
    scales = (image.sizes / _resized(image))[0].tolist()
    return [number * scales[place % 2] for place, number in enumerate(row)]


QWEN2_5_VL_STYLE = BoxStyle(
    "qwen2.5-vl",
    _FRAME,
    horizontal=_horizontal,
    to_pixels=_to_pixels,
    box=listed,
    answer_box=listed,
    grounding=lambda text, box: json_box_list([(text, [box])]),
    detections=json_box_list,
    nothing=lambda place: "[]",
)


def _write(samples: Iterable[PlacedSample], part: ExportPart) -> ExportCounts:
    return write_rows(samples, part, QWEN2_5_VL_STYLE, llava_row)


QWEN2_5_VL_EXPORT = ExportFormat(
    "qwen2.5-vl",
    "<split>.json, conversations as Qwen's fine-tuning scripts read them; images are relative to this folder",
    lambda boxes, max_pixels: _FRAME.format(max_pixels=f"{max_pixels:,}"),
    _write,
    join_list,
    several="all",
)
