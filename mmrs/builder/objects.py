"""Objects against their image: what is kept, flagged, cut by a tile, or quarantined. Pure functions of plain values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmrs.errors import BadItem
from mmrs.geometry import as_quads, without_size
from mmrs.polygons import crossing_edges, iof_in_window
from mmrs.record import AnnotatedObject, Annotations, Expression, Window
from mmrs.source import Item, Source

# Rounded labels stick out of the image by up to a pixel (HIT-UAV: 0.00007 px, DOTA: 1 px); that is no finding.
_TOLERANCE_PIXELS = 1.0


def read_annotations(source: Source, item: Item) -> Annotations:
    """``source.read(item)``; a file that vanished, cannot be read or is nested too deeply costs this item alone.

    Raises:
        BadItem: the annotation cannot be used.
    """
    try:
        return source.read(item)
    except OSError as error:
        file = str(error.filename) if error.filename is not None else None
        raise BadItem(f"annotation cannot be read: {error.strerror or error}", file) from error
    except RecursionError as error:
        raise BadItem("annotation's values are nested too deeply") from error


def check_objects(
    objects: Sequence[AnnotatedObject], width: int, height: int
) -> tuple[list[tuple[int, AnnotatedObject]], list[str]]:
    """Sort out objects that cannot be right in an image of `width` x `height` pixels.

    An object without area or wholly outside the image is removed (one that the source's reader already ignores stays
    where it is, it appears in no text); one that is partly outside by more than a pixel is
    kept with the flag ``inside`` (share of its area in the image), one whose edges cross with the flag ``crossing``.

    Returns:
        The kept objects with their positions in `objects`, and one reason for each removed one.
    """
    if not objects:
        return [], []
    quads = as_quads([item.quad for item in objects])
    sizeless = without_size(quads)
    crossing = crossing_edges(quads)
    inside = iof_in_window(quads, (0, 0, width, height))
    overhang = np.maximum(-quads.min(axis=(1, 2)), (quads - [width, height]).max(axis=(1, 2)))
    kept, reasons = [], []
    for index, item in enumerate(objects):
        extent = [round(value, 2) for value in item.extent()]
        if sizeless[index] and not item.ignore:
            reasons.append(f"object {index} ({item.label}) has no area: {extent}")
        elif inside[index] == 0 and not item.ignore:
            reasons.append(f"object {index} ({item.label}) lies outside the {width}x{height} image: {extent}")
        else:
            flags = dict(item.flags)
            if overhang[index] > _TOLERANCE_PIXELS:
                flags["inside"] = round(float(inside[index]), 4)
            if crossing[index]:
                flags["crossing"] = True
            kept.append((index, item if flags == item.flags else item.model_copy(update={"flags": flags})))
    return kept, reasons


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
