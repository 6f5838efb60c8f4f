"""GeoChat: rows of LLaVA's form, boxes ``{<x1><y1><x2><y2>|<angle>}`` in hundredths of each side.

The box is drawn unturned and then turned about its centre by whole degrees, counter-clockwise on screen, after it was
scaled to pixels. Its corners may lie outside of 0 to 100, as those of long ships near the border do: clipped ones would
be of another box. The angle is always written in an answer: the model's demonstration cuts off the last number.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from mmrs.export.format import ExportCounts, ExportFormat, ExportPart, PlacedSample, fixed_frame
from mmrs.export.frames import ImageFrame, angle_boxes, rounded_bins
from mmrs.export.rows import join_list, llava_row, write_rows
from mmrs.export.style import BoxStyle, ClassBoxes, Numbers, corners, grid_to_pixels
from mmrs.export.wording import BoxQuestion
from mmrs.geometry import Array
from mmrs.instructions.answers import count_word
from mmrs.instructions.prompts import plural

_FRAME = (
    "`{{<x1><y1><x2><y2>|<angle>}}`, whole numbers 0 to 100 of width and of height, rounded, of the box before it is "
    "turned about its centre, in pixels, by whole degrees from 0 to 89 counter-clockwise on screen (0: horizontal)"
)


def _horizontal(boxes: Array, image: ImageFrame) -> Numbers:
    return [[*row, 0] for row in rounded_bins(corners(boxes), image, 100)]


def _oriented(quads: Array, image: ImageFrame) -> Numbers:
    boxes = angle_boxes(quads)
    scale = 100 / image.sizes[:, [0, 1, 0, 1]]
    return np.rint(np.concatenate([boxes[:, :4] * scale, boxes[:, 4:]], axis=1)).astype(int).tolist()


def _answer_box(row: Sequence[float]) -> str:
    x1, y1, x2, y2, angle = row
    return f"{{<{x1}><{y1}><{x2}><{y2}>|<{angle}>}}"


def _question_box(row: Sequence[float]) -> str:
    x1, y1, x2, y2, _ = row
    return f"{{<{x1}><{y1}><{x2}><{y2}>}}"


def _detections(groups: ClassBoxes) -> str:
    return ", ".join(
        f"<p>{count_word(len(boxes))} {category if len(boxes) == 1 else plural(category)}</p> {'<delim>'.join(boxes)}"
        for category, boxes in groups
    )


def _prompt(question: BoxQuestion, in_shards: str, box: str) -> str:
    if question.task == "visual-grounding":
        return f"[refer] give me the location of <p>{question.text}</p>"
    if question.task == "region-captioning":
        return f"[identify] what is this {box}"
    return f"{'[grounding]' if question.kind in ('detection-hbb', 'detection-obb') else '[refer]'} {in_shards}"


GEOCHAT_STYLE = BoxStyle(
    "geochat",
    _FRAME,
    horizontal=_horizontal,
    oriented=_oriented,
    to_pixels=grid_to_pixels(100),
    box=_question_box,
    answer_box=_answer_box,
    grounding=lambda text, box: box,
    detections=_detections,
    prompt=_prompt,
    marks=("<p>", "</p>", "<delim>", "{<"),
)


def _write(samples: Iterable[PlacedSample], part: ExportPart) -> ExportCounts:
    return write_rows(samples, part, GEOCHAT_STYLE, llava_row)


GEOCHAT_EXPORT = ExportFormat(
    "geochat",
    "<split>.json, conversations as GeoChat's trainer reads them; images are relative to this folder",
    fixed_frame(_FRAME.format()),
    _write,
    join_list,
)
