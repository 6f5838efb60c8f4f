"""Samples of several images: stored in order, found by offset, grouped by every reader, checked byte for byte."""

import hashlib
import io
import json
import tarfile

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.errors import UserError
from mmrs.hub.configs import card_configs
from mmrs.hub.features import shard_features
from mmrs.progress import Progress
from mmrs.record import MOST_SAMPLE_IMAGES, Record
from mmrs.shards.index import INDEX_SCHEMA, WHOLE_SCHEMA
from mmrs.shards.manifest import load_manifest
from mmrs.shards.reader import ShardSet
from mmrs.shards.tar import TarWriter
from mmrs.shards.webdataset import scan_tar
from mmrs.verify.dataset import verify_dataset
from tests.support.pairs import PairSource, built_pairs, write_pairs
from tests.support.sources import toy_build

QUIET = Progress(quiet=True)
COUNTS = (2, 1, 3, 4, 2, 2, 1)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return built_pairs(tmp_path_factory.mktemp("pairs"), COUNTS)


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file() and ".build" not in path.parts}


def test_every_image_is_there_in_order_and_is_the_one_of_the_source(out):
    shards = ShardSet(out)
    for row in shards.table("train").to_pylist():
        record, images = shards.record(row), shards.images(row)
        names = json.loads((out.parent / "pairs" / "train" / record.provenance.annotation).read_text())["images"]
        assert list(images) == [(out.parent / "pairs" / "train" / name).read_bytes() for name in names]
        assert [info.sha256 for info in record.images] == [hashlib.sha256(image).hexdigest() for image in images]
        assert row["further_sha256"] == [info.sha256 for info in record.further_images]
        assert len(row["further_hash"]) == len(images) - 1
        roles = ["before", "after", "later", "last"][: len(images)]
        assert [info.role for info in record.images] == (roles if len(images) > 1 else [None])
        assert [info.sensor for info in record.images] == ["sar" if role == "last" else None for role in roles]
    counts = load_manifest(out).sources["toy"].splits["train"]
    assert (counts.several_images, counts.images) == ({"2": 3, "3": 1, "4": 1}, sum(COUNTS))


def test_a_record_of_one_image_says_nothing_of_others(out):
    shards = ShardSet(out)
    for row in shards.table("train").to_pylist():
        content = json.loads(shards.record_bytes(row))
        assert ("further_images" in content) == bool(row["further_offset"])
        assert ("role" in content["image"]) == bool(row["further_offset"])


def test_indexes_have_columns_of_further_images_only_where_there_are_some(out):
    for shard in load_manifest(out).shards:
        rows = ShardSet(out).rows([load_manifest(out).shards.index(shard)]).to_pylist()
        schema = pq.read_schema(out / shard.index_path)
        assert schema.equals(WHOLE_SCHEMA if any(row["further_offset"] for row in rows) else INDEX_SCHEMA)


def test_an_index_without_these_columns_reads_as_one_image_each(tmp_path):
    shards = ShardSet(built_pairs(tmp_path, (1, 1, 1)))
    assert pq.read_schema(shards.index_file(0)).equals(INDEX_SCHEMA)
    table = shards.rows([0])
    assert table.drop(["shard"]).schema.equals(WHOLE_SCHEMA)
    assert table["further_offset"].to_pylist() == table["further_hash"].to_pylist() == [[]] * len(table)
    only = shards.index(0, ["further_size"])
    assert only.column_names == ["further_size"] and len(only) == len(table)
    assert [shards.images(row) for row in table.to_pylist()] == [(shards.image(row),) for row in table.to_pylist()]


def test_bytes_are_equal_for_one_process_and_two_and_a_second_run_writes_nothing(tmp_path):
    write_pairs(tmp_path / "pairs", [2] * 130)
    recipe = BuildRecipe.model_validate({"sources": [{"name": "toy"}], "shard_bytes": 10**7})
    told = []
    for workers in (1, 2, 2):
        plan = plan_build([toy_build(tmp_path / "pairs", PairSource())], recipe, 1, QUIET)
        build(plan, recipe, tmp_path / f"out{workers}", workers, QUIET, announce=told.append)
    assert files_of(tmp_path / "out1") == files_of(tmp_path / "out2")
    assert [len(one.missing) for one in told] == [2, 2, 0]


def test_a_changed_second_image_rewrites_its_shard_and_is_named(tmp_path):
    built_pairs(tmp_path, (2, 2))
    changed = tmp_path / "pairs" / "train" / "train001-1.jpg"
    changed.write_bytes((tmp_path / "pairs" / "train" / "train000-1.jpg").read_bytes())
    recipe = BuildRecipe.model_validate({"sources": [{"name": "toy"}], "shard_bytes": 9_000})
    plan = plan_build([toy_build(tmp_path / "pairs", PairSource())], recipe, 1, QUIET)
    told = []
    build(plan, recipe, tmp_path / "out1", 1, QUIET, announce=told.append)
    reasons = [reason for _, reason in told[0].missing]
    assert [reason.what for reason in reasons] == ["source file changed"]
    assert "train/train001-1.jpg" in reasons[0].at


def test_an_image_that_cannot_be_read_costs_its_sample_and_is_named(tmp_path):
    write_pairs(tmp_path / "pairs", (2, 2, 3))
    (tmp_path / "pairs" / "train" / "train002-2.jpg").write_bytes(b"no image")
    recipe = BuildRecipe.model_validate({"sources": [{"name": "toy"}], "quarantine_ceiling": 1})
    plan = plan_build([toy_build(tmp_path / "pairs", PairSource())], recipe, 1, QUIET)
    manifest = build(plan, recipe, tmp_path / "out", 1, QUIET).manifest
    assert manifest.sources["toy"].splits["train"].records == 2
    (entry,) = [json.loads(line) for line in (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()]
    assert (entry["path"], entry["id"], entry["images"]) == ("train/train002-2.jpg", "toy/train/train002", 1)


def test_several_images_are_not_cut_into_tiles(tmp_path):
    write_pairs(tmp_path / "pairs", (2,))
    recipe = BuildRecipe.model_validate({"sources": [{"name": "toy"}]})
    with pytest.raises(UserError, match=r"has 2 images.*tile_size"):
        plan_build([toy_build(tmp_path / "pairs", PairSource(tile_pixels=16))], recipe, 1, QUIET)


def test_readers_of_webdataset_find_all_images_of_a_sample(out):
    webdataset = pytest.importorskip("webdataset")
    shards = ShardSet(out)
    tars = [str(out / shard.path) for shard in shards.manifest.shards if shard.split == "train"]
    read = {sample["__key__"]: sample for sample in webdataset.WebDataset(tars, shardshuffle=False)}
    for row in shards.table("train").to_pylist():
        sample = read[row["key"]]
        names = ["jpg", *(f"{number}.jpg" for number in range(1, 1 + len(row["further_offset"])))]
        assert [sample[name] for name in names] == list(shards.images(row))
    for tar in tars:
        assert not [what for _, what in scan_tar(out / tar).findings if "others have" not in what]


def test_datasets_reads_pairs_as_two_pictures(tmp_path):
    datasets = pytest.importorskip("datasets")
    out = built_pairs(tmp_path, (2, 2, 2))
    tars = sorted(str(path) for path in (out / "toy").glob("train-*.tar"))
    rows = list(datasets.load_dataset("webdataset", data_files=tars, split="train", streaming=True))
    assert len(rows) == 3
    assert all({"jpg", "1.jpg", "json"} <= row.keys() and row["1.jpg"].size == (40, 32) for row in rows)


def whats(out):
    return " | ".join(str(finding) for finding in verify_dataset(out, 1, QUIET).findings)


def test_a_sound_set_verifies(out):
    assert whats(out) == ""


def rewritten(out, change):
    """The first train tar with `change` applied to its (name, data), as a build would have written it."""
    path = next(path for path in sorted((out / "toy").glob("train-*.tar")) if b".1.jpg" in path.read_bytes())
    with tarfile.open(path) as archive:
        members = [(info.name, archive.extractfile(info).read()) for info in archive]
    buffer = io.BytesIO()
    writer = TarWriter(buffer)
    for name, data in change(members):
        writer.add(name, data)
    writer.finish()
    path.write_bytes(buffer.getvalue())


def swapped(members):
    """The first two images of a sample in each other's place; JPEGs of one size would fit."""
    place = next(number for number, (name, _) in enumerate(members) if name.endswith(".1.jpg"))
    (first, one), (second, other) = members[place - 1 : place + 1]
    return [*members[: place - 1], (first, other), (second, one), *members[place + 1 :]]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda members: [member for member in members if not member[0].endswith(".1.jpg")], "the index says"),
        (swapped, "sha256 of the image 1 differs"),
        (lambda members: [(n, d[:-40] if n.endswith(".1.jpg") else d) for n, d in members], "the index says"),
        (lambda members: [(n.replace(".1.jpg", ".2.jpg"), d) for n, d in members], "the index says"),
    ],
)
def test_what_is_wrong_with_a_further_image_is_found(tmp_path, change, expected):
    out = built_pairs(tmp_path, (2, 2))
    rewritten(out, change)
    assert expected in whats(out)


def test_records_have_a_bound_and_no_windows():
    image = {"width": 4, "height": 4, "mode": "L", "sha256": "a" * 64}
    known = {"id": "s/t/x", "source": "s", "split": "t", "sensor": "sar", "image": image, "licence": "unknown"}
    assert (
        len(Record.model_validate(known | {"further_images": [image] * (MOST_SAMPLE_IMAGES - 1)}).images)
        == MOST_SAMPLE_IMAGES
    )
    with pytest.raises(ValidationError, match="further_images"):
        Record.model_validate(known | {"further_images": [image] * MOST_SAMPLE_IMAGES})
    tile = image | {"parent": "x", "window": {"x": 0, "y": 0, "width": 4, "height": 4}}
    for changes in ({"image": tile, "further_images": [image]}, {"further_images": [tile]}):
        with pytest.raises(ValidationError, match="several images has none"):
            Record.model_validate(known | changes)


@settings(max_examples=8)
@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=5), st.sampled_from(["jpg", "png"]), st.sampled_from(["L0", "L1"])
)
def test_what_is_built_is_what_is_read(tmp_path_factory, counts, suffix, level):
    out = built_pairs(tmp_path_factory.mktemp("drawn"), counts, suffix=suffix, validation=level)
    shards = ShardSet(out)
    rows = {row["id"]: row for row in shards.table("train").to_pylist()}
    assert [len(shards.images(rows[f"toy/train/train{n:03d}"])) for n in range(len(counts))] == counts
    for row in rows.values():
        record = shards.record(row)
        assert Record.from_json(record.to_json()) == record
        assert [hashlib.sha256(image).hexdigest() for image in shards.images(row)] == [i.sha256 for i in record.images]
        assert (row["further_hash"] is None) == (level == "L0" and len(record.images) > 1)


def test_datasets_reads_a_mixed_set_by_the_features_of_its_card(tmp_path):
    """Guessed features would be those of the first samples; the card's have every image, null where there is none."""
    datasets = pytest.importorskip("datasets")
    out = built_pairs(tmp_path, (1, 3, 2))
    (config, *_) = card_configs(load_manifest(out))
    assert config.suffixes == ("jpg", "1.jpg", "2.jpg")
    features = datasets.Features._from_yaml_list(shard_features(config.suffixes))
    tars = sorted(str(path) for path in (out / "toy").glob("train-*.tar"))
    rows = datasets.load_dataset("webdataset", data_files=tars, split="train", streaming=True, features=features)
    read = {row["json"]["id"]: row for row in rows}
    shown = [sum(row[name] is not None for name in config.suffixes) for _, row in sorted(read.items())]
    assert shown == [1, 3, 2]
    roles = [[image["role"] for image in row["json"]["further_images"] or ()] for _, row in sorted(read.items())]
    assert roles == [[], ["after", "later"], ["after"]]
