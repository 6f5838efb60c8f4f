"""LLaVA JSON, one list a split: ``<split>.json`` of ``id``, ``image``, ``conversations``, a row a dialogue.

``<image>`` stands at the start of the first human turn. GeoChat and Qwen's own fine-tuning scripts read the same form.
"""

from __future__ import annotations

from collections.abc import Iterable

from mmrs.export.chat.styles import CHAT_STYLES, chat_frame
from mmrs.export.format import ExportCounts, ExportFormat, ExportPart, PlacedSample
from mmrs.export.rows import join_list, llava_row, write_rows


def _write(samples: Iterable[PlacedSample], part: ExportPart) -> ExportCounts:
    return write_rows(samples, part, CHAT_STYLES[part.boxes], llava_row)


LLAVA_EXPORT = ExportFormat(
    "llava",
    "<split>.json, conversations as LLaVA's trainers read them; images are relative to this folder",
    chat_frame,
    _write,
    join_list,
    tuple(CHAT_STYLES),
    several="all",
)
