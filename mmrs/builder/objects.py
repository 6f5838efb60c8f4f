"""Objects against their image: what is kept, flagged, cut by a tile, or quarantined. Pure functions of plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mmrs.geometry import as_quads, without_size
from mmrs.polygons import crossing_edges, iof_in_window
from mmrs.record import AnnotatedObject, Expression, Window

# Rounded labels stick out of the image by up to a pixel (HIT-UAV: 0.00007 px, DOTA: 1 px); that is no finding.
_TOLERANCE_PIXELS = 1.0


# The kept objects of an image with their positions among all of it, and one reason for each removed one.
CheckedObjects = tuple[list[tuple[int, AnnotatedObject]], list[str]]


def check_objects(images: Sequence[tuple[Sequence[AnnotatedObject], tuple[int, int]]]) -> list[CheckedObjects]:
    """Sort out objects that cannot be right in their image, for images of (objects, (width, height) in pixels).

    An object without area or wholly outside the image is removed (one that the source's reader already ignores stays
    where it is, it appears in no text); one that is partly outside by more than a pixel is
    kept with the flag ``inside`` (share of its area in the image), one whose edges cross with the flag ``crossing``.
    """
    if not images:
        return []
    quads = as_quads([item.quad for objects, _ in images for item in objects])
    sizes = np.repeat([size for _, size in images], [len(objects) for objects, _ in images], axis=0)
    sizeless = without_size(quads)
    crossing = crossing_edges(quads)
    overhang = np.maximum(-quads.min(axis=(1, 2)), (quads - sizes[:, None, :]).max(axis=(1, 2)))
    # What no corner of lies outside is wholly inside; polygons are cut for the few others alone.
    inside = np.ones(len(quads))
    outwards = np.flatnonzero(overhang > 0)
    if len(outwards):
        windows = np.concatenate([np.zeros_like(sizes[outwards]), sizes[outwards]], axis=1)
        inside[outwards] = iof_in_window(quads[outwards], windows)
    unusual = sizeless | crossing | (overhang > _TOLERANCE_PIXELS) | (inside == 0)
    checked: list[CheckedObjects] = []
    start = 0
    for objects, size in images:
        part = slice(start, start + len(objects))
        start += len(objects)
        if not unusual[part].any():
            checked.append((list(enumerate(objects)), []))
            continue
        facts = zip(objects, sizeless[part], crossing[part], overhang[part], inside[part], strict=True)
        checked.append(_sorted_out([_ObjectFacts(item, *map(float, values)) for item, *values in facts], size))
    return checked


class _ObjectFacts(NamedTuple):
    item: AnnotatedObject
    is_sizeless: float
    is_crossing: float
    overhang_pixels: float
    inside: float


def _sorted_out(objects: Sequence[_ObjectFacts], size: tuple[int, int]) -> CheckedObjects:
    kept, reasons = [], []
    for index, facts in enumerate(objects):
        item = facts.item
        if facts.is_sizeless and not item.ignore:
            reasons.append(f"object {index} ({item.label}) has no area: {_rounded_extent(item)}")
        elif facts.inside == 0 and not item.ignore:
            place = f"outside the {size[0]}x{size[1]} image: {_rounded_extent(item)}"
            reasons.append(f"object {index} ({item.label}) lies {place}")
        else:
            flags = dict(item.flags)
            if facts.overhang_pixels > _TOLERANCE_PIXELS:
                flags["inside"] = round(facts.inside, 4)
            if facts.is_crossing:
                flags["crossing"] = True
            kept.append((index, item if flags == item.flags else item.model_copy(update={"flags": flags})))
    return kept, reasons


def _rounded_extent(item: AnnotatedObject) -> list[float]:
    return [round(value, 2) for value in item.extent()]


def follow_objects(expressions: Sequence[Expression], positions: Sequence[int]) -> tuple[Expression, ...]:
    """The expressions whose object is among the kept `positions`, pointing at its new place."""
    places = {position: place for place, position in enumerate(positions)}
    return tuple(
        expression.model_copy(update={"object": places[expression.object]})
        for expression in expressions
        if expression.object in places
    )


def cut_to_window(
    objects: Sequence[tuple[int, AnnotatedObject]], window: Window, min_iof: float
) -> list[tuple[int, AnnotatedObject]]:
    """The objects that a tile shows, in the tile's pixels, each with its position in the scene.

    An object with at least `min_iof` of its area in the window keeps its whole quad; when it is cut it is flagged
    ``iof`` and truncated, and text uses the box clipped to the tile. One with less, but any, area in the window stays
    as an ignore object: it is visible, so the tile's "all objects" could not honestly leave it out of the picture.
    """
    if not objects:
        return []
    quads = as_quads([item.quad for _, item in objects])
    area = (window.x, window.y, window.x + window.width, window.y + window.height)
    iofs = iof_in_window(quads, area)
    shifted = quads - np.array([window.x, window.y])
    kept = []
    for index in np.flatnonzero(iofs > 0).tolist():
        (position, item), iof = objects[index], float(iofs[index])
        hbb = item.hbb
        change: dict = {"quad": tuple((float(x), float(y)) for x, y in shifted[index])}
        if hbb is not None:
            change["hbb"] = (hbb[0] - window.x, hbb[1] - window.y, hbb[2] - window.x, hbb[3] - window.y)
        if iof < 1 - 1e-9:
            change["flags"] = item.flags | {"iof": round(iof, 4)}
            change["truncated"] = True
            change["ignore"] = item.ignore or iof < min_iof
        kept.append((position, item.model_copy(update=change)))
    return kept
