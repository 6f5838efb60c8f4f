"""Options of sources whose scenes are cut into tiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from converters.base import Converter
from mmrs.source import Tiling

TileSize = Annotated[int, Field(gt=0)]
TileOverlap = Annotated[int, Field(ge=0)]
Iof = Annotated[float, Field(gt=0, le=1)]
_Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class TiledConverter(Converter):
    """A source of large scenes, cut into windows."""

    tile_size: TileSize = 1024
    """Side of the square window in pixels; a smaller scene gives one window of its own size."""

    tile_overlap: TileOverlap = 200
    """Pixels that neighbouring windows share; less than tile_size."""

    min_iof: Iof = 0.7
    """An object stays in a tile that holds at least this share of its area."""

    keep_empty: _Share = 0.0
    """Share of the tiles without objects that are kept."""

    def __post_init__(self) -> None:
        # Refuses an impossible tiling when the converter is made, not when the first scene is cut.
        _ = self.tiling

    @property
    def tiling(self) -> Tiling:
        """Windows of `tile_size` with `tile_overlap`."""
        return Tiling(self.tile_size, self.tile_overlap, self.min_iof, self.keep_empty)
