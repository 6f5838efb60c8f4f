"""Chat messages in Parquet, pictures inside: what TRL's trainers and `datasets` read, a row a dialogue.

``data/<split>-00000-of-00012.parquet``, a file a shard: ``id``, ``source``, ``task``, ``images``, ``messages``
whose content is a list of ``{"type": "image"}`` and ``{"type": "text", "text": ...}``. The schema carries the features
of `datasets`, so that pictures are decoded, and the README the splits, so that the folder or a repository of it loads
by its name. Needs pyarrow alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmrs.export.chat.styles import CHAT_STYLES, chat_frame
from mmrs.export.format import ExportCounts, ExportFormat, ExportPart, PlacedSample
from mmrs.export.rows import exchanges
from mmrs.export.style import ChatExchange

# Rows of a group are decoded together, and their pictures are held until then.
_ROWS_OF_A_GROUP = 100
_ROLES = {"human": "user", "gpt": "assistant"}
_STRING = {"dtype": "string", "_type": "Value"}
_FEATURES = {
    "id": _STRING,
    "source": _STRING,
    "task": _STRING,
    "images": {"feature": {"_type": "Image"}, "_type": "List"},
    "messages": {
        "feature": {
            "role": _STRING,
            "content": {"feature": {"type": _STRING, "text": _STRING}, "_type": "List"},
        },
        "_type": "List",
    },
}
_CONTENT = pa.struct([("type", pa.string()), ("text", pa.string())])
_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("task", pa.string()),
        ("images", pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))),
        ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.list_(_CONTENT))]))),
    ],
    metadata={"huggingface": json.dumps({"info": {"features": _FEATURES}}, allow_nan=False)},
)


def _row(name: str, sample: PlacedSample, exchange: ChatExchange) -> dict[str, Any]:
    messages = []
    for number, (sender, text) in enumerate(exchange.turns):
        content: list[dict[str, str]] = [] if number else [{"type": "image"} for _ in sample.images]
        text = text if number else exchange.head + text
        messages.append({"role": _ROLES[sender], "content": [*content, {"type": "text", "text": text}]})
    contents = (sample.image_bytes, *sample.further_bytes) if sample.image_bytes else (None,) * len(sample.images)
    pictures = [{"bytes": each, "path": path} for each, path in zip(contents, sample.images, strict=True)]
    source = sample.record.source
    return {"id": name, "source": source, "task": exchange.task, "images": pictures, "messages": messages}


def _write(samples: Iterable[PlacedSample], part: ExportPart) -> ExportCounts:
    counts = ExportCounts()
    folder = part.folder / "data"
    folder.mkdir(exist_ok=True)
    path = folder / f"{part.split}-{part.number:05d}-of-{part.of:05d}.parquet"
    rows: list[dict[str, Any]] = []
    # Pictures are compressed already; texts are short beside them.
    with pq.ParquetWriter(path, _SCHEMA, compression="none", store_schema=True) as writer:
        for name, sample, exchange in exchanges(samples, part, CHAT_STYLES[part.boxes], counts):
            rows.append(_row(name, sample, exchange))
            if len(rows) == _ROWS_OF_A_GROUP:
                writer.write_table(pa.Table.from_pylist(rows, _SCHEMA))
                rows = []
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, _SCHEMA))
    return counts


def _front_matter(splits: Sequence[str]) -> str:
    files = "".join(f"      - split: {split}\n        path: data/{split}-*.parquet\n" for split in splits)
    return f"---\nconfigs:\n  - config_name: default\n    data_files:\n{files}---\n"


MESSAGES_EXPORT = ExportFormat(
    "messages",
    "data/<split>-*.parquet, chat messages with the images inside, for TRL and `datasets.load_dataset(this folder)`",
    chat_frame,
    _write,
    box_styles=tuple(CHAT_STYLES),
    embeds_images=True,
    front_matter=_front_matter,
    several="all",
)
