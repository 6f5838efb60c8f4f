"""Qwen's vision models: a JSON list of objects, in thousandths of the sides (3) or pixels as resized (2.5)."""

from __future__ import annotations

import json
from collections.abc import Sequence

from training.evaluation.adapters.adapter import BoxAdapter, BoxWriting, LabelledNumbers, PixelBudget
from training.evaluation.translation.frames import PerAxis, SeenPixels
from training.evaluation.translation.syntax import read_json

_OBJECT = '{"bbox_2d": [x1, y1, x2, y2], "label": "class"}'
# What the released image processors allow; a checkpoint's own processor says it for itself.
_BUDGET = PixelBudget(factor=28, least=4 * 28 * 28, most=16384 * 28 * 28)


def _write(groups: Sequence[LabelledNumbers]) -> str:
    rows = [
        {"bbox_2d": [int(number) for number in numbers], "label": label} for label, boxes in groups for numbers in boxes
    ]
    return json.dumps(rows, allow_nan=False)


def _in_prompt(numbers: Sequence[float]) -> str:
    return f"[{', '.join(str(int(number)) for number in numbers)}]"


def _form(unit: str) -> BoxWriting:
    return BoxWriting(
        read=read_json,
        write=_write,
        in_prompt=_in_prompt,
        asked_one=f"Answer with a JSON list of one {_OBJECT} and nothing else; coordinates are {unit}.",
        asked_listed=(
            f"Answer with a JSON list and nothing else, one {_OBJECT} for each object, the axis-parallel box around "
            f"it; coordinates are {unit}; an empty list where there is none."
        ),
    )


QWEN3_VL = BoxAdapter(
    "qwen3-vl",
    ("qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe"),
    "a JSON list of bbox_2d and label, whole numbers from 0 to 1000 of width and height",
    PerAxis(1000),
    _form("whole numbers from 0 to 1000 of the width and the height of the image"),
)
QWEN25_VL = BoxAdapter(
    "qwen2.5-vl",
    ("qwen2_5_vl",),
    "a JSON list of bbox_2d and label, pixels of the image as its processor resizes it",
    SeenPixels(),
    _form("whole pixels of the image"),
    budget=_BUDGET,
)
