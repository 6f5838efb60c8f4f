"""`mmrs demo`, small: every step runs on what the one before it wrote, and a second run goes on where it stopped."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

import cli
from mmrs.installation import shipped_recipes
from training.commands import demo, recipe

SMALL_DETECTION = demo.DETECTION | {"images_per_split": "{train: 12, val: 2, test: 4}"}


@pytest.fixture
def small_demo(monkeypatch, tmp_path):
    """The demo with few images and one epoch."""
    content = yaml.safe_load(shipped_recipes("training")["demo"].read_text())
    content |= {"epochs": 1, "threads": 1, "workers": 0}
    small_recipe = tmp_path / "demo.yaml"
    small_recipe.write_text(yaml.safe_dump(content))
    monkeypatch.setattr(recipe, "shipped_recipes", lambda package: {"demo": small_recipe})
    monkeypatch.setattr(demo, "DETECTION", SMALL_DETECTION)
    monkeypatch.setattr(demo, "CLASSIFICATION", {"images_per_class": "3"})

    def run(out: Path):
        return CliRunner().invoke(cli.main, ["--quiet", "--debug", "demo", "--out", str(out), "--workers", "1"])

    return run


@pytest.mark.nightly
def test_the_demo_runs_through_and_again(small_demo, tmp_path):
    out = tmp_path / "demo"
    result = small_demo(out)
    assert result.exit_code == 0, result.output
    for name in ("shards", "model", "scores", "predictions"):
        place = next(line.split()[-1] for line in result.output.splitlines() if line.startswith(f"{name} "))
        assert Path(place).exists()
    rows = json.loads((out / "scores" / "scores.json").read_text())["rows"]
    assert [(row["task"], row["source"], row["images"]) for row in rows] == [
        ("classification", "ucmerced", 21),
        ("detection-hbb", "hit-uav", 4),
    ]
    with Image.open(out / "scores" / "predictions.png") as picture:
        assert picture.width > 500
    weights = (out / "run" / "model" / "model.safetensors").read_bytes()

    again = small_demo(out)
    assert again.exit_code == 0, again.output
    assert "$ mmrs sample" not in again.output and "0 written now" in again.output
    assert (out / "run" / "model" / "model.safetensors").read_bytes() == weights


def test_a_folder_of_somebody_elses_stays(small_demo, tmp_path):
    mine = tmp_path / "demo" / "raw" / "hit-uav" / "precious.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    result = small_demo(tmp_path / "demo")
    assert result.exit_code == 2 and "no sample of an earlier `mmrs demo`" in str(result.output)
    assert mine.read_text() == "mine"


def test_a_sample_that_was_interrupted_is_begun_anew(small_demo, tmp_path, monkeypatch):
    """Its marker tells it from a folder of somebody else."""
    commands = []
    monkeypatch.setattr(demo, "_step", lambda ctx, name, *words: commands.append(name))
    half = tmp_path / "raw" / "hit-uav"
    half.mkdir(parents=True)
    demo._sample(None, "hit-uav", half, {})
    (half.with_suffix(".finished")).unlink()
    (half.parent / "hit-uav").mkdir(exist_ok=True)
    (half / "half").write_text("half")
    demo._sample(None, "hit-uav", half, {})
    assert commands == ["sample", "sample"] and not half.exists()


def test_what_the_demo_lacks_is_said_before_it_makes_anything(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "find_spec", lambda module: None if module == "safetensors" else find_spec(module))
    result = CliRunner().invoke(cli.main, ["demo", "--out", str(tmp_path / "out")])
    assert result.exit_code == 2 and "pip install 'mmrs[train]'" in result.output
    assert not (tmp_path / "out").exists()
