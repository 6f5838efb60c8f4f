"""An answer of another model, as our models would have said it: the boxes found in it, by label, in a dialect of ours.

Nothing is mended on the way: a piece that is no box stays a piece that is no box, a label that no class has stays
unknown, and an answer without boxes that does not say that there are none stays one. So scorers, failures and counts
are the same for all.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmrs.geometry import Array, SquareFrame, hbb_from_quad, quad_from_hbb
from mmrs.instructions.answers import count_word, format_absence, is_absence
from mmrs.instructions.dialects import Dialect
from training.evaluation.task import BoxesAsked

_NO_BOX = "?"
_EMPTY = re.compile(
    r"\s*(?:```(?:json)?\s*)?\[\s*\]\s*(?:```)?\s*|\s*(?:none|nothing|no objects?(?: found| detected)?)\.?\s*", re.I
)
_NO_SUCH = re.compile(r"\b(?:there (?:is|are) no|no (?:\w+ )?objects?|none of the|not any|cannot (?:see|find))\b", re.I)


@dataclass(frozen=True, slots=True)
class FoundBox:
    """A box of an answer: its label, and its quad ``(4, 2)`` in pixels of the image, None where it is no box."""

    label: str
    quad: Array | None


def say_boxes(
    asked: BoxesAsked, found: Sequence[FoundBox], said: str, frame: SquareFrame, dialect: Dialect
) -> tuple[str, list[int]]:
    """The answer in the words of ours, and of each of its boxes the position in `found`.

    Args:
        asked: what the question wants: one box, or boxes by class.
        said: the whole answer, for what it says beside boxes.
    """
    if not found:
        return _without_boxes(asked, said), []
    oriented = any(box.quad is not None and not _is_upright(box.quad) for box in found)
    written = [_written(box, oriented, frame, dialect) for box in found]
    if asked == "one":
        return f"[{';'.join(written)}]", list(range(len(found)))
    by_label: dict[str, list[int]] = {}
    for position, box in enumerate(found):
        by_label.setdefault(_plain_label(box.label), []).append(position)
    groups = [
        f"<p>{count_word(len(places))} {label}</p>[{';'.join(written[place] for place in places)}]"
        for label, places in by_label.items()
    ]
    return f"There are {', '.join(groups)} in the image.", [place for places in by_label.values() for place in places]


def _without_boxes(asked: BoxesAsked, said: str) -> str:
    if asked == "listed" and (_EMPTY.fullmatch(said) or _NO_SUCH.search(said) or is_absence(said)):
        return format_absence("object")
    # Brackets are boxes in our words; here they are none.
    return said.replace("[", "(").replace("]", ")")


def _written(box: FoundBox, oriented: bool, frame: SquareFrame, dialect: Dialect) -> str:
    if box.quad is None or not np.isfinite(box.quad).all():
        return _NO_BOX
    if oriented:
        return dialect.format_obb(box.quad[None], frame)[1:-1]
    return dialect.format_hbb(hbb_from_quad(box.quad[None]), frame)[1:-1]


def _is_upright(quad: Array) -> bool:
    extent: npt.NDArray[np.float64] = quad_from_hbb(hbb_from_quad(quad[None]))[0]
    return bool(np.array_equal(np.sort(quad, axis=0), np.sort(extent, axis=0)))


def _plain_label(label: str) -> str:
    plain = " ".join(re.sub(r"[\[\]<>]", " ", label).split())
    return plain or "object"
