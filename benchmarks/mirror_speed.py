"""Rows a second of a Parquet mirror on one core: `python -m benchmarks.mirror_speed --folder DIR --out RESULT.json`.

Three kinds of tables as the Hub holds them (a class, eight boxes, captions and questions), each read in turn by
`datasets` (streaming, images as bytes), and by the reader of described data: rows listed with what they say, and the
bytes of every image read as a build reads them; then the same with the annotations of each row made, which `datasets`
has no word for. The floor is pyarrow's own pass over the same columns. All in processor time.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

import converters
from benchmarks.machine import describe
from mmrs.errors import BadItem
from mmrs.imaging.row_images import read_row_images
from mmrs.source import RowImage, read_block

ROWS_PER_GROUP, SHARDS = 1000, 2
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
LABELS = [f"class {number}" for number in range(20)]
CLASS = {"names": LABELS, "_type": "ClassLabel"}
COLUMNS: dict[str, dict[str, str]] = {
    "a class": {"label": "label"},
    "boxes": {"boxes": "objects.bbox", "category": "objects.category"},
    "captions and questions": {"captions": "captions", "question": "qa.question", "answer": "qa.answer"},
}


def main() -> None:
    """Write the tables, read them by turns, and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--image-bytes", type=int, default=50_000)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--folder", type=Path, required=True, help="work folder; deleted at the end")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    given.folder.mkdir(parents=True)
    result: dict[str, Any] = {"date": date.today().isoformat(), "machine": describe(), "rows": given.rows}
    result |= {"image_bytes": given.image_bytes, "tables": {}}
    for name in COLUMNS:
        root = given.folder / name.replace(" ", "-")
        write_tables(root, name, given.rows, given.image_bytes)
        result["tables"][name] = compared(root, name, given.rows, given.repetitions)
        print(name, result["tables"][name], flush=True)
    shutil.rmtree(given.folder)
    if given.out:
        given.out.write_text(json.dumps(result, indent=1) + "\n")


def write_tables(root: Path, name: str, rows: int, image_bytes: int) -> None:
    """Tables of bytes that no codec makes smaller, as photographs are, and what is said of them."""
    rng = np.random.default_rng(0)
    features = {"image": {"_type": "Image"}, **annotations_of(name, rng, 1)[1]}
    root.mkdir()
    per_shard = rows // SHARDS
    for shard in range(SHARDS):
        cells = [
            {"bytes": rng.bytes(image_bytes), "path": f"{shard * per_shard + row:06d}.jpg"} for row in range(per_shard)
        ]
        table = pa.table({"image": pa.array(cells, IMAGE), **annotations_of(name, rng, per_shard)[0]})
        stated = {"huggingface": json.dumps({"info": {"features": features}})}
        path = root / f"train-{shard:05d}-of-{SHARDS:05d}.parquet"
        pq.write_table(table.replace_schema_metadata(stated), path, row_group_size=ROWS_PER_GROUP)
    content: dict[str, Any] = {"name": "mirror", "format": "parquet", "sensor": "optical", "annotations": "train"}
    content["columns"] = {"image": "image", **COLUMNS[name]}
    if name != "captions and questions":
        content["classes"] = LABELS
    if name == "boxes":
        content["options"] = {"box_order": "xywh"}
    (root / "mmrs.yaml").write_text(yaml.safe_dump(content))


def annotations_of(name: str, rng: np.random.Generator, rows: int) -> tuple[dict[str, pa.Array], dict[str, Any]]:
    """Columns beside the images, and their features."""
    if name == "a class":
        return {"label": pa.array(rng.integers(0, len(LABELS), rows))}, {"label": CLASS}
    if name == "boxes":
        # Eight boxes an image, about as many as DIOR has.
        boxes = [
            {
                "bbox": [[float(value) for value in rng.integers(1, 300, 4)] for _ in range(8)],
                "category": rng.integers(0, len(LABELS), 8).tolist(),
            }
            for _ in range(rows)
        ]
        box = {"feature": {"feature": {"dtype": "float32", "_type": "Value"}, "_type": "List"}, "_type": "List"}
        features = {"objects": {"bbox": box, "category": {"feature": CLASS, "_type": "List"}}}
        kind = pa.struct([("bbox", pa.list_(pa.list_(pa.float32()))), ("category", pa.list_(pa.int64()))])
        return {"objects": pa.array(boxes, kind)}, features
    text = {"dtype": "string", "_type": "Value"}
    said = [[f"Picture {row} shows {number} ships." for number in range(5)] for row in range(rows)]
    asked = [[{"question": f"How many {kind}?", "answer": str(row % 7)} for kind in LABELS[:5]] for row in range(rows)]
    qa = {"feature": {"question": text, "answer": text}, "_type": "List"}
    features = {"captions": {"feature": text, "_type": "List"}, "qa": qa}
    return {"captions": pa.array(said), "qa": pa.array(asked)}, features


def compared(root: Path, name: str, rows: int, repetitions: int) -> dict[str, Any]:
    """Processor seconds of each reader, in turns, and rows a second as shares of those of `datasets`."""
    readers: dict[str, Callable[[], int]] = {
        "floor": lambda: read_with_pyarrow(root),
        "datasets": lambda: read_with_datasets(root),
        "mmrs": lambda: read_with_mmrs(root, annotate=False),
        "mmrs with annotations": lambda: read_with_mmrs(root, annotate=True),
    }
    seconds: dict[str, list[float]] = {reader: [] for reader in readers}
    for repetition in range(repetitions + 1):
        for reader, read in readers.items():
            start = time.process_time()
            found = read()
            if repetition:
                # The first pass imports and fills caches.
                seconds[reader].append(time.process_time() - start)
            if found != rows:
                raise SystemExit(f"{reader} read {found} of {rows} rows of {name}")
    shares = {reader: median(seconds["datasets"]) / median(each) for reader, each in seconds.items()}
    return {
        "seconds": seconds,
        "rows_per_second": {reader: round(rows / median(each)) for reader, each in seconds.items()},
        "speed_to_datasets": {reader: round(share, 2) for reader, share in shares.items()},
    }


def read_with_pyarrow(root: Path) -> int:
    """Every column of every table, decoded and left in Arrow's memory."""
    count = 0
    for path in sorted(root.glob("*.parquet")):
        with pq.ParquetFile(path, pre_buffer=False) as table:
            count += sum(len(batch) for batch in table.iter_batches(128, use_threads=False))
    return count


def read_with_datasets(root: Path) -> int:
    """Every row as Python values, its image as bytes."""
    import datasets

    files = {"train": [str(path) for path in sorted(root.glob("*.parquet"))]}
    rows = datasets.load_dataset("parquet", data_files=files, split="train", streaming=True)
    rows = rows.cast_column("image", datasets.Image(decode=False))
    return sum(bool(row["image"]["bytes"]) for row in rows)


def read_with_mmrs(root: Path, annotate: bool) -> int:
    """Every row as plain values with the names of its classes, and the bytes of its image; annotations if asked for."""
    source = converters.get("generic", description=str(root / "mmrs.yaml"))
    found = source.discover(root, "train")
    known = read_block(source, found.items) if annotate else found.items
    images = [item.image for item in found.items if isinstance(item.image, RowImage)]
    read = sum(isinstance(content, bytes) for _, content in read_row_images(images))
    return min(sum(not isinstance(one, BadItem) for one in known), read)


if __name__ == "__main__":
    main()
