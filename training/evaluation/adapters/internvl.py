"""InternVL: references and lists of boxes, in thousandths of the sides."""

from __future__ import annotations

from collections.abc import Sequence

from training.evaluation.adapters.adapter import BoxAdapter, BoxWriting, LabelledNumbers
from training.evaluation.translation.frames import PerAxis
from training.evaluation.translation.syntax import read_brackets

_UNIT = "coordinates are whole numbers from 0 to 1000 of the width and the height of the image"


def _box(numbers: Sequence[float]) -> str:
    return f"[{', '.join(str(int(number)) for number in numbers)}]"


def _write(groups: Sequence[LabelledNumbers]) -> str:
    return "".join(
        f"<ref>{label}</ref><box>[{', '.join(map(_box, boxes))}]</box>" for label, boxes in groups
    ) or "none"  # fmt: skip


INTERNVL = BoxAdapter(
    "internvl",
    ("internvl",),
    "<ref>class</ref><box>[[x1, y1, x2, y2], ...]</box>, whole numbers from 0 to 1000 of width and height",
    PerAxis(1000),
    BoxWriting(
        read=read_brackets,
        write=_write,
        in_prompt=lambda numbers: f"<box>[{_box(numbers)}]</box>",
        asked_one=f"Answer with <box>[[x1, y1, x2, y2]]</box> and nothing else; {_UNIT}.",
        asked_listed=(
            "Answer with <ref>class</ref><box>[[x1, y1, x2, y2], ...]</box> for each class and nothing else, the "
            f"axis-parallel box around each object; {_UNIT}; none where there is none."
        ),
    ),
)
