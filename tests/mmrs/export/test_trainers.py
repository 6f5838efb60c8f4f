"""Exports as trainers' own readers take them: their rules about rows, and the libraries that install beside ours."""

import json

import datasets
import pyarrow.parquet as pq
import pytest

import mmrs
from mmrs.export.run import ExportConfig, write_export
from mmrs.progress import Progress
from tests.support.sources import built_toy

QUIET = Progress(quiet=True)


@pytest.fixture(scope="module")
def location(tmp_path_factory):
    return built_toy(tmp_path_factory.mktemp("exported"), images=10)


def lines(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_datasets_and_pyarrow_read_chat_messages(location, tmp_path):
    out = write_export(ExportConfig(location, "messages", tmp_path / "out", boxes="qwen3-vl"), QUIET).out
    assert not (out / "images").exists()
    read = datasets.load_dataset(str(out), split="train", cache_dir=tmp_path / "cache")
    assert isinstance(read.features["images"].feature, datasets.Image)
    samples = {sample.id: sample for sample in mmrs.open(location)}
    asked = sum(d.task == "detection-hbb" for sample in samples.values() for d in sample.record.dialogues)
    assert len(read) + len(datasets.load_dataset(str(out), split="test", cache_dir=tmp_path / "cache")) == asked
    for row in read:
        assert row["images"][0].size == (64, 48)
        (question, answer) = row["messages"]
        assert [part["type"] for part in question["content"]] == ["image", "text"]
        assert json.loads(answer["content"][0]["text"])[0].keys() == {"bbox_2d", "label"}
    files = sorted((out / "data").glob("train-*.parquet"))
    assert len(files) > 1
    rows = [row for file in files for row in pq.read_table(file).to_pylist()]
    assert all(row["images"][0]["bytes"] == samples[row["id"].rpartition("#")[0]].image_bytes for row in rows)
    # Streaming and the class of a plain `datasets` user see the same first row.
    first = next(iter(datasets.load_dataset(str(out), split="train", streaming=True)))
    assert first["id"] == rows[0]["id"] and first["images"][0].size == (64, 48)


def test_llama_factory_finds_as_many_images_as_marks(location, tmp_path):
    out = write_export(ExportConfig(location, "llama-factory", tmp_path / "out", boxes="internvl"), QUIET).out
    info = json.loads((out / "dataset_info.json").read_bytes())
    assert set(info) == {"mmrs_train", "mmrs_test"}
    for entry in info.values():
        columns, tags = entry["columns"], entry["tags"]
        for row in lines(out / entry["file_name"]):
            turns = row[columns["messages"]]
            roles = [turn[tags["role_tag"]] for turn in turns]
            assert roles == [tags["user_tag"], tags["assistant_tag"]] * (len(roles) // 2)
            marks = sum(turn[tags["content_tag"]].count("<image>") for turn in turns)
            assert marks == len(row[columns["images"]]) == 1 and (out / row["images"][0]).is_file()


def test_ms_swift_fills_every_box_and_name(location, tmp_path):
    out = write_export(ExportConfig(location, "ms-swift", tmp_path / "out"), QUIET).out
    truths = {sample.id: sample.record for sample in mmrs.open(location)}
    for row in lines(out / "train.jsonl"):
        text = "".join(message["content"] for message in row["messages"])
        objects = row["objects"]
        assert set(objects) <= {"ref", "bbox", "bbox_type", "image_id"} and objects["bbox_type"] == "real"
        assert text.count("<bbox>") == len(objects["bbox"]) and all(len(box) == 4 for box in objects["bbox"])
        assert text.count("<ref-object>") == len(objects["ref"])
        named = set(zip(objects["ref"], map(tuple, objects["bbox"]), strict=True))
        assert named <= {(thing.category, thing.hbb) for thing in truths[row["id"].rpartition("#")[0]].objects}
        assert row["channel"] == "detection-hbb"


@pytest.mark.parametrize("form", ["internvl", "earthdial"])
def test_internvl_finds_its_annotation_and_its_length(location, form, tmp_path):
    out = write_export(ExportConfig(location, form, tmp_path / "out"), QUIET).out
    for entry in json.loads((out / "meta.json").read_bytes()).values():
        rows = lines(out / entry["annotation"])
        assert entry["annotation"].endswith(".jsonl") and len(rows) == entry["length"]
        for row in rows:
            assert (out / entry["root"] / row["image"]).is_file() and (row["width"], row["height"]) == (64, 48)
            assert row["conversations"][0]["value"].count("<image>") == 1


@pytest.mark.parametrize("form", ["paligemma", "florence-2"])
def test_prefix_and_suffix_are_texts(location, form, tmp_path):
    out = write_export(ExportConfig(location, form, tmp_path / "out"), QUIET).out
    for row in lines(out / "train.jsonl"):
        assert (out / row["image"]).is_file() and "<image>" not in row["prefix"] + row["suffix"]
        assert row["suffix"].count("<loc") % 4 == 0 and "<loc" in row["suffix"]


def test_fiftyone_finds_an_image_for_every_key(location, tmp_path):
    """Its importer names samples by path below the data folder, without suffix."""
    out = write_export(ExportConfig(location, "fiftyone", tmp_path / "out"), QUIET).out
    content = json.loads((out / "train" / "labels.json").read_bytes())
    folder = out / "images" / "train"
    assert {str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.jpg")} == set(content["labels"])
    truths = {sample.id.split("/", 2)[2]: sample.record.objects for sample in mmrs.open(location)}
    for name, detections in content["labels"].items():
        for found, truth in zip(detections, truths[name.partition("/")[2]], strict=True):
            x, y, width, height = found["bounding_box"]
            box = (x * 64, y * 48, (x + width) * 64, (y + height) * 48)
            assert found["label"] == truth.category and box == pytest.approx(truth.extent(), abs=1e-3)


def test_geojson_is_a_collection_of_closed_rings(location, tmp_path):
    out = write_export(ExportConfig(location, "geojson", tmp_path / "out"), QUIET).out
    content = json.loads((out / "train.geojson").read_bytes())
    records = [sample.record for sample in mmrs.open(location) if sample.record.split == "train"]
    features = content["features"]
    assert content["type"] == "FeatureCollection" and len(features) == sum(len(one.objects) for one in records)
    of_first = [each for each in features if each["properties"]["image_id"] == records[0].id]
    for feature, thing in zip(of_first, records[0].objects, strict=True):
        (ring,) = feature["geometry"]["coordinates"]
        assert ring[0] == ring[-1] and [tuple(corner) for corner in ring[:-1]] == list(thing.quad)
        assert (out / feature["properties"]["image"]).is_file()
