"""LLaVA JSON, one list a split: ``<split>.json`` of ``id``, ``image``, ``conversations``, a row a dialogue.

The text is that of the shards, box dialect included; ``<image>`` stands at the start of the first human turn.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

import orjson

from mmrs.data_set.sample import Sample
from mmrs.export.format import ExportCounts, ExportFormat, ExportTarget
from mmrs.record import Dialogue

_NO_DIALOGUE = "images without a dialogue"


def _write(samples: Iterable[tuple[Sample, PurePosixPath]], target: ExportTarget) -> ExportCounts:
    counts = ExportCounts()
    with (target.folder / f"{target.split}.json").open("wb") as file:
        file.write(b"[")
        for sample, image in samples:
            counts.images += 1
            if not sample.record.dialogues:
                counts.left_out[_NO_DIALOGUE] += 1
            for number, dialogue in enumerate(sample.record.dialogues):
                row = {"id": f"{sample.id}#{number}", "image": str(image), "conversations": _turns(dialogue)}
                file.write((b"," if counts.dialogues else b"") + b"\n" + orjson.dumps(row))
                counts.dialogues += 1
        file.write(b"\n]\n")
    return counts


def _turns(dialogue: Dialogue) -> list[dict[str, Any]]:
    turns = [{"from": turn.sender, "value": turn.value.replace("<image>", "").strip()} for turn in dialogue.turns]
    turns[0]["value"] = f"<image>\n{turns[0]['value']}"
    return turns


LLAVA_EXPORT = ExportFormat(
    "llava",
    "<split>.json, conversations as LLaVA's trainers read them; images are relative to this folder",
    "as in the shards: fractions of the centred padded square, in the box dialect of the data set",
    _write,
)
