"""Fields beside a box that change what it means: a rotation, or another order of its numbers.

CVAT writes the unturned box and ``rotation``, in degrees clockwise on screen about the centre, among the attributes of
a row (COCO) or an object (VOC). Detectron2 writes ``bbox_mode``. A turn in a unit or a direction that nobody knows
(``angle``, ``theta``) makes the row one that was not understood: a field that changes a box is never dropped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from converters.formats.shapes import BoxObject, check_box, check_rotated
from converters.formats.text import finite, shown
from mmrs.errors import BadItem
from mmrs.record import HBB

ROTATION = "rotation"
UNKNOWN_TURNS = ("angle", "theta", "rotate", "rotated", "bbox_angle", "bbox_theta", "rotation_angle")
UNTURNED = (None, False, 0, "", "0", "0.0", "false", "False")
XYWH, XYXY, TURNED = "x, y, width, height", "x1, y1, x2, y2", "centre x, centre y, width, height, angle"
# Numbers and names of detectron2's BoxMode, and words for the same.
BOX_MODES = {
    0: XYXY, 1: XYWH, 4: TURNED, "0": XYXY, "1": XYWH, "4": TURNED, "xyxy_abs": XYXY, "xywh_abs": XYWH,
    "xywha_abs": TURNED, "xyxy": XYXY, "xywh": XYWH, "ltwh": XYWH, "ltrb": XYXY,
}  # fmt: skip
MODE_KEYS = ("bbox_mode", "bbox_format", "box_mode", "box_format")


def states_rotation(fields: Mapping[str, Any]) -> bool:
    """Whether the fields say how a box is turned, be it by nothing."""
    return fields.get(ROTATION) is not None


def turned(fields: Mapping[str, Any], box: HBB, label: str, path: str, line: int | None = None) -> BoxObject:
    """The object of an unturned `box` (xmin, ymin, xmax, ymax) whose `fields` may turn it.

    Raises:
        BadItem: a turn whose unit or direction is unknown, or a rotation that is no number.
    """
    for key in UNKNOWN_TURNS:
        if fields.get(key) not in UNTURNED:
            reason = f"{label!r} has {key} {shown(fields[key])}, of which unit and direction are unknown"
            raise BadItem(f"{reason}; `rotation` in degrees clockwise is understood", path, line)
    check_box(box, path, line)
    degrees = finite(fields[ROTATION], ROTATION, path, line) if states_rotation(fields) else 0.0
    if degrees % 360 == 0:
        return BoxObject(label, box, line=line)
    centre_x, centre_y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    rotated = (centre_x, centre_y, box[2] - box[0], box[3] - box[1], math.radians(degrees % 360))
    return BoxObject(label, rotated=rotated, line=line, flags={"rotation_deg": degrees})


def box_object(
    values: tuple[float, ...], fields: Mapping[str, Any], label: str, path: str, line: int | None = None
) -> BoxObject:
    """The object of a row's numbers, which are x, y, width, height unless `fields` state another order.

    Raises:
        BadItem: an order that is unknown, numbers that do not fit it, fractions, or what `turned` refuses.
    """
    order = _order(fields, path, line)
    if len(values) != (5 if order == TURNED else 4):
        raise BadItem(f"bbox {shown(list(values))} of {label!r} has {len(values)} numbers for {order}", path, line)
    if max(map(abs, values)) <= 1 and not all(value.is_integer() for value in values):
        raise BadItem(f"bbox {shown(list(values))} of {label!r} is in fractions; pixels are expected", path, line)
    if order == TURNED:
        # Detectron2 counts degrees against the clock.
        x, y, width, height, angle = values
        radians = math.radians(-angle % 360)
        return BoxObject(label, rotated=check_rotated((x, y, width, height, radians), path, line), line=line)
    x, y, third, fourth = values
    box = (x, y, third, fourth) if order == XYXY else (x, y, x + third, y + fourth)
    return turned(fields, box, label, path, line)


def _order(fields: Mapping[str, Any], path: str, line: int | None) -> str:
    for key in MODE_KEYS:
        mode = fields.get(key)
        if mode is None:
            continue
        name = mode.strip().lower().rpartition(".")[2] if isinstance(mode, str) else mode
        if isinstance(name, bool) or not isinstance(name, str | int) or name not in BOX_MODES:
            raise BadItem(f"{key} is {shown(mode)}; {', '.join(map(str, list(BOX_MODES)[6:]))} are known", path, line)
        return BOX_MODES[name]
    return XYWH
