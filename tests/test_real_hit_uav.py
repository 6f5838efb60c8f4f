"""The main job's data half on genuine HIT-UAV files, from every layout, read back by other systems."""

import hashlib
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import converters
from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.progress import Progress
from mmrs.shards.reader import ShardSet
from mmrs.source import SourceBuild
from mmrs.verify.dataset import verify_dataset

SAMPLES = Path(os.environ.get("MMRS_SAMPLES", Path(__file__).resolve().parents[2] / "shared" / "samples"))
ROOT = SAMPLES / "hit-uav"
QUIET = Progress(quiet=True)
RECIPE = BuildRecipe.model_validate({"sources": [{"name": "hit-uav"}], "shard_bytes": 6_000_000})
LAYOUTS = ("rotate_json", "normal_json", "normal_xml", "rotate_xml")
COUNTS = {"train": (240, 2125), "val": (48, 411), "test": (96, 781)}

pytestmark = pytest.mark.skipif(not ROOT.is_dir(), reason=f"no genuine samples in {SAMPLES}; set MMRS_SAMPLES")


def run(out: Path, layout: str = "auto", workers: int = 1):
    source = SourceBuild(converters.get("hit-uav", layout=layout), ROOT, tuple(COUNTS))
    build(plan_build([source], RECIPE, workers, QUIET), RECIPE, out, workers, QUIET)
    return out


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hit-uav")
    return {layout: run(folder / layout, layout) for layout in LAYOUTS}


def records(out: Path, split: str) -> dict:
    data = ShardSet(out)
    return {row["id"]: data.record(row) for row in data.table(split).to_pylist()}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_counts_and_verification(built, layout):
    result = verify_dataset(built[layout], 1, QUIET)
    assert (result.findings, result.samples) == ((), 384)
    splits = result.manifest.sources["hit-uav"].splits
    found = {name: (part.records, part.objects + part.ignored_objects) for name, part in splits.items()}
    assert found == COUNTS
    # DontCare is kept and flagged.
    assert {name: part.ignored_objects for name, part in splits.items()} == {"train": 18, "val": 0, "test": 7}


@pytest.mark.parametrize("split", COUNTS)
def test_layouts_agree_object_by_object(built, split):
    reference = records(built["rotate_json"], split)
    others = {layout: records(built[layout], split) for layout in LAYOUTS[1:]}
    for key, record in reference.items():
        rotated, normal = others["rotate_xml"][key].objects, others["normal_json"][key].objects
        assert [o.quad for o in rotated] == [o.quad for o in record.objects]
        assert [o.difficult for o in rotated] == [o.difficult for o in record.objects]
        assert [o.hbb for o in others["normal_xml"][key].objects] == [o.hbb for o in normal]
        for layout in LAYOUTS[1:]:
            assert [(o.category, o.ignore) for o in others[layout][key].objects] == [
                (o.category, o.ignore) for o in record.objects
            ]
            assert others[layout][key].image.sha256 == record.image.sha256
        if normal:
            # The horizontal layouts round the edges of the circumscribed box down: at most one pixel below.
            below = np.array([o.extent() for o in record.objects]) - np.array([o.extent() for o in normal])
            assert below.min() > -1e-3 and below.max() < 1 + 1e-3


@pytest.mark.nightly
def test_one_and_two_workers_and_a_second_build_give_the_same_bytes(built, tmp_path):
    def digests(out):
        files = [path for path in out.rglob("*") if path.is_file() and ".build" not in path.parts]
        return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    first = digests(run(tmp_path / "one"))
    assert len([name for name in first if name.endswith(".tar")]) > 5
    assert digests(run(tmp_path / "again")) == first
    assert digests(run(tmp_path / "two", workers=2)) == first


def test_other_systems_read_every_sample_back(built, tmp_path, monkeypatch):
    webdataset, datasets = pytest.importorskip("webdataset"), pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    out = built["rotate_json"]
    data = ShardSet(out)
    ours = {
        row["key"]: (data.image(row), json.loads(data.record(row).to_json())) for row in data.table("train").to_pylist()
    }
    tars = sorted(str(path) for path in (out / "hit-uav").glob("train-*.tar"))

    theirs = {s["__key__"]: (s["jpg"], json.loads(s["json"])) for s in webdataset.WebDataset(tars, shardshuffle=False)}
    assert theirs == ours

    loaded = datasets.load_dataset("webdataset", data_files={"train": tars}, split="train", cache_dir=str(tmp_path))
    assert len(loaded) == len(ours) == 240
    for sample in loaded:
        image, record = ours[sample["__key__"]]
        assert sample["json"] == record
        with Image.open(io.BytesIO(image)) as decoded:
            assert np.array_equal(np.asarray(decoded), np.asarray(sample["jpg"]))
