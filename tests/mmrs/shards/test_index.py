"""The side index: equal rows come back, in equal bytes."""

import io

import pyarrow.parquet as pq

from mmrs.imaging.hashing import FINGERPRINT_BYTES
from mmrs.shards.index import write_index

ROW = {
    "key": "a", "id": "toy/train/a", "image_offset": 512, "image_size": 7, "record_offset": 2048, "record_size": 9,
    "width": 4, "height": 3, "scene": None, "label": "ship", "categories": ["ship"], "objects": 1,
    "ignored_objects": 0, "captions": 0, "dialogue_tasks": ["classification"], "dialogue_chars": [12],
    "perceptual_hash": bytes(FINGERPRINT_BYTES), "reencoded": None, "sha256": "0" * 64,
}  # fmt: skip


def test_rows_come_back_and_equal_rows_give_equal_bytes():
    files = [io.BytesIO(), io.BytesIO()]
    for file in files:
        write_index(file, [ROW])
    assert files[0].getvalue() == files[1].getvalue()
    assert pq.read_table(files[0]).to_pylist() == [ROW]
