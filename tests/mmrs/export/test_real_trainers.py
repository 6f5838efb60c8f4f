"""Exports as the trainers' own code loads them, each in an environment of its own: `make trainers`."""

import json
import os
import subprocess
from pathlib import Path

import pytest

import mmrs
from mmrs.export.run import ExportConfig, write_export
from mmrs.progress import Progress
from tests.support.sources import built_toy

QUIET = Progress(quiet=True)
SCRIPTS = Path(__file__).parents[2] / "support" / "trainers"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")

pytestmark = pytest.mark.nightly


@pytest.fixture(scope="module")
def location(tmp_path_factory):
    return built_toy(tmp_path_factory.mktemp("exported"), images=10)


def loaded_by(trainer, script, arguments, folder, out):
    """The rows that a trainer makes of an export, without any network."""
    python = CACHE / "mmrs" / "trainers" / trainer / "bin" / "python"
    if not python.exists():
        pytest.skip(f"no {trainer} in an environment of its own ({python}): make trainers")
    caches = {name: str(out.parent / "cache") for name in ("HF_HOME", "MODELSCOPE_CACHE")}
    command = [python, SCRIPTS / script, *arguments, out]
    done = subprocess.run(
        [*map(str, command)],
        cwd=folder,
        env={**os.environ, **caches, "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    print(done.stdout.splitlines()[-1])
    return [json.loads(line) for line in out.read_bytes().splitlines()]


def test_ms_swift_has_every_row_as_it_was_written(location, tmp_path):
    folder = write_export(ExportConfig(location, "ms-swift", tmp_path / "out"), QUIET).out
    written = [json.loads(line) for line in (folder / "train.jsonl").read_bytes().splitlines()]
    rows = loaded_by("ms-swift", "ms_swift_rows.py", ["train.jsonl"], folder, tmp_path / "rows.jsonl")
    truths = {sample.id: sample.record for sample in mmrs.open(location)}
    assert len(rows) == len(written) > 10
    for row, line in zip(rows, written, strict=True):
        assert row["messages"] == line["messages"] and row["channel"] == line["channel"]
        (image,) = row["images"]
        assert image == {"bytes": None, "path": line["images"][0]} and (folder / image["path"]).is_file()
        boxes = [tuple(box) for box in row["objects"]["bbox"]]
        known = {(thing.category, thing.hbb) for thing in truths[line["id"].rpartition("#")[0]].objects}
        assert row["objects"]["bbox_type"] == "real" and len(boxes) == len(row["objects"]["ref"]) > 0
        assert set(zip(row["objects"]["ref"], boxes, strict=True)) <= known


def test_llama_factory_has_every_row_as_it_was_written(location, tmp_path):
    folder = write_export(ExportConfig(location, "llama-factory", tmp_path / "out", boxes="qwen3-vl"), QUIET).out
    written = [json.loads(line) for line in (folder / "train.jsonl").read_bytes().splitlines()]
    rows = loaded_by("llama-factory", "llama_factory_rows.py", [folder, "mmrs_train"], folder, tmp_path / "rows.jsonl")
    assert len(rows) == len(written) > 10
    for row, line in zip(rows, written, strict=True):
        asked, answer = (turn["value"] for turn in line["conversations"])
        assert row["_prompt"] == [{"role": "user", "content": asked}]
        assert row["_response"] == [{"role": "assistant", "content": answer}]
        assert row["_images"] == [str(folder / line["images"][0])]
        assert json.loads(answer)[0].keys() == {"bbox_2d", "label"}
