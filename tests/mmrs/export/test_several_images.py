"""Samples of several images in other programs' files: all images in a row, the first with its boxes, or counted."""

import io
import json

import pyarrow.parquet as pq
import pytest
from PIL import Image

import mmrs
from mmrs.export.format import FURTHER_IMAGES, SEVERAL_IMAGES
from mmrs.export.registry import EXPORT_FORMATS, export_format
from mmrs.export.run import ExportConfig, write_export
from mmrs.progress import Progress
from mmrs.shards.reader import ShardSet
from tests.support.pairs import built_pairs

QUIET = Progress(quiet=True)
COUNTS = (2, 1, 3)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return ShardSet(built_pairs(tmp_path_factory.mktemp("pairs"), COUNTS))


def exported(shards, form, out, **options):
    result = write_export(ExportConfig(shards.location, form, out, splits=("train",), **options), QUIET)
    return result.counts["train"]


def content(shards):
    """Stored images by the stem of their sample."""
    return {row["id"].rpartition("/")[2]: shards.images(row) for row in shards.table("train").to_pylist()}


@pytest.mark.parametrize("form", EXPORT_FORMATS)
def test_nothing_is_left_out_without_a_count(shards, tmp_path, form):
    counts = exported(shards, form, tmp_path / "out")
    rule = export_format(form).several
    written = sorted(path for path in (tmp_path / "out").rglob("images/**/*") if path.is_file())
    expected = {"all": sum(COUNTS), "first": len(COUNTS), "none": 1}[rule]
    assert counts.images == expected
    assert len(written) == (0 if export_format(form).embeds_images else expected)
    assert counts.left_out[FURTHER_IMAGES] == (sum(COUNTS) - len(COUNTS) if rule == "first" else 0)
    assert counts.left_out[SEVERAL_IMAGES] == (len(COUNTS) - 1 if rule == "none" else 0)


@pytest.mark.parametrize("form", ["llava", "internvl", "qwen2.5-vl", "qwen3-vl", "ms-swift", "llama-factory"])
def test_rows_name_all_images_in_order_with_as_many_marks(shards, tmp_path, form):
    exported(shards, form, tmp_path / "out")
    files = [path for path in (tmp_path / "out").glob("train.json*")]
    text = files[0].read_text()
    rows = json.loads(text) if files[0].suffix == ".json" else [json.loads(line) for line in text.splitlines()]
    stored = content(shards)
    assert len(rows) == 2 * len(COUNTS)
    for row in rows:
        named = row["image"] if "image" in row else row["images"]
        named = [named] if isinstance(named, str) else named
        stem = row["id"].partition("#")[0].rpartition("/")[2]
        assert [(tmp_path / "out" / name).read_bytes() for name in named] == list(stored[stem])
        turns = row.get("conversations") or row["messages"]
        first = turns[0].get("value") or turns[0]["content"]
        assert first.count("<image>") == len(named)
        assert not any("<image>" in (turn.get("value") or turn["content"]) for turn in turns[1:])
        if form == "internvl":
            assert ("width_list" in row) == (len(named) > 1) and len(row.get("width_list", [1])) == len(named)


def test_messages_hold_all_images(shards, tmp_path):
    exported(shards, "messages", tmp_path / "out")
    path = min((tmp_path / "out" / "data").glob("train-*.parquet"))
    stored = content(shards)
    for row in pq.read_table(path).to_pylist():
        stem = row["id"].partition("#")[0].rpartition("/")[2]
        assert [image["bytes"] for image in row["images"]] == list(stored[stem])
        kinds = [part["type"] for part in row["messages"][0]["content"]]
        assert kinds == ["image"] * len(stored[stem]) + ["text"]


def test_references_open_each_image(shards, tmp_path):
    fsspec = pytest.importorskip("fsspec")
    exported(shards, "llava", tmp_path / "out", images="reference")
    stored = content(shards)
    for row in json.loads((tmp_path / "out" / "train.json").read_text()):
        named = [row["image"]] if isinstance(row["image"], str) else row["image"]
        stem = row["id"].partition("#")[0].rpartition("/")[2]
        for url, data in zip(named, stored[stem], strict=True):
            with fsspec.open(url, "rb") as file:
                assert file.read() == data


def test_a_program_of_ones_own_gets_all_images(shards):
    data = mmrs.open(shards.location)
    stored = content(shards)
    for sample in data.stream(splits=["train"], shuffle=False):
        images = stored[sample.id.rpartition("/")[2]]
        assert (sample.image_bytes, *sample.further_bytes) == images
        assert [image.size for image in sample.images] == [Image.open(io.BytesIO(each)).size for each in images]
        (dialogue, *_) = sample.record.dialogues
        parts = [part["type"] for part in sample.messages(dialogue)[0]["content"]]
        assert parts == ["image"] * len(images) + ["text"]
    assert len(data[0].images) == len(data[0].record.images)


def test_chat_rows_of_datasets_have_all_images(shards):
    pytest.importorskip("datasets")
    stored = content(shards)
    for row in mmrs.open(shards.location).to_datasets(splits=["train"]):
        assert len(row["images"]) == len(stored[row["id"].rpartition("/")[2]])
