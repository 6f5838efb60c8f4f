"""Tables as `datasets` keeps them on disk: Arrow streams, in the layout of `save_to_disk` and of its cache."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa


def write_stream(path: Path, table: pa.Table, rows_per_batch: int = 3) -> None:
    """One Arrow stream."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows_per_batch)


def write_dataset_dict(root: Path, tables: Mapping[str, pa.Table], parts: int = 2) -> Path:
    """``root/<split>/data-0000N-of-0000M.arrow`` with the files that `DatasetDict.save_to_disk` puts beside them."""
    for split, table in tables.items():
        share = -(-len(table) // parts)
        names = [f"data-{number:05d}-of-{parts:05d}.arrow" for number in range(parts)]
        for number, name in enumerate(names):
            write_stream(root / split / name, table.slice(number * share, share))
        state = {"_data_files": [{"filename": name} for name in names], "_split": split}
        (root / split / "state.json").write_text(json.dumps(state))
        (root / split / "dataset_info.json").write_text("{}")
    (root / "dataset_dict.json").write_text(json.dumps({"splits": list(tables)}))
    return root
