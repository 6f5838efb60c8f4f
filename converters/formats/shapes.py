"""Numbers of annotation files -> plain quads and boxes of the record."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mmrs.errors import BadItem
from mmrs.record import HBB, Quad

# Sine and cosine differ in the last bits between machines; a fixed number of digits keeps records byte-identical.
DECIMALS = 4


@dataclass(slots=True)
class BoxObject:
    """One object as its file states it, in pixels, angle in radians.

    Not frozen, as every object of every file is one, and a frozen one takes three times as long to make.

    `box` is xmin, ymin, xmax, ymax; `rotated` cx, cy, width, height, angle; `corners` x1, y1 .. x4, y4 around it. One
    of them is set, or `box` and one of the others where the source has both. `ignore` marks a region that counts as
    nothing; `text` is a referring expression; `flags` holds what else the file says. `line` is the 1-based line of a
    text file, where one is known.
    """

    label: str
    box: tuple[float, float, float, float] | None = None
    rotated: tuple[float, float, float, float, float] | None = None
    difficult: bool = False
    truncated: bool = False
    line: int | None = None
    corners: tuple[float, ...] | None = None
    ignore: bool = False
    text: str | None = None
    flags: dict[str, Any] = field(default_factory=dict)

    def with_box(self, box: tuple[float, float, float, float] | None) -> BoxObject:
        """The same object with another `box`."""
        return BoxObject(
            self.label,
            box,
            self.rotated,
            self.difficult,
            self.truncated,
            self.line,
            self.corners,
            self.ignore,
            self.text,
            self.flags,
        )


def plain_quads(quads: npt.ArrayLike) -> list[Quad]:
    """``(N, 4, 2)`` pixels -> N quads of Python floats, rounded to 1/10,000 pixel."""
    # Adding zero turns -0.0 into 0.0, which would be another text in JSON.
    rounded = np.round(np.asarray(quads, dtype=np.float64).reshape(-1, 4, 2), DECIMALS) + 0.0
    return [((a[0], a[1]), (b[0], b[1]), (c[0], c[1]), (d[0], d[1])) for a, b, c, d in rounded.tolist()]


def check_box(box: HBB, path: str, line: int | None = None) -> HBB:
    """The (xmin, ymin, xmax, ymax) box itself; `states_no_size` and `without_size` say what becomes of an empty one.

    Raises:
        BadItem: an inverted box.
    """
    xmin, ymin, xmax, ymax = box
    if not (xmin <= xmax and ymin <= ymax):
        raise BadItem(f"box {list(box)} is inverted (xmin < xmax and ymin < ymax expected)", path, line)
    return box


def states_no_size(obj: BoxObject) -> bool:
    """Whether a box or a rotated box is written without width or height.

    Asked of what is written, before edges are widened or corners computed: one pixel is added to 1-based edges, and
    the corners of a rotated box of no height have an area of rounding noise.
    """
    box, rotated = obj.box, obj.rotated
    if box is not None and (box[0] == box[2] or box[1] == box[3]):
        return True
    return rotated is not None and min(rotated[2:4]) == 0


def check_rotated(
    box: tuple[float, float, float, float, float], path: str, line: int | None = None
) -> tuple[float, float, float, float, float]:
    """The (cx, cy, width, height, angle) box itself. Raises `BadItem` for a negative width or height."""
    if box[2] < 0 or box[3] < 0:
        raise BadItem(f"rotated box {list(box)} must have a positive width and height", path, line)
    return box
