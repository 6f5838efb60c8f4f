"""Windows over large scenes: where they lie (pure), and their pixels through rasterio, never the whole scene."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mmrs.errors import BadItem
from mmrs.record import Window
from mmrs.source import Tiling


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


def read_windows(path: Path, windows: Sequence[Window]) -> Iterator[np.ndarray]:
    """Pixels of each window as ``(H, W)`` or ``(H, W, 3)``, in the given order.

    One open serves all windows: PNG has no random access, so windows in row order cost one pass over the file. A fourth
    band (alpha) is dropped; a palette is resolved.

    Raises:
        BadItem: rasterio cannot read the scene or a window.
    """
    import rasterio
    from rasterio.enums import ColorInterp
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            scene = rasterio.open(path)
        with scene:
            if scene.count not in (1, 2, 3, 4):
                raise BadItem(f"scene has {scene.count} bands; 1 to 4 are known", str(path))
            palette = scene.colormap(1) if scene.colorinterp[0] == ColorInterp.palette else None
            bands = [1] if scene.count < 3 else [1, 2, 3]
            for window in windows:
                area = rasterio.windows.Window(window.x, window.y, window.width, window.height)
                pixels = scene.read(bands, window=area)
                if palette is not None:
                    yield _colours(palette)[pixels[0]]
                else:
                    yield pixels[0] if len(bands) == 1 else np.moveaxis(pixels, 0, -1)
    except RasterioError as error:
        raise BadItem(f"scene cannot be read: {error}", str(path)) from error


def _colours(palette: dict[int, tuple[int, ...]]) -> np.ndarray:
    # A palette need not define all 256 entries; pixels use the defined ones only.
    table = np.zeros((256, 3), dtype=np.uint8)
    for index, colour in palette.items():
        table[index] = colour[:3]
    return table
