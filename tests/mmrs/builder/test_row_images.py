"""Images in rows of tables are built as the same images in files are."""

import json
import os
from dataclasses import dataclass, replace

import numpy as np
import pytest

import mmrs.imaging.row_images as row_images
from mmrs.builder.plan import PlannedSample, plan_split
from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.builder.survey.splits import survey_splits
from mmrs.errors import BadItem
from mmrs.imaging.probe import ImageProbe
from mmrs.imaging.row_images import read_row_images
from mmrs.progress import Progress
from mmrs.record import Annotations, Provenance
from mmrs.shards.reader import ShardSet
from mmrs.source import Item, RowImage
from tests.support.sources import ToySource, noise_image, toy_build
from tests.support.tables import TableSource, write_table

QUIET = Progress(quiet=True)
RECIPE = BuildRecipe.model_validate({"sources": [{"name": "toy"}], "shard_bytes": 30_000, "quarantine_ceiling": 1})


@dataclass(frozen=True)
class FileSource(ToySource):
    """The same images in files, without objects."""

    def read(self, item):
        return Annotations(provenance=Provenance(original_id=item.image.name))


@pytest.fixture
def pictures(tmp_path):
    """name -> bytes of 14 images: JPEGs and three PNGs, also written as files and as a table in another order."""
    generator = np.random.default_rng(0)
    made = {}
    for number in range(14):
        suffix = "png" if number in (3, 11, 12) else "jpg"
        made[f"picture{number:02d}.{suffix}"] = noise_image(generator, suffix=suffix)
    for split in ("train", "test"):
        (tmp_path / "files" / split).mkdir(parents=True)
        for name, content in made.items():
            (tmp_path / "files" / split / name).write_bytes(content)
        order = np.random.default_rng(1).permutation(sorted(made)).tolist()
        write_table(tmp_path / "tables" / f"{split}.parquet", [made[name] for name in order], order)
    return made


def built(root, out, source, workers=1):
    told = []
    plan = plan_build([toy_build(root, source)], RECIPE, workers, QUIET)
    result = build(plan, RECIPE, out, workers, QUIET, announce=told.append)
    return result, {task.path: (reason.what, reason.at) for task, reason in told[0].missing}


def stored(out):
    shards = ShardSet(out)
    rows = [row for split in ("train", "test") for row in shards.table(split).to_pylist()]
    return {row["id"]: (row["sha256"], row["reencoded"], row["perceptual_hash"]) for row in rows}


@pytest.mark.parametrize("tile_pixels", [None, 32])
def test_the_same_images_as_from_files(tmp_path, pictures, tile_pixels):
    files, _ = built(tmp_path / "files", tmp_path / "a", FileSource(tile_pixels=tile_pixels, keep_empty=1.0))
    rows, _ = built(tmp_path / "tables", tmp_path / "b", TableSource(tile_pixels=tile_pixels, keep_empty=1.0))
    assert stored(tmp_path / "a") == stored(tmp_path / "b")
    assert len(stored(tmp_path / "b")) == 28 * (1 if tile_pixels is None else 6)
    assert files.quarantine == rows.quarantine == ()


def test_any_number_of_workers_gives_the_same_bytes(tmp_path, pictures):
    ids = {built(tmp_path / "tables", tmp_path / f"out{n}", TableSource(), n)[0].manifest.id for n in (1, 2)}
    assert len(ids) == 1


def test_blocks_stay_in_one_shard_and_shards_are_filled(tmp_path, pictures):
    plan = plan_build([toy_build(tmp_path / "tables", TableSource())], RECIPE, 1, QUIET)
    shards = [{sample.block for sample in task.samples} for task in plan.tasks if task.split == "train"]
    assert len(shards) > 1 and sum(map(len, shards)) == len(set().union(*shards)) == 2


def test_a_block_ends_where_the_order_of_others_begins():
    header = ImageProbe(8, 8, "JPEG", "RGB", 1000, 0, 1, None)
    samples = [
        PlannedSample(Item(f"s{row:02d}", RowImage(None, row, f"s{row:02d}.jpg", "image", f"b{row // 10}")), header)
        for row in range(40)
    ]
    (first, *_) = plan_split(samples, 0, 2 * 10 * (1000 + 3072))
    blocks = [sample.block for sample in first]
    assert len(first) == 20 and len(set(blocks)) == 2
    assert blocks != sorted(blocks), "rows of one block must lie apart"


def test_a_second_build_reads_nothing_and_a_changed_table_is_named(tmp_path, pictures, monkeypatch):
    root, out = tmp_path / "tables", tmp_path / "out"
    _, first = built(root, out, TableSource())
    assert set(first.values()) == {("not written yet", ())}
    assert built(root, out, TableSource())[1] == {}
    os.utime(root / "test.parquet", (1, 1))
    reasons = built(root, out, TableSource())[1]
    assert reasons and all("test" in path for path in reasons)
    assert all(what == "source file changed" and at[0].startswith("test.parquet/row ") for what, at in reasons.values())


def test_bad_rows_cost_themselves_and_are_named(tmp_path):
    generator = np.random.default_rng(0)
    good = [noise_image(generator) for _ in range(4)]
    write_table(
        tmp_path / "train.parquet", [good[0], None, b"", b"no image", good[1][:200]], [f"a{n}.jpg" for n in range(5)]
    )
    write_table(tmp_path / "test.parquet", good, [f"b{n}.jpg" for n in range(4)])
    result, _ = built(tmp_path, tmp_path / "out", TableSource())
    assert [(entry.path, entry.reason[:22]) for entry in result.quarantine] == [
        ("train.parquet/row 1/a1.jpg", "the row has no image b"),
        ("train.parquet/row 2/a2.jpg", "image file is empty (0"),
        ("train.parquet/row 3/a3.jpg", "not an image: no known"),
        ("train.parquet/row 4/a4.jpg", result.quarantine[3].reason[:22]),
    ]
    assert result.manifest.sources["toy"].splits["train"].records == 1


def test_a_table_that_changes_between_survey_and_shard_costs_its_images(tmp_path, pictures):
    root = tmp_path / "tables"
    plan = plan_build([toy_build(root, TableSource())], RECIPE, 1, QUIET)
    (root / "test.parquet").write_bytes(b"PAR1 no table")
    result = build(plan, RECIPE, tmp_path / "out", 1, QUIET)
    assert {entry.split for entry in result.quarantine} == {"test"} and len(result.quarantine) == 14
    assert "the table cannot be read" in result.quarantine[0].reason
    write_table(root / "train.parquet", [next(iter(pictures.values()))], ["x.jpg"], other=[1])
    (image,) = [RowImage(root / "train.parquet", 5, "y.jpg", "image.bytes", "b")]
    assert [(content.path, content.reason) for _, content in read_row_images([image])] == [
        (str(image), "the table has no such row any more")
    ]
    for column in ("gone.bytes", "image.gone", "other", "image.path"):
        ((_, fault),) = read_row_images([replace(image, row=0, column=column)])
        assert isinstance(fault, BadItem), column


def test_a_survey_reads_each_row_once_and_one_at_a_time(tmp_path, pictures, monkeypatch):
    read, largest = [], []
    real = row_images._cells

    def counted(batch, column):
        read.append(batch.num_rows)
        largest.append(batch.num_rows)
        return real(batch, column)

    monkeypatch.setattr(row_images, "_cells", counted)
    survey_splits([toy_build(tmp_path / "tables", TableSource(), ("train",))], 0, 1, QUIET)
    assert sum(read) == 14 and max(largest) == 1


def test_names_of_rows_are_as_those_of_files(tmp_path):
    image = RowImage(tmp_path / "t.parquet", 7, "a.b.tif", "image.bytes", "x")
    item = Item("a.b", image)
    assert (image.stem, image.suffix, str(item.place)) == ("a.b", ".tif", f"{tmp_path}/t.parquet/row 7/a.b.tif")
    with pytest.raises(BadItem, match="a file of its own is expected"):
        _ = item.file
    assert Item("a", tmp_path / "a.png").file == tmp_path / "a.png"


def test_records_say_nothing_of_tables(tmp_path, pictures):
    built(tmp_path / "tables", tmp_path / "out", TableSource())
    shards = ShardSet(tmp_path / "out")
    row = shards.table("train").to_pylist()[0]
    assert "parquet" not in json.dumps(json.loads(shards.record(row).to_json()))
