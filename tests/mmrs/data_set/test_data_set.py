"""`mmrs.open`: samples by number, the table, and rows for `datasets`, held against the reader of shards."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import mmrs
from mmrs.errors import RunFailure, UserError
from mmrs.shards.reader import ShardSet


def test_samples_are_those_of_the_reader(location):
    data, shards = mmrs.open(str(location)), ShardSet(location)
    rows = shards.rows(range(len(shards.manifest.shards))).to_pylist()
    assert len(data) == len(rows) == 30 and len(shards.manifest.shards) > 2
    assert [sample.record for sample in data] == [shards.record(row) for row in rows]
    for number in (0, 7, 8, 29, -1, -30, np.int64(3)):
        sample = data[number]
        assert (sample.record, sample.image_bytes) == (shards.record(rows[number]), shards.image(rows[number]))
        assert sample.image.size == (sample.record.image.width, sample.record.image.height)
    for number in (30, -31):
        with pytest.raises(IndexError, match="of 30"):
            data[number]
    with pytest.raises(TypeError):
        data["toy"]
    assert data.splits == ("test", "train") and list(data.sources) == ["toy"] and "30 samples of toy" in repr(data)


def test_an_index_is_read_once_however_samples_are_asked_for(location, monkeypatch):
    data, read = mmrs.open(location), []
    index = ShardSet.index
    monkeypatch.setattr(ShardSet, "index", lambda self, shard: read.append(shard) or index(self, shard))
    for number in (0, 29, 1, 28, 0, 15, 29):
        assert data[number].id
    assert len(read) == len(set(read)) > 1


def test_the_table_says_where_a_row_is_from(location):
    data = mmrs.open(location)
    table = data.table()
    assert len(table) == len(data) and set(table["split"].to_pylist()) == {"train", "test"}
    assert [name.split("/")[1] for name in table["id"].to_pylist()] == table["split"].to_pylist()
    assert data.table(["test"], ["toy"], ["width"]).column_names == ["width", "shard", "source", "split", "sensor"]
    with pytest.raises(UserError, match="no split 'tset'"):
        data.table(["tset"])


def test_damage_is_named(location, tmp_path):
    data = mmrs.open(location)
    sample = data[0]
    with pytest.raises(RunFailure, match=r"cannot be decoded.*mmrs verify"):
        _ = mmrs.Sample(b"\xff\xd8 no", sample.record, str(location)).image
    with pytest.raises(UserError, match="mmrs build"):
        mmrs.open(tmp_path)


def test_rows_of_chats_have_every_dialogue(location):
    data = mmrs.open(location)
    rows = list(data.to_datasets())
    expected = [
        (sample.id, dialogue.task) for sample in data.stream(shuffle=False) for dialogue in sample.record.dialogues
    ]
    assert [(row["id"], row["task"]) for row in rows] == expected and len({task for _, task in expected}) == 2
    messages = rows[0]["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant"] * (len(messages) // 2)
    assert [part["type"] for part in messages[0]["content"]] == ["image", "text"]
    assert not any("<image>" in (part["text"] or "") for message in messages for part in message["content"])
    (image,) = rows[0]["images"]
    assert image.tobytes() == Image.open(io.BytesIO(next(iter(data.stream(shuffle=False))).image_bytes)).tobytes()
    assert {row["task"] for row in data.to_datasets(tasks=["detection-obb"])} == {"detection-obb"}


def test_without_datasets_it_says_what_to_type(location, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.delitem(sys.modules, "mmrs.data_set.chat_rows", raising=False)
    with pytest.raises(UserError, match=r"pip install 'mmrs\[datasets\]'"):
        mmrs.open(location).to_datasets()


def test_the_package_alone_loads_next_to_nothing():
    """Every command imports it: what a program asks for is loaded when it is."""
    code = "import sys, mmrs; print(sorted({'pyarrow', 'PIL', 'numpy', 'torch', 'datasets'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
    assert {"open", "DataSet", "Sample", "SampleStream"} <= set(dir(mmrs))
    with pytest.raises(AttributeError, match="opne"):
        _ = mmrs.opne
