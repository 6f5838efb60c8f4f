"""ms-swift: ``<split>.jsonl`` of ``messages``, ``images``, ``objects``, a row a dialogue.

Boxes stand in ``objects`` in pixels of the stored image, and ``<bbox>`` in the texts: ms-swift itself turns them into
the frame of the model that it trains, resized or not. It takes two or four numbers, so oriented boxes have no form.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mmrs.export.format import ExportCounts, ExportFormat, ExportPart, PlacedSample, fixed_frame
from mmrs.export.frames import ImageFrame
from mmrs.export.rows import join_lines, write_rows
from mmrs.export.style import BoxStyle, ChatExchange, ClassBoxes, Numbers, corners
from mmrs.geometry import Array
from mmrs.instructions.image_mark import IMAGE_MARK

_ROLES = {"human": "user", "gpt": "assistant"}


def _horizontal(boxes: Array, image: ImageFrame) -> Numbers:
    return image.clipped(corners(boxes)).round(2).reshape(-1, 4).tolist()


def _detections(groups: ClassBoxes) -> str:
    return "<ref-object><bbox>" * sum([len(boxes) for _, boxes in groups])


_STYLE = BoxStyle(
    "ms-swift",
    "",
    horizontal=_horizontal,
    to_pixels=lambda row, image: row,
    box=lambda row: "<bbox>",
    answer_box=lambda row: "<bbox>",
    grounding=lambda text, box: box,
    detections=_detections,
    marks=("<bbox>", "<ref-object>", "<video>", "<audio>"),
    lists_boxes=True,
)


def _row(name: str, sample: PlacedSample, exchange: ChatExchange) -> dict[str, Any]:
    messages = [{"role": _ROLES[sender], "content": text} for sender, text in exchange.turns]
    messages[0]["content"] = IMAGE_MARK * len(sample.images) + messages[0]["content"]
    row: dict[str, Any] = {"messages": messages, "images": sample.images, "channel": exchange.task, "id": name}
    if exchange.boxes:
        row["objects"] = {"ref": list(exchange.labels), "bbox": exchange.boxes, "bbox_type": "real"}
    return row


def _write(samples: Iterable[PlacedSample], part: ExportPart) -> ExportCounts:
    return write_rows(samples, part, _STYLE, _row)


MS_SWIFT_EXPORT = ExportFormat(
    "ms-swift",
    "<split>.jsonl for `swift sft --dataset train.jsonl`, started in this folder; `channel` is the task",
    fixed_frame(
        "in `objects`, pixels of the image as it is stored (`bbox_type: real`), x1, y1, x2, y2, two decimals; ms-swift "
        "brings them into the frame of its model"
    ),
    _write,
    join_lines,
    several="all",
)
