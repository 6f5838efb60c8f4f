"""Exports read back by readers that know nothing of them: ours of described data, and the COCO tools."""

import json
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from pycocotools.coco import COCO

import cli
import converters
import mmrs
from mmrs.errors import RunFailure, UserError
from mmrs.export.chat.qwen3_vl import QWEN3_VL_EXPORT
from mmrs.export.format import IGNORED, NO_HORIZONTAL_BOX, image_path
from mmrs.export.run import ExportConfig, write_export
from mmrs.progress import Progress
from tests.support.sources import built_toy

QUIET = Progress(quiet=True)
READ_AS = {
    "coco": {
        "format": "coco",
        "images": "images",
        "annotations": "annotations/{split}.json",
        "classes": ["car", "ship"],
    },
    "dota": {"format": "dota", "annotations": "labels/{split}", "classes": ["car", "ship"]},
    "yolo": {"format": "yolo", "annotations": "labels/{split}", "classes": "data.yaml"},
    "yolo-obb": {"format": "yolo-obb", "annotations": "labels/{split}", "classes": "data.yaml"},
    "geojson": {
        "format": "geojson",
        "images": ".",
        "annotations": "{split}.geojson",
        "classes": ["car", "ship"],
        "options": {"label_property": "label", "image_property": "image", "coordinates": "pixels"},
    },
    "llava": {
        "format": "llava",
        "annotations": "{split}.json",
        "classes": None,
        "images": ".",
        "options": {"task": "vqa"},
    },
}


@pytest.fixture(scope="module")
def location(tmp_path_factory):
    return built_toy(tmp_path_factory.mktemp("exported"), images=12)


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def described(out, form):
    """The export as data of somebody's own."""
    content = {"name": "theirs", "sensor": "optical", "images": "images/{split}", "splits": ["train", "test"]}
    content |= READ_AS[form]
    path = out / "mmrs.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
    return converters.get("generic", description=str(path))


@pytest.mark.parametrize("form", sorted(READ_AS))
def test_a_reader_of_the_format_finds_what_was_there(location, form, tmp_path):
    result = write_export(ExportConfig(location, form, tmp_path / "out"), QUIET)
    converter, data = described(tmp_path / "out", form), mmrs.open(location)
    for split in ("train", "test"):
        found = converter.discover(tmp_path / "out", split)
        assert list(found.problems) == []
        known = {Path(item.image).name: (item, converter.read(item)) for item in found.items}
        samples = list(data.stream([split], shuffle=False))
        assert len(known) == len(samples) == result.counts[split].images
        for sample in samples:
            item, read = known[Path(image_path(sample.record, "jpg", "shards")).name]
            assert Path(item.image).read_bytes() == sample.image_bytes
            if form == "llava":
                asked = [(turns[0].value, turns[1].value) for d in sample.record.dialogues if (turns := d.turns)]
                assert {(one.question, one.answer) for one in read.questions} == set(asked)
                continue
            assert [one.category for one in read.objects] == [one.category for one in sample.record.objects]
            for one, truth in zip(read.objects, sample.record.objects, strict=True):
                assert np.abs(np.array(one.extent()) - truth.extent()).max() <= 0.06


def test_the_coco_tools_read_it(location, tmp_path, capsys):
    write_export(ExportConfig(location, "coco", tmp_path / "out", splits=("train",)), QUIET)
    coco = COCO(tmp_path / "out" / "annotations" / "train.json")
    samples = list(mmrs.open(location).stream(["train"], shuffle=False))
    assert len(coco.imgs) == len(samples) and min(coco.anns) == min(coco.imgs) == 1
    for number, sample in enumerate(samples, start=1):
        assert (tmp_path / "out" / "images" / coco.imgs[number]["file_name"]).is_file()
        for row, truth in zip(coco.imgToAnns[number], sample.record.objects, strict=True):
            x, y, width, height = row["bbox"]
            assert np.allclose((x, y, x + width, y + height), truth.extent(), atol=0.02)
            assert row["area"] == pytest.approx(width * height, abs=0.1) and len(row["segmentation"][0]) == 8
    assert not (tmp_path / "out" / "annotations" / "test.json").exists()


def test_what_a_format_cannot_hold_is_left_out_and_counted(tmp_path, monkeypatch):
    """HIT-UAV: oriented objects without a horizontal box of their own, and ignored regions."""
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    for words in (
        ("sample", "hit-uav", "--out", "raw", "--option", "layouts=[rotate_json]"),
        ("build", "hit-uav", "--root", "hit-uav=raw", "--out", "shards", "--workers", "1"),
    ):
        assert runner.invoke(cli.main, [*words]).exit_code == 0
    objects = [thing for sample in mmrs.open("shards") for thing in sample.record.objects]
    ignored = sum(thing.ignore for thing in objects)
    boxless = sum(thing.hbb is None and not thing.ignore for thing in objects)
    assert ignored and boxless
    for form, obb, left_out in (
        ("yolo", "refuse", {IGNORED: ignored, NO_HORIZONTAL_BOX: boxless}),
        ("yolo", "envelope", {IGNORED: ignored}),
        ("yolo-obb", "refuse", {IGNORED: ignored}),
    ):
        out = tmp_path / f"{form}-{obb}"
        done = runner.invoke(cli.main, ["export", "shards", "--format", form, "--out", str(out), "--obb", obb])
        assert done.exit_code == 0, done.output
        result = write_export(ExportConfig("shards", form, tmp_path / f"again-{form}-{obb}", obb=obb), QUIET)
        counts = list(result.counts.values())
        assert {why: sum(one.left_out[why] for one in counts) for one in counts for why in one.left_out} == left_out
        assert sum(one.objects for one in counts) == len(objects) - sum(left_out.values())
        assert files(out) == files(tmp_path / f"again-{form}-{obb}")
        readme = (out / "README.md").read_text()
        assert "hit-uav: CC-BY-4.0" in readme and all(why in readme for why in left_out)


def test_mistakes_are_named_and_nothing_is_replaced(location, tmp_path):
    def refused(words, **fields):
        with pytest.raises(UserError, match=words):
            write_export(ExportConfig(location, **{"form": "coco", "out": tmp_path / "out", **fields}), QUIET)

    refused("no format 'cocoa' .did you mean 'coco'", form="cocoa")
    refused("no split 'tain'", splits=("tain",))
    refused("no source 'toi'", sources=("toi",))
    refused("coco has one form of boxes: leave out --boxes qwen3-vl", boxes="qwen3-vl")
    refused("no box style 'qwen3' .did you mean 'qwen3-vl'", form="llava", boxes="qwen3")
    refused("--images-from EXPORT` go together", images="link")
    refused("images lie inside", form="messages", images="link", images_from=tmp_path)
    refused("is no finished export", images="link", images_from=tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    refused("full is not empty", out=tmp_path / "full")
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


@pytest.mark.parametrize("name", ["toy/train/../../x", "toy/train//x", "toy/train/a/./b", "toy/train/a\\b"])
def test_no_id_leads_out_of_the_folder(location, name):
    record = mmrs.open(location)[0].record.model_copy(update={"id": name})
    with pytest.raises(RunFailure, match="no place for a file"):
        image_path(record, "jpg", "shards")


def test_without_images_the_labels_are_the_same(location, tmp_path):
    whole = write_export(ExportConfig(location, "llava", tmp_path / "whole"), QUIET).out
    bare = write_export(ExportConfig(location, "llava", tmp_path / "bare", images="none"), QUIET).out
    assert not (bare / "images").exists()
    assert json.loads((bare / "train.json").read_bytes()) == json.loads((whole / "train.json").read_bytes())


def test_a_stopped_export_goes_on_after_its_last_whole_shard(location, tmp_path, monkeypatch):
    """Of six shards the fourth fails once; those before it are not written again, and the bytes are the same."""
    whole = write_export(ExportConfig(location, "qwen3-vl", tmp_path / "whole"), QUIET).out
    written = []

    def failing(samples, part):
        if len(written) == 3:
            written.append("stopped")
            next(iter(samples))
            raise KeyboardInterrupt
        written.append((part.split, part.number))
        return QWEN3_VL_EXPORT.write(samples, part)

    form = replace(QWEN3_VL_EXPORT, write=failing)
    monkeypatch.setattr("mmrs.export.run.export_format", lambda name: form)
    config = ExportConfig(location, "qwen3-vl", tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        write_export(config, QUIET)
    assert not config.out.exists()
    with pytest.raises(UserError, match=r"out\.partial holds another export.*rm -r"):
        write_export(replace(config, obb="envelope"), QUIET)
    write_export(config, QUIET)
    names = [each for each in written if each != "stopped"]
    assert len(names) == len(set(names)) == len(mmrs.open(location)._shards.manifest.shards)
    assert files(config.out) == files(whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "whole"]


def test_images_are_linked_referenced_or_left_out(location, tmp_path):
    def export(name, **fields):
        return write_export(ExportConfig(location, "llava", tmp_path / name, splits=("test",), **fields), QUIET).out

    copied, linked = export("copied"), export("linked", images="link", images_from=tmp_path / "copied")
    for path in (copied / "images").rglob("*.jpg"):
        assert path.samefile(linked / path.relative_to(copied))
    bare = export("bare", images="none")
    assert json.loads((linked / "test.json").read_bytes()) == json.loads((bare / "test.json").read_bytes())
    for row in json.loads((export("named", images="reference") / "test.json").read_bytes()):
        with fsspec.open(row["image"]) as file:
            assert (
                file.read()
                == (copied / "images" / "test" / f"{row['id'].split('/', 2)[0]}")
                .joinpath(f"{row['id'].rpartition('#')[0].rpartition('/')[2]}.jpg")
                .read_bytes()
            )
    with pytest.raises(UserError, match=r"is not there to be linked.*--images copy"):
        write_export(
            ExportConfig(location, "llava", tmp_path / "more", images="link", images_from=tmp_path / "copied"), QUIET
        )
