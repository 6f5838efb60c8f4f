"""Other systems read our shards: webdataset and datasets, every byte and every record."""

import io
import json

import pytest
from PIL import Image

from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.progress import Progress
from mmrs.shards.reader import ShardSet
from tests.support.sources import toy_build, write_toy

QUIET = Progress(quiet=True)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("interoperability")
    write_toy(folder / "toy", images=20)
    recipe = BuildRecipe.model_validate({"sources": [{"name": "toy"}], "shard_bytes": 20_000})
    build(plan_build([toy_build(folder / "toy")], recipe, 1, QUIET), recipe, folder / "out", 1, QUIET)
    return folder / "out"


def ours(out):
    data = ShardSet(out)
    rows = data.table("train").to_pylist()
    return {row["key"]: (data.image(row), json.loads(data.record(row).to_json())) for row in rows}


def test_webdataset_reads_every_sample(out):
    webdataset = pytest.importorskip("webdataset")
    tars = sorted(str(path) for path in (out / "toy").glob("train-*.tar"))
    assert len(tars) > 1
    stream = webdataset.WebDataset(tars, shardshuffle=False)
    theirs = {sample["__key__"]: (sample["jpg"], json.loads(sample["json"])) for sample in stream}
    assert theirs == ours(out)


@pytest.mark.parametrize("streaming", [False, True])
def test_datasets_reads_every_sample(out, tmp_path, monkeypatch, streaming):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    tars = sorted(str(path) for path in (out / "toy").glob("train-*.tar"))
    loaded = datasets.load_dataset(
        "webdataset", data_files={"train": tars}, split="train", streaming=streaming, cache_dir=str(tmp_path)
    )
    expected = ours(out)
    seen = set()
    for sample in loaded:
        image, record = expected[sample["__key__"]]
        with Image.open(io.BytesIO(image)) as decoded:
            assert decoded.tobytes() == sample["jpg"].convert(decoded.mode).tobytes()
        for name in ("id", "source", "split", "sensor", "licence"):
            assert sample["json"][name] == record[name]
        assert [d["turns"] for d in sample["json"]["dialogues"]] == [d["turns"] for d in record["dialogues"]]
        assert [o["quad"] for o in sample["json"]["objects"]] == [o["quad"] for o in record["objects"]]
        seen.add(sample["__key__"])
    assert seen == set(expected)
