"""Parquet tables of images, and a toy source that reads them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mmrs.record import Annotations, Provenance
from mmrs.source import Discovery, Item, RowImage
from tests.support.sources import ToySource

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write_table(
    path: Path,
    images: Sequence[bytes | None],
    names: Sequence[str | None],
    labels: Sequence[object] | None = None,
    classes: Sequence[str] | None = None,
    rows_per_group: int = 8,
    **columns: Sequence[object],
) -> None:
    """Write a table as `datasets` does: a column ``image``, ``label`` where there are `labels`, and the features."""
    cells = [{"bytes": image, "path": name} for image, name in zip(images, names, strict=True)]
    content = {"image": pa.array(cells, IMAGE)} | {key: pa.array(values) for key, values in columns.items()}
    features: dict[str, object] = {"image": {"_type": "Image"}}
    if labels is not None:
        content["label"] = pa.array(labels)
        features["label"] = {"_type": "ClassLabel", "names": list(classes)} if classes else {"_type": "Value"}
    table = pa.table(content).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=rows_per_group)


@dataclass(frozen=True)
class TableSource(ToySource):
    """The toy images of ``<split>.parquet``, without objects; blocks are runs of `rows_per_block`."""

    rows_per_block: int = 8

    def discover(self, root: Path, split: str) -> Discovery:
        path = root / f"{split}.parquet"
        names = pq.ParquetFile(path).read(columns=["image.path"]).column("image").to_pylist()
        return Discovery(
            tuple(
                Item(
                    Path(cell["path"]).stem,
                    RowImage(path, row, cell["path"], "image.bytes", f"{split}:{row // self.rows_per_block}"),
                )
                for row, cell in sorted(enumerate(names), key=lambda pair: pair[1]["path"])
            )
        )

    def read(self, item: Item) -> Annotations:
        return Annotations(provenance=Provenance(original_id=item.image.name))
