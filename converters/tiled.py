"""Options of sources whose scenes are cut into tiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from converters.base import Converter
from mmrs.source import Tiling


@dataclass(frozen=True)
class TiledConverter(Converter):
    """Options: `tile_size`, `tile_overlap` (pixels), `min_iof` and `keep_empty` of the tiling."""

    tile_size: Annotated[int, Field(gt=0)] = 1024
    tile_overlap: Annotated[int, Field(ge=0)] = 200
    min_iof: float = 0.7
    keep_empty: float = 0.0

    def __post_init__(self) -> None:
        # Refuses an impossible tiling when the converter is made, not when the first scene is cut.
        _ = self.tiling

    @property
    def tiling(self) -> Tiling:
        """Windows of `tile_size` with `tile_overlap`."""
        return Tiling(self.tile_size, self.tile_overlap, self.min_iof, self.keep_empty)
