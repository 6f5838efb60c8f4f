"""EarthDial, whose trainer is InternVL's: ``<split>.jsonl`` and ``meta.json``, boxes ``[[x1, y1, x2, y2, angle]]``.

Numbers are hundredths of each side; the box is turned by whole degrees, counter-clockwise on screen, in that grid and
not in pixels. The tag of the sensor stands before the mark of the image. The released data are Arrow shards with
pictures inside, whose columns are not documented: these rows have the same texts in the form of the base trainer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from mmrs.export.chat.internvl import write_meta
from mmrs.export.format import ExportCounts, ExportFormat, ExportPart, PlacedSample, fixed_frame
from mmrs.export.frames import ImageFrame, angle_boxes, rounded_bins
from mmrs.export.rows import sized_row, write_rows
from mmrs.export.style import BoxStyle, ClassBoxes, Numbers, corners, grid_to_pixels, listed
from mmrs.export.wording import BoxQuestion
from mmrs.geometry import Array
from mmrs.instructions.prompts import plural
from mmrs.record import Sensor, TaskName

_FRAME = (
    "`[[x1, y1, x2, y2, angle]]`, whole numbers 0 to 100 of width and of height, rounded, of the box before it is "
    "turned about its centre, in that grid, by whole degrees from 0 to 89 counter-clockwise on screen (0: horizontal)"
)
_SENSOR_TAGS: dict[Sensor, str] = {"optical": "[hr_rgb_0.5]", "sar": "[s1_vh_1]", "infrared": "[Inf_thermal_1]"}


def _horizontal(boxes: Array, image: ImageFrame) -> Numbers:
    return [[*row, 0] for row in rounded_bins(corners(boxes), image, 100)]


def _oriented(quads: Array, image: ImageFrame) -> Numbers:
    return np.rint(angle_boxes(image.fractions(quads) * 100)).astype(int).tolist()


def _one_box(row: Sequence[float]) -> str:
    return f"[{listed(row)}]"


def _detections(groups: ClassBoxes) -> str:
    return ", ".join(
        f"<ref>{len(boxes)} {category if len(boxes) == 1 else plural(category)}</ref> <box>[{', '.join(boxes)}]</box>"
        for category, boxes in groups
    )


def _prompt(question: BoxQuestion, in_shards: str, box: str) -> str:
    if question.task == "visual-grounding":
        return f" Give me the location of <ref>{question.text}</ref>"
    return in_shards


def _head(task: TaskName, kind: str, sensor: Sensor) -> str:
    words = {"region-captioning": "[identify] ", "visual-grounding": "[refer] "}
    task_word = "[refer] " if kind.startswith("detection") else words.get(task, "")
    return f"{task_word}{_SENSOR_TAGS[sensor]} "


EARTHDIAL_STYLE = BoxStyle(
    "earthdial",
    _FRAME,
    horizontal=_horizontal,
    oriented=_oriented,
    to_pixels=grid_to_pixels(100),
    box=_one_box,
    answer_box=listed,
    grounding=lambda text, box: f"[{box}]",
    detections=_detections,
    prompt=_prompt,
    head=_head,
    marks=("<ref>", "</ref>", "<box>", "</box>"),
)


def _write(samples: Iterable[PlacedSample], part: ExportPart) -> ExportCounts:
    return write_rows(samples, part, EARTHDIAL_STYLE, sized_row)


EARTHDIAL_EXPORT = ExportFormat(
    "earthdial",
    "<split>.jsonl and meta.json for EarthDial's trainer, started in this folder; every optical image has the tag "
    "[hr_rgb_0.5], every SAR image [s1_vh_1], every infrared one [Inf_thermal_1]: shards keep no ground resolution",
    fixed_frame(_FRAME),
    _write,
    write_meta,
)
