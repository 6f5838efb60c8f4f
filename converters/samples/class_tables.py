"""Class folders packed into Parquet tables, as `datasets` uploads them to the Hugging Face Hub."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

# `datasets` writes images in groups of a hundred rows.
_ROWS_PER_GROUP = 100
_CELL = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def pack_class_folders(
    folder: Path, out: Path, labels: Sequence[str], splits: Sequence[str], named: bool = True
) -> None:
    """Write ``out/<split>-00000-of-00001.parquet`` and remove the class folders in `folder`, which lies beside `out`.

    The images of each class are dealt to the `splits` in turn. Rows are in the order of file names without their class,
    so that classes are mixed, as uploads are; where they are not `named`, the tables lose the names.
    """
    out.mkdir(parents=True)
    features = {"image": {"_type": "Image"}, "label": {"names": list(labels), "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    for place, split in enumerate(splits):
        rows = [
            (number, index, path)
            for index, label in enumerate(labels)
            for number, path in enumerate(sorted((folder / label).glob("*")))
            if number % len(splits) == place
        ]
        rows.sort()
        cells = [{"bytes": path.read_bytes(), "path": path.name if named else None} for _, _, path in rows]
        table = pa.table(
            {"image": pa.array(cells, _CELL), "label": pa.array([index for _, index, _ in rows], pa.int64())}
        )
        path = out / f"{split}-00000-of-00001.parquet"
        pq.write_table(table.replace_schema_metadata(metadata), path, row_group_size=_ROWS_PER_GROUP)
    for label in labels:
        shutil.rmtree(folder / label)
    while folder != out.parent:
        folder.rmdir()
        folder = folder.parent
