"""The side index: equal rows come back, and a file of another version is named as such."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmrs.errors import UserError
from mmrs.imaging.hashing import FINGERPRINT_BYTES
from mmrs.shards.index import INDEX_SCHEMA, read_index, write_index

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
    assert read_index(files[0]).to_pylist() == [ROW]


@pytest.mark.parametrize("name, changed", [("width", pa.int64()), ("perceptual_hash", pa.binary(4)), ("label", None)])
def test_an_index_of_another_version_is_named(tmp_path, name, changed):
    place = INDEX_SCHEMA.get_field_index(name)
    schema = INDEX_SCHEMA.remove(place) if changed is None else INDEX_SCHEMA.set(place, pa.field(name, changed))
    path = tmp_path / "train-00000-of-00001.parquet"
    pq.write_table(schema.empty_table(), path)
    with pytest.raises(UserError, match=rf"train-00000-of-00001.parquet .*'{name}' first.*mmrs build"):
        read_index(path)
