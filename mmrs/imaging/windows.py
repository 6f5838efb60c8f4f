"""Windows over large scenes: where they lie (pure), and their pixels through rasterio, never the whole scene."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mmrs.errors import BadItem
from mmrs.imaging.limits import MOST_WINDOWS, check_at_once
from mmrs.imaging.orientation import ImageTurn, turn_of
from mmrs.imaging.raster import (
    is_min_white,
    lookup_table,
    open_scene,
    read_plain,
    sample_type,
    stored_bands,
    strips,
)
from mmrs.imaging.render import choose_rule
from mmrs.imaging.upright import UPRIGHT
from mmrs.record import Sensor, Window
from mmrs.source import BandSelection, Tiling

_CROSS_POLARISED = ("VH", "HV")


def plan_windows(width: int, height: int, tiling: Tiling) -> list[Window]:
    """Windows that cover a scene of `width` x `height` pixels, row by row.

    Starts lie ``size - overlap`` pixels apart; the last window of a row or column is moved back to end at the border,
    so that every window is full. A side shorter than `size` gives one window of that side.

    Raises:
        BadItem: more than `MOST_WINDOWS`.
    """
    count = _count(width, tiling) * _count(height, tiling)
    if count > MOST_WINDOWS:
        raise BadItem(
            f"scene of {width} x {height} pixels has {count:,} windows, more than the limit of {MOST_WINDOWS:,}"
        )
    return [
        Window(x=x, y=y, width=min(tiling.size, width), height=min(tiling.size, height))
        for y in _starts(height, tiling)
        for x in _starts(width, tiling)
    ]


def _count(side: int, tiling: Tiling) -> int:
    return len(range(0, max(side - tiling.size, 0), tiling.size - tiling.overlap)) + 1


def _starts(side: int, tiling: Tiling) -> list[int]:
    last = max(side - tiling.size, 0)
    return [*range(0, last, tiling.size - tiling.overlap), last]


def read_rendered_windows(
    path: Path,
    windows: Sequence[Window],
    sensor: Sensor,
    selection: BandSelection | None = None,
    orientation: int = UPRIGHT,
    data: bytes | None = None,
) -> Iterator[tuple[npt.NDArray[np.uint8], dict[str, Any] | None]]:
    """Each window as uint8 ``(H, W)`` or ``(H, W, 3)`` with the one rule of the scene (None for 8-bit scenes).

    The rule's limits come from a pass over the whole scene before the first window, so that a window is the cut of the
    rendered scene and a window of open sea is not stretched to noise. Memory: `raster.CACHE_BYTES`, some strips of the
    scene, and one window.

    One open serves all windows: PNG has no random access, so windows in row order cost one pass over the file. A fourth
    band (alpha) is dropped; a palette is resolved, and levels of fewer than 8 bits are spread over 0..255.

    Args:
        path: the scene.
        windows: in the upright scene.
        sensor: decides the rule.
        selection: the source's choice of bands where it has one.
        orientation: `ImageProbe.orientation`.
        data: the file's content where it was read already.

    Raises:
        BadItem: rasterio cannot read the scene or a window, the scene lacks a band of `selection`, or it has more than
            8 bits and no valid pixel; a window or a block of the file is beyond the bounds of `mmrs.imaging.limits`.
    """
    turn = turn_of(orientation)
    with open_scene(path, data) as scene:
        bands = stored_bands(scene, selection, path)
        dtype = sample_type(scene, bands[0])
        for window in windows:
            check_at_once(window.width, window.height, len(bands) * dtype.itemsize, "a window", str(path))
        if dtype == np.uint8 or lookup_table(scene, bands[0]) is not None:
            for pixels in _cut(scene, windows, bands, turn):
                yield pixels, None
            return
        cross = (scene.descriptions[bands[0] - 1] or "").strip().upper().endswith(_CROSS_POLARISED)
        rule = choose_rule(lambda: strips(scene, bands), dtype, sensor, selection, scene.nodata, cross)
        if is_min_white(scene):
            rule = replace(rule, min_is_white=True)
        stated = rule.to_dict()
        for pixels in _cut(scene, windows, bands, turn):
            yield rule.apply(pixels), stated


def _cut(scene: Any, windows: Sequence[Window], bands: Sequence[int], turn: ImageTurn) -> Iterator[np.ndarray]:
    table = lookup_table(scene, bands[0])
    for window in windows:
        area = turn.stored_window(window, scene.width, scene.height)
        pixels = read_plain(scene, bands, (area.x, area.y, area.width, area.height))
        shown = pixels if table is None else table[pixels]
        # A palette's colours are the last axis already; it has one band.
        is_flat = len(bands) == 1 or (table is not None and table.ndim == 2)
        yield turn.pixels(shown[0] if is_flat else np.moveaxis(shown, 0, -1))
