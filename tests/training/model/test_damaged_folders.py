"""Damaged folders of models and runs: each command says in one sentence which folder it is and what to do."""

import shutil

import pytest
from click.testing import CliRunner

from cli import main
from mmrs.errors import UserError
from tests.support.damaged_models import DAMAGES, WEIGHTS, edited
from tests.training.micro import make_config
from training.report.monitor import read_metrics
from training.run.train import train

COMMANDS = {
    "eval": "eval {model} {data} --split train --task classification --limit 1 --out {out}/eval",
    "export": "export-model {model} {out}/export",
    "inspect": "inspect {model}",
}
NOT_READ = {"inspect": {"weights", "tokenizer", "processor", "header"}, "eval": {"notes"}}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_model_is_told_in_one_sentence(damage, model_folder, shards, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    DAMAGES[damage](folder)
    for command, words in COMMANDS.items():
        if set(damage.split()) & NOT_READ.get(command, set()):
            continue
        places = {"model": folder, "data": shards, "out": tmp_path / command}
        done = CliRunner().invoke(main, ["--quiet", *(word.format(**places) for word in words.split())])
        assert done.exit_code == 2 and str(folder) in done.output, (command, done.output)
        assert "fault of the program" not in done.output and len(done.output) < 1500


def test_no_run_starts_with_the_processor_of_another_model(model_folder, shards, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    edited("processor_config.json", image_slots=7)(folder)
    with pytest.raises(UserError, match=r"model.path .*\(7, .*of different models"):
        train(make_config(tmp_path / "run", shards, folder))


def test_missing_weights_are_not_made_up(model_folder, tmp_path):
    from safetensors.torch import load_file, save_file

    from training.model import EarthGPTForConditionalGeneration

    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    tensors = load_file(folder / WEIGHTS)
    lost = next(name for name in tensors if "language_model" in name)
    save_file({name: value for name, value in tensors.items() if name != lost}, folder / WEIGHTS, {"format": "pt"})
    with pytest.raises(UserError, match="1 weights are missing"):
        EarthGPTForConditionalGeneration.from_pretrained(folder)


def test_words_of_a_model_do_not_move_the_cursor(model_folder, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    part = {"role": "llm", "origin": "x\x1b[2Jy", "licence": "mit", "digest": "0" * 64, "parameters": 1}
    edited("config.json", origin={"parts": [part]})(folder)
    done = CliRunner().invoke(main, ["inspect", str(folder)])
    assert done.exit_code == 0 and "\x1b" not in done.output and r"x\u001b[2Jy" in done.output


@pytest.mark.parametrize("line", [b"{}", b"3", b"\xff", b"[" * 50_000, b'{"step": "x"}', b'{"step": 1'])
def test_a_damaged_line_of_metrics_is_named(line, tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n' + line + b'\n{"step": 3}\n')
    with pytest.raises(UserError, match=r"metrics.jsonl:2 is no line of a run"):
        read_metrics(path)
    path.write_bytes(b'{"step": 1}\n' + line)
    assert read_metrics(path) == [{"step": 1}]
