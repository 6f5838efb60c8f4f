"""Florence-2: ``<split>.jsonl`` of ``image``, ``prefix``, ``suffix``; boxes are tokens ``<loc_0>`` to ``<loc_999>``.

``<OD>`` -> ``ship<loc_500><loc_0><loc_750><loc_500>``: the bin that a coordinate falls in, of a thousand on each side,
as its processor cuts them. Oriented boxes have the task word of LMMRotate, ``<ROD>``, and eight tokens; questions have
``<VQA>``, which many fine-tunings use and no released weights know.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mmrs.export.format import ExportCounts, ExportFormat, ExportPart, PlacedSample, fixed_frame
from mmrs.export.frames import ImageFrame, floored_bins
from mmrs.export.prefix import PrefixPair, PrefixStyle, write_prefix_rows
from mmrs.export.rows import join_lines
from mmrs.export.style import BoxStyle, ClassBoxes, corners, grid_to_pixels
from mmrs.export.wording import BoxQuestion
from mmrs.geometry import canonical_quad

_BINS = 1000


def _box(row: Sequence[float]) -> str:
    return "".join([f"<loc_{number}>" for number in row])


def _to_pixels(row: Sequence[float], image: ImageFrame) -> list[float]:
    return grid_to_pixels(_BINS)([number + 0.5 for number in row], image)


def _detections(groups: ClassBoxes) -> str:
    return "".join([f"{category}{box}" for category, boxes in groups for box in boxes])


def _detect(question: BoxQuestion, groups: ClassBoxes, categories: tuple[str, ...]) -> PrefixPair:
    word = "<ROD>" if question.task == "detection-obb" else "<OD>"
    if question.kind.endswith(" class"):
        name = groups[0][0]
        word = f"{word}{name}" if word == "<ROD>" else f"<OPEN_VOCABULARY_DETECTION>{name}"
    return word, _detections(groups)


_STYLE = PrefixStyle(
    BoxStyle(
        "florence-2",
        "",
        horizontal=lambda boxes, image: floored_bins(corners(boxes), image, _BINS),
        oriented=lambda quads, image: floored_bins(canonical_quad(quads), image, _BINS),
        to_pixels=_to_pixels,
        box=_box,
        answer_box=_box,
        grounding=lambda text, box: f"{text}{box}",
        detections=_detections,
        marks=("<loc_", "<poly>", "</poly>"),
        asks_of_regions=False,
    ),
    caption="<CAPTION>",
    answer=lambda question: f"<VQA>{question}",
    detect=_detect,
    ground=lambda text, box: (f"<CAPTION_TO_PHRASE_GROUNDING>{text}", f"{text}{box}"),
    describe=lambda box, text: (f"<REGION_TO_DESCRIPTION>{box}", text),
)


def _write(samples: Iterable[PlacedSample], part: ExportPart) -> ExportCounts:
    return write_prefix_rows(samples, part, _STYLE)


FLORENCE2_EXPORT = ExportFormat(
    "florence-2",
    "<split>.jsonl of `image`, `prefix`, `suffix`",
    fixed_frame(
        "tokens <loc_0> to <loc_999> of width and of height, the bin that the coordinate falls in (its centre is "
        "meant): x1, y1, x2, y2, or four corners clockwise on screen from the one nearest to the top left"
    ),
    _write,
    join_lines,
)
