"""The page of samples shows what training would read, and leaves nothing else behind."""

from __future__ import annotations

import base64
import io
import re
from html import unescape

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from cli import main
from mmrs.progress import Progress
from tests.training.micro import make_config
from training.data.open import open_training_selection, plan_stream
from training.data.planning.pointer import Position
from training.model import EarthGPTProcessor
from training.run import sample_page
from training.run.sample_page import draw_samples
from training.step.ranks import Ranks

AUGMENT = {"brightness": 0.5, "noise": 12, "dihedral": True}


@pytest.fixture
def config(tmp_path, shards, model_folder):
    changes = {"data": {"augment": AUGMENT}, "loss": {"balance": "sample"}}
    return make_config(tmp_path / "run", shards, model_folder, max_steps=3, **changes)


def first_packs(config, processor):
    stream = plan_stream(config, open_training_selection(config), processor, 256)
    packs = iter(stream.loader(Position(0, stream.start()), Ranks()))
    return [next(packs) for _ in range(config.packs_per_step)]


def test_images_tokens_and_losses_are_those_of_training(config, model_folder, tmp_path):
    processor = EarthGPTProcessor.from_pretrained(model_folder)
    text = draw_samples(config, 3, Progress(quiet=True)).read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run-samples.html"]
    packs = first_packs(config, processor)
    ids = [sample_id for pack in packs for sample_id in pack.sample_ids][:3]
    assert re.findall(r"<h2 class='text'>(.*?)</h2>", text) == ids
    pictures = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
        for data in re.findall(r"src='data:image/png;base64,([^']+)'", text)
    ]
    squares, masks = pictures[::2], pictures[1::2]
    shown = [pixels for pack in packs for pixels in pack.pixel_values_NCHW.permute(0, 2, 3, 1).numpy()]
    assert all(np.array_equal(square, pixels) for square, pixels in zip(squares, shown, strict=False))
    for mask in masks:
        assert not np.triu(mask < 100, 1).any() and (np.diag(mask) < 100).all()
    learnt = [unescape(token) for token in re.findall(r"<span class='loss[^>]*>(.*?)</span>", text)]
    whole = packs[0]
    own = (whole.target_units_T < 3).nonzero()[:, 0] if len(whole.sample_ids) >= 3 else range(whole.targets)
    expected = [processor.tokenizer.decode([int(whole.target_ids_T[place])]) for place in own]
    assert learnt[: len(expected)] == expected
    weights = [float(weight) for weight in re.findall(r", weight ([\d.e-]+)'", text)]
    assert len(weights) == len(learnt) and len(set(weights)) > 1


def test_the_command_draws_a_page_and_the_run_still_starts(config, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(config.to_yaml())
    done = CliRunner().invoke(main, ["--quiet", "train", str(recipe), "--sample", "2"])
    assert done.exit_code == 0 and done.output.strip() == str(tmp_path / "run-samples.html")
    assert not (tmp_path / "run").exists()


def test_nothing_of_the_data_becomes_markup(config, monkeypatch):
    evil = "<script>alert(1)</script>"
    monkeypatch.setattr("training.run.sample_page._tokens", lambda *_: [sample_page._Token(evil, False, 0, None)])
    monkeypatch.setattr("training.data.planning.selection.Selection.sample_id", lambda self, row: f"toy/{evil}")
    text = draw_samples(config, 2, Progress(quiet=True)).read_text()
    assert evil not in text and "&lt;script&gt;" in text and "default-src 'none'" in text
