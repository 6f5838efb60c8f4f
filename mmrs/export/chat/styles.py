"""Box styles by name, for formats that leave it open how a text writes boxes: ``--boxes NAME``."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from mmrs.export.chat.earthdial import EARTHDIAL_STYLE
from mmrs.export.chat.geochat import GEOCHAT_STYLE
from mmrs.export.chat.internvl import INTERNVL_STYLE
from mmrs.export.chat.qwen2_5_vl import QWEN2_5_VL_STYLE
from mmrs.export.chat.qwen3_vl import QWEN3_VL_STYLE
from mmrs.export.rows import DialogueStyle
from mmrs.export.style import BoxStyle, as_in_shards

AS_IN_SHARDS = "shards"
_BOX_STYLES = (QWEN3_VL_STYLE, QWEN2_5_VL_STYLE, INTERNVL_STYLE, GEOCHAT_STYLE, EARTHDIAL_STYLE)
CHAT_STYLES: Mapping[str, DialogueStyle] = MappingProxyType(
    {AS_IN_SHARDS: as_in_shards, **{style.name: style for style in _BOX_STYLES}}
)


def chat_frame(boxes: str, max_pixels: int) -> str:
    """The frame of a box style, for the README of an export."""
    style = CHAT_STYLES[boxes]
    if isinstance(style, BoxStyle):
        return style.frame.format(max_pixels=f"{max_pixels:,}")
    return "as in the shards: fractions of the centred padded square, in the box dialect of the data set"
