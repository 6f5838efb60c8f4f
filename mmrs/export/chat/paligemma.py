"""PaliGemma: ``<split>.jsonl`` of ``image``, ``prefix``, ``suffix``; boxes are tokens ``<loc0000>`` to ``<loc1023>``.

``detect ship`` -> ``<loc0000><loc0512><loc0512><loc0767> ship``: y before x, a number is the rounded share of the side
times 1023, as its official training code has it. All objects are asked for by the classes of the source, an image
without any has an empty suffix.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mmrs.export.format import ExportCounts, ExportFormat, ExportPart, PlacedSample, fixed_frame
from mmrs.export.frames import rounded_bins
from mmrs.export.prefix import PrefixPair, PrefixStyle, write_prefix_rows
from mmrs.export.rows import join_lines
from mmrs.export.style import BoxStyle, ClassBoxes, corners, grid_to_pixels
from mmrs.export.wording import BoxQuestion


def _box(row: Sequence[float]) -> str:
    x1, y1, x2, y2 = row
    return f"<loc{y1:04d}><loc{x1:04d}><loc{y2:04d}><loc{x2:04d}>"


def _detections(groups: ClassBoxes) -> str:
    return " ; ".join([f"{box} {category}" for category, boxes in groups for box in boxes])


def _detect(question: BoxQuestion, groups: ClassBoxes, categories: tuple[str, ...]) -> PrefixPair:
    is_of_class = question.kind.endswith(" class")
    asked = [category for category, _ in groups] if is_of_class else categories
    return f"detect {' ; '.join(asked)}", _detections(groups)


_STYLE = PrefixStyle(
    BoxStyle(
        "paligemma",
        "",
        horizontal=lambda boxes, image: rounded_bins(corners(boxes), image, 1023),
        to_pixels=grid_to_pixels(1023),
        box=_box,
        answer_box=_box,
        grounding=lambda text, box: f"{box} {text}",
        detections=_detections,
        marks=("<loc", "<seg"),
        asks_of_regions=False,
    ),
    caption="caption en",
    answer=lambda question: f"answer en {question}",
    detect=_detect,
    ground=lambda text, box: (f"detect {text}", f"{box} {text}"),
    describe=lambda box, text: (f"caption {box}", text),
)


def _write(samples: Iterable[PlacedSample], part: ExportPart) -> ExportCounts:
    return write_prefix_rows(samples, part, _STYLE)


PALIGEMMA_EXPORT = ExportFormat(
    "paligemma",
    "<split>.jsonl of `image`, `prefix`, `suffix`",
    fixed_frame("tokens <loc0000> to <loc1023> of height and of width, rounded: y1, x1, y2, x2"),
    _write,
    join_lines,
)
