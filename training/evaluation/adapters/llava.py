"""LLaVA and its kin: fractions of the square that the image is padded to, as their grounding data has them."""

from __future__ import annotations

from collections.abc import Sequence

from training.evaluation.adapters.adapter import BoxAdapter, BoxWriting, LabelledNumbers
from training.evaluation.translation.frames import PaddedFractions
from training.evaluation.translation.syntax import read_brackets

_UNIT = "coordinates are fractions from 0.00 to 1.00 of the image's sides"


def _box(numbers: Sequence[float]) -> str:
    return f"[{', '.join(f'{number:.2f}' for number in numbers)}]"


def _write(groups: Sequence[LabelledNumbers]) -> str:
    lines = [f"{label}: {_box(numbers)}" if label else _box(numbers) for label, boxes in groups for numbers in boxes]
    return "\n".join(lines) or "none"


LLAVA = BoxAdapter(
    "llava",
    ("llava", "llava_next", "llava_onevision", "vipllava"),
    "lines class: [x1, y1, x2, y2], fractions of the square that the image is padded to before the model sees it",
    PaddedFractions(),
    BoxWriting(
        read=read_brackets,
        write=_write,
        in_prompt=_box,
        asked_one=f"Answer with [x1, y1, x2, y2] and nothing else; {_UNIT}.",
        asked_listed=(
            "Answer with one line such as class: [x1, y1, x2, y2] for each object and nothing else, the axis-parallel "
            f"box around it; {_UNIT}; none where there is none."
        ),
        decimals=2,
    ),
    pads=True,
)
