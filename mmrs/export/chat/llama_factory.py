"""LLaMA-Factory: ``<split>.jsonl`` in its ``sharegpt`` form, and ``dataset_info.json`` with an entry a split.

It passes texts on as they are, so ``--boxes`` has to name the frame of the model that is trained.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from mmrs.export.chat.styles import CHAT_STYLES, chat_frame
from mmrs.export.format import ExportCounts, ExportFormat, ExportPart, PlacedSample, WrittenExport
from mmrs.export.rows import join_lines, write_rows
from mmrs.export.style import ChatExchange, as_turns

_COLUMNS = {"messages": "conversations", "images": "images"}
_TAGS = {"role_tag": "from", "content_tag": "value", "user_tag": "human", "assistant_tag": "gpt"}


def _row(name: str, sample: PlacedSample, exchange: ChatExchange) -> dict[str, Any]:
    return {"id": name, "conversations": as_turns(exchange, len(sample.images)), "images": sample.images}


def _write(samples: Iterable[PlacedSample], part: ExportPart) -> ExportCounts:
    return write_rows(samples, part, CHAT_STYLES[part.boxes], _row)


def _finish(written: WrittenExport) -> None:
    join_lines(written)
    entries = {
        f"mmrs_{split}": {
            "file_name": f"{split}.jsonl",
            "formatting": "sharegpt",
            "columns": _COLUMNS,
            "tags": _TAGS,
        }
        for split in written.counts
    }
    (written.folder / "dataset_info.json").write_bytes(orjson.dumps(entries, option=orjson.OPT_INDENT_2))


LLAMA_FACTORY_EXPORT = ExportFormat(
    "llama-factory",
    "dataset_info.json and <split>.jsonl; `dataset_dir` and `media_dir` are this folder, `dataset` is mmrs_<split>",
    chat_frame,
    _write,
    _finish,
    tuple(CHAT_STYLES),
    several="all",
)
