"""The leakage guard over real converters, as a user runs it: build, curate, build without the leaks, curate."""

import json

import pytest
import yaml
from click.testing import CliRunner

import cli
from converters import samples
from mmrs.shards.reader import ShardSet

SOURCES = ("rsicd", "aid", "dior", "dior-rsvg")


def mmrs(*words):
    result = CliRunner().invoke(cli.main, ["--quiet", *(str(word) for word in words)])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    root = tmp_path_factory.mktemp("raw")
    for name in SOURCES:
        samples.write(name, root / name)
    path = root / "recipe.yaml"
    content = {"data_root": str(root), "quarantine_ceiling": 0.2, "sources": [{"name": name} for name in SOURCES]}
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.nightly
def test_no_training_image_leaks_into_an_evaluated_split_of_any_source(recipe, tmp_path):
    out = tmp_path / "out"
    mmrs("build", recipe, "--out", out, "--workers", 1)
    before = {(out / path).name: (out / path).read_bytes() for path in _tars(out)}
    assert "build without them: `mmrs build RECIPE" in mmrs("curate", out, "--workers", 1)
    removals = [line for line in _lines(out / "curation.jsonl") if line["kind"] == "removal"]
    evaluated = {line["evaluated"].split("/")[0] for line in removals}
    assert {"aid", "dior-rsvg"} <= evaluated
    assert all(line["id"].split("/")[1] == "train" and line["evaluated"] in line["reason"] for line in removals)

    listed = f"exclude={out / 'curation.jsonl'}"
    said = mmrs("build", recipe, "--out", out, "--workers", 1, "--set", listed)
    assert f"left out by `exclude`: {len(removals)} images" in said
    assert "no group straddles training and evaluation" in mmrs("curate", out, "--workers", 1)
    assert json.loads((out / "curation.json").read_text())["removals"] == {}
    gone = [line for line in _lines(out / "quarantine.jsonl") if line["level"] == "excluded"]
    assert {line["id"]: line["reason"] for line in gone} == {line["id"]: line["reason"] for line in removals}
    after = {(out / path).name: (out / path).read_bytes() for path in _tars(out)}
    assert all(after[name] == before[name] for name in before if not name.startswith("train"))

    assert "(0 written now" in mmrs("build", recipe, "--out", out, "--workers", 1, "--set", listed)
    other = tmp_path / "other"
    mmrs("build", recipe, "--out", other, "--workers", 2, "--set", listed)
    assert ShardSet(other).manifest == ShardSet(out).manifest


def test_what_is_said_to_be_trained_on_is_what_is_guarded(recipe, tmp_path):
    out = tmp_path / "out"
    keys = ("--set", "sources=[{name: dior-rsvg}]", "--set", "train_splits=[train, val, test]")
    mmrs("build", recipe, "--out", out, "--workers", 1, *keys)
    assert "no group straddles" in mmrs("curate", out, "--workers", 1)
    assert "to be removed from training" in mmrs("curate", out, "--workers", 1, "--train-split", "train")


def _tars(out):
    return [shard.path for shard in ShardSet(out).manifest.shards]


def _lines(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]
