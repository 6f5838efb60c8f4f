"""No command runs code that lies in a model folder, and none asks on the terminal whether it may."""

import json
import shutil

import pytest
from click.testing import CliRunner

from cli import main
from tests.support.models import save_tiny_model
from training.model import EarthGPTForConditionalGeneration

EVIL = "import os, pathlib\npathlib.Path(os.environ['MARK']).write_text('ran')\nclass T: pass\n"


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("sound"))


def with_code(sound, folder, name, entry):
    """A copy of the model whose file `name` says that code beside it is needed."""
    shutil.copytree(sound, folder)
    (folder / "evil.py").write_text(EVIL)
    path = folder / name
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(content | entry))
    return folder


PLACES = {
    "tokenizer": ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": [None, "evil.T"]}, "tokenizer_class": "T"}),
    "processor": ("processor_config.json", {"auto_map": {"AutoProcessor": "evil.T"}}),
    "image processor": ("preprocessor_config.json", {"auto_map": {"AutoImageProcessor": "evil.T"}}),
    "config": ("config.json", {"auto_map": {"AutoConfig": "evil.T", "AutoModelForImageTextToText": "evil.T"}}),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("command", ["eval", "export-model", "inspect", "train"])
def test_code_of_an_earthgpt_folder_is_not_run(sound, tmp_path, place, command):
    folder = with_code(sound, tmp_path / "model", *PLACES[place])
    words = {
        "eval": ["eval", folder, tmp_path, "--out", tmp_path / "scores"],
        "export-model": ["export-model", folder, "--out", tmp_path / "exported"],
        "inspect": ["inspect", "tiny", "--set", f"model.path={folder}", "--set", "model.preset=null"],
        "train": [
            *("train", "tiny", "--set", f"model.path={folder}", "--set", "model.preset=null"),
            *("--set", f"out={tmp_path / 'run'}"),
        ],
    }[command]
    said = run(words, tmp_path)
    assert "Do you wish" not in said and not (tmp_path / "ran").exists()


def test_code_of_a_language_model_is_refused(tmp_path):
    folder = tmp_path / "llm"
    folder.mkdir()
    (folder / "evil.py").write_text(EVIL)
    (folder / "config.json").write_text(json.dumps({"model_type": "evil", "auto_map": {"AutoConfig": "evil.T"}}))
    said = run(["init", tmp_path / "out", "--llm", folder, "--size", "tiny"], tmp_path)
    assert "brings code of its own, which is never run" in said and not (tmp_path / "ran").exists()


def test_code_for_generation_is_not_run(sound, tmp_path, monkeypatch):
    folder = shutil.copytree(sound, tmp_path / "model")
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(EVIL)
    monkeypatch.setenv("MARK", str(tmp_path / "ran"))
    try:
        EarthGPTForConditionalGeneration.from_pretrained(folder)
    except Exception as error:
        assert "code of its own" in str(error)
    assert not (tmp_path / "ran").exists()


def run(words, folder):
    """What a command says whose terminal answers yes to everything."""
    done = CliRunner().invoke(main, list(map(str, words)), input="y\n" * 20, env={"MARK": str(folder / "ran")})
    assert done.exit_code, done.output
    return done.output
