"""Windows over large scenes: where they lie (pure), and their pixels through rasterio, never the whole scene."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mmrs.imaging.raster import open_scene, read_plain, stored_bands, strips
from mmrs.imaging.render import choose_rule
from mmrs.record import Sensor, Window
from mmrs.source import BandSelection, Tiling

_CROSS_POLARISED = ("VH", "HV")


def plan_windows(width: int, height: int, tiling: Tiling) -> list[Window]:
    """Windows that cover a scene of `width` x `height` pixels, row by row.

    Starts lie ``size - overlap`` pixels apart; the last window of a row or column is moved back to end at the border,
    so that every window is full. A side shorter than `size` gives one window of that side.
    """
    return [
        Window(x=x, y=y, width=min(tiling.size, width), height=min(tiling.size, height))
        for y in _starts(height, tiling)
        for x in _starts(width, tiling)
    ]


def _starts(side: int, tiling: Tiling) -> list[int]:
    last = max(side - tiling.size, 0)
    return [*range(0, last, tiling.size - tiling.overlap), last]


def read_rendered_windows(
    path: Path, windows: Sequence[Window], sensor: Sensor, selection: BandSelection | None = None
) -> Iterator[tuple[npt.NDArray[np.uint8], dict[str, Any] | None]]:
    """Each window as uint8 ``(H, W)`` or ``(H, W, 3)`` with the one rule of the scene (None for 8-bit scenes).

    The rule's limits come from a pass over the whole scene before the first window, so that a window is the cut of the
    rendered scene and a window of open sea is not stretched to noise. Memory: `raster.CACHE_BYTES`, some strips of the
    scene, and one window.

    One open serves all windows: PNG has no random access, so windows in row order cost one pass over the file. A fourth
    band (alpha) is dropped; a palette is resolved.

    Raises:
        BadItem: rasterio cannot read the scene or a window, the scene lacks a band of `selection`, or it has more than
            8 bits and no valid pixel.
    """
    with open_scene(path) as scene:
        bands = stored_bands(scene, selection, path)
        dtype = np.dtype(scene.dtypes[bands[0] - 1])
        if dtype == np.uint8:
            for pixels in _cut(scene, windows, bands):
                yield pixels, None
            return
        cross = (scene.descriptions[bands[0] - 1] or "").strip().upper().endswith(_CROSS_POLARISED)
        rule = choose_rule(lambda: strips(scene, bands), dtype, sensor, selection, scene.nodata, cross)
        stated = rule.to_dict()
        for pixels in _cut(scene, windows, bands):
            yield rule.apply(pixels), stated


def _cut(scene: Any, windows: Sequence[Window], bands: Sequence[int]) -> Iterator[np.ndarray]:
    from rasterio.enums import ColorInterp

    indexed = scene.colorinterp[0] == ColorInterp.palette and scene.dtypes[0] == "uint8"
    palette = _colours(scene.colormap(1)) if indexed else None
    for window in windows:
        pixels = read_plain(scene, bands, (window.x, window.y, window.width, window.height))
        if palette is not None:
            yield palette[pixels[0]]
        else:
            yield pixels[0] if len(bands) == 1 else np.moveaxis(pixels, 0, -1)


def _colours(palette: dict[int, tuple[int, ...]]) -> np.ndarray:
    # A palette need not define all 256 entries; pixels use the defined ones only.
    table = np.zeros((256, 3), dtype=np.uint8)
    for index, colour in palette.items():
        table[index] = colour[:3]
    return table
