"""A data set as rows of chat messages, streamed by Hugging Face `datasets`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import datasets

from mmrs.data_set.stream import read_sample
from mmrs.shards.reader import ShardSet

_CONTENT = {"type": datasets.Value("string"), "text": datasets.Value("string")}
_FEATURES = datasets.Features(
    {
        "id": datasets.Value("string"),
        "source": datasets.Value("string"),
        "task": datasets.Value("string"),
        "images": datasets.List(datasets.Image()),
        "messages": datasets.List({"role": datasets.Value("string"), "content": datasets.List(_CONTENT)}),
    }
)


def chat_rows(shards: ShardSet, positions: list[int], tasks: tuple[str, ...]) -> datasets.IterableDataset:
    """A row a dialogue of the numbered shards; workers of a loader share the shards.

    Args:
        tasks: dialogues of these; empty: of all.
    """
    return datasets.IterableDataset.from_generator(
        _rows, features=_FEATURES, gen_kwargs={"positions": positions, "shards": shards, "tasks": tasks}
    )


def _rows(positions: list[int], shards: ShardSet, tasks: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for position in positions:
        for row in shards.rows([position]).to_pylist():
            sample = read_sample(shards, row, tasks)
            for dialogue in sample.record.dialogues:
                yield {
                    "id": sample.id,
                    "source": sample.record.source,
                    "task": dialogue.task,
                    "images": [
                        {"bytes": content, "path": None} for content in (sample.image_bytes, *sample.further_bytes)
                    ],
                    "messages": sample.messages(dialogue),
                }
