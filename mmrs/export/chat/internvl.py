"""InternVL's chat trainer: ``<split>.jsonl`` and ``meta.json``, boxes in thousandths of each side.

``<ref>ship</ref><box>[[x1, y1, x2, y2], ...]</box>``; oriented boxes are eight numbers in the inner list, as LMMRotate
writes them. Paths of ``meta.json`` are relative to this folder, from which the trainer is started.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import orjson

from mmrs.export.format import ExportCounts, ExportFormat, ExportPart, PlacedSample, WrittenExport, fixed_frame
from mmrs.export.frames import rounded_bins
from mmrs.export.rows import join_lines, sized_row, write_rows
from mmrs.export.style import BoxStyle, ClassBoxes, corners, grid_to_pixels, listed
from mmrs.export.wording import BoxQuestion
from mmrs.geometry import canonical_quad

_FRAME = (
    "`<ref>..</ref><box>[[..]]</box>`; whole numbers 0 to 1000 of width and of height, rounded: x1, y1, x2, y2, "
    "or four corners clockwise on screen from the one nearest to the top left"
)
_GROUNDING = "Please provide the bounding box coordinate of the region this sentence describes: <ref>{text}</ref>"


def named_boxes(name: str, boxes: Sequence[str]) -> str:
    """``<ref>ship</ref><box>[[1, 2, 3, 4]]</box>``."""
    return f"<ref>{name}</ref><box>[{', '.join(boxes)}]</box>"


def _one_box(row: Sequence[float]) -> str:
    return f"<box>[{listed(row)}]</box>"


def _detections(groups: ClassBoxes) -> str:
    return ", ".join([named_boxes(category, boxes) for category, boxes in groups])


def _prompt(question: BoxQuestion, in_shards: str, box: str) -> str:
    return _GROUNDING.format(text=question.text) if question.task == "visual-grounding" else in_shards


INTERNVL_STYLE = BoxStyle(
    "internvl",
    _FRAME,
    horizontal=lambda boxes, image: rounded_bins(corners(boxes), image, 1000),
    oriented=lambda quads, image: rounded_bins(canonical_quad(quads), image, 1000),
    to_pixels=grid_to_pixels(1000),
    box=_one_box,
    answer_box=listed,
    grounding=lambda text, box: named_boxes(text, [box]),
    detections=_detections,
    prompt=_prompt,
    marks=("<ref>", "</ref>", "<box>", "</box>"),
)


def _write(samples: Iterable[PlacedSample], part: ExportPart) -> ExportCounts:
    return write_rows(samples, part, INTERNVL_STYLE, sized_row)


def write_meta(written: WrittenExport) -> None:
    """``<split>.jsonl`` of each split, and ``meta.json`` that names them to InternVL's trainer."""
    join_lines(written)
    meta = {
        f"mmrs_{split}": {
            "root": ".",
            "annotation": f"{split}.jsonl",
            "data_augment": False,
            "repeat_time": 1,
            "length": counts.dialogues,
        }
        for split, counts in written.counts.items()
    }
    (written.folder / "meta.json").write_bytes(orjson.dumps(meta, option=orjson.OPT_INDENT_2))


INTERNVL_EXPORT = ExportFormat(
    "internvl",
    "<split>.jsonl and meta.json for InternVL's trainer, started in this folder (meta.json names all splits: "
    "take out those that are not to be trained on)",
    fixed_frame(_FRAME),
    _write,
    write_meta,
    several="all",
)
