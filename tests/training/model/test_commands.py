"""`mmrs init`, `mmrs inspect` and `mmrs export-model` as a user types them."""

import json

import pytest
import torch
from click.testing import CliRunner
from transformers import AutoTokenizer, LlamaForCausalLM

import cli
from tests.training.micro import make_config
from tests.training.model.assembly.test_assemble import write_llama
from training.config.parameter_sets import _VECTOR_PATTERN, NORMS
from training.model import EarthGPTForConditionalGeneration, EarthGPTProcessor
from training.model.language.bias_scale import tuned_vectors
from training.run.train import train


def mmrs(*words):
    return CliRunner().invoke(cli.main, [str(word) for word in words])


@pytest.fixture(scope="module")
def run(tmp_path_factory, shards, model_folder):
    """A run that trained tuning vectors and norms."""
    rules = [{"pattern": pattern, "learning_rate": 1e-2} for pattern in (_VECTOR_PATTERN, NORMS)]
    stage = {"name": "b", "tuning": {"kind": "bias-scale"}, "trainable": rules}
    return train(make_config(tmp_path_factory.mktemp("run"), shards, model_folder, stage=stage, max_steps=2)).model


@torch.no_grad()
def logits(folder):
    model = EarthGPTForConditionalGeneration.from_pretrained(folder).eval()
    return model(torch.tensor([[0, 9, 30, 41, 7]])).logits


@pytest.mark.parametrize("words", [("--llm", "https://me:secret@host/x"), ("--llm", "x", "--encoder", "vit=s3://b/x")])
def test_init_of_a_url_is_refused_before_anything_is_asked(tmp_path, monkeypatch, words):
    monkeypatch.setattr("training.model.assembly.assemble.assemble", None)
    result = mmrs("init", str(tmp_path / "model"), *words)
    assert result.exit_code == 2 and "is a URL; give a folder" in result.output and "secret" not in result.output


def test_init_then_inspect(tmp_path):
    llama = write_llama(tmp_path / "llama")
    made = mmrs(
        "init", tmp_path / "model", "--llm", llama, "--size", "tiny", "--set", "fusion=sum", "--set", "vit.layers=[2]"
    )
    assert made.exit_code == 0, made.output
    assert "licence: llama2" in made.output and "random weights" in made.output
    shown = mmrs("inspect", tmp_path / "model")
    assert shown.exit_code == 0 and "llm  llama  licence: llama2" in shown.output
    assert "model.projector.align" in shown.output and " 0  float32" in shown.output
    again = mmrs("init", tmp_path / "model", "--llm", llama, "--size", "tiny")
    assert again.exit_code == 2 and "is not empty" in again.output


@pytest.mark.parametrize(
    ("recipe", "trained"), [("stage-a-7b", 2_163_761_152), ("stage-b-7b", 2_719_744), ("lora-7b", 39_976_960)]
)
def test_inspect_shows_what_a_recipe_trains_at_paper_scale(recipe, trained):
    if recipe == "lora-7b":
        pytest.importorskip("peft", reason="peft is not installed (pip install 'mmrs[lora]')")
    shown = mmrs("inspect", "7b", "--recipe", recipe)
    assert shown.exit_code == 0, shown.output
    total = next(line for line in shown.output.splitlines() if line.startswith("total"))
    assert total.split()[2] == f"{trained:,}"
    assert "activations of a pack, with activation checkpointing" in shown.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("init", "OUT", "--llm", "absent"), "there is no file or folder absent"),
        (("init", "OUT", "--llm", "LLAMA", "--size", "huge"), "no preset 'huge'"),
        (("init", "OUT", "--llm", "LLAMA", "--set", "fusion=add", "--size", "tiny"), "fusion is 'add'; set one of"),
        (("init", "OUT", "--llm", "LLAMA", "--set", "depth"), "must look like NAME=VALUE"),
        (("inspect", "absent"), "neither a folder nor a preset"),
        (("inspect", "LLAMA"), "holds a llama model, not an EarthGPT. Make one of it: `mmrs init"),
        (("inspect", "7b", "--set", "a=b"), "give --recipe too"),
        (("inspect", "7b", "--recipe", "absent"), "recipe absent not found"),
        (("export-model", "absent", "OUT"), "holds no model"),
        (("export-model", "LLAMA", "OUT"), "holds a llama model"),
        (("export-model", "RUN", "RUN"), "is not empty"),
        (("export-model", "RUN", "OUT", "--form", "delta"), "--base FOLDER"),
        (("export-model", "RUN", "OUT", "--delta", "absent"), "holds no delta checkpoint"),
        (("export-model", "RUN", "OUT", "--scores", "absent.json"), "no scores.json"),
        (("export-model", "MODEL", "OUT", "--form", "delta", "--base", "MODEL"), "has no tuning vectors"),
    ],
)
def test_mistakes_end_with_2_and_a_next_step(tmp_path, run, model_folder, words, message):
    places = {"OUT": tmp_path / "out", "RUN": run, "MODEL": model_folder, "LLAMA": tmp_path / "llama"}
    if "LLAMA" in words:
        write_llama(tmp_path / "llama")
    done = mmrs(*(places.get(word, word) for word in words))
    assert done.exit_code == 2 and message in done.output, done.output
    assert not (tmp_path / "out").exists()


def test_an_exported_model_is_plain_and_answers_the_same(run, tmp_path):
    row = {
        "source": "toy", "task": "detection-hbb", "protocol": "detection-hbb/f1-50", "metric": "f1", "value": 0.25,
        "interval_95": [0.1, 0.4], "constant_value": 0, "images": 9, "questions": 9, "failed": 2,
    }  # fmt: skip
    scores = {"split": "test", "data_set": "id", "rows": [row]}
    (tmp_path / "scores.json").write_text(json.dumps(scores))
    done = mmrs("export-model", run, tmp_path / "out", "--scores", tmp_path / "scores.json")
    assert done.exit_code == 0, done.output
    model = EarthGPTForConditionalGeneration.from_pretrained(tmp_path / "out")
    assert model.config.tuning is None and not tuned_vectors(model)
    torch.testing.assert_close(logits(tmp_path / "out"), logits(run), atol=1e-5, rtol=1e-5)
    assert EarthGPTProcessor.from_pretrained(tmp_path / "out").image_slots == model.config.image_slots
    card = (tmp_path / "out" / "README.md").read_text()
    assert (
        "| toy test | detection-hbb/f1-50 | f1 | 0.250 (0.100 to 0.400) | 0.000 | 9 | 9 | 2 | `id` |" in card
        and "| b | bias-scale |" in card
    )


def test_a_bf16_model_folds_without_rounding_where_fp32_is_asked_for(run, tmp_path):
    model = EarthGPTForConditionalGeneration.from_pretrained(run, dtype=torch.bfloat16)
    model.save_pretrained(tmp_path / "half")
    EarthGPTProcessor.from_pretrained(run).save_pretrained(tmp_path / "half")
    assert mmrs("export-model", tmp_path / "half", tmp_path / "out", "--dtype", "float32").exit_code == 0
    name = "model.language_model.layers.0.mlp.up_proj"
    tuned, plain = model.get_submodule(name), EarthGPTForConditionalGeneration.from_pretrained(tmp_path / "out")
    folded = plain.get_submodule(name).weight
    assert folded.dtype == torch.float32 and not torch.equal(folded, folded.bfloat16().float())
    assert torch.equal(folded, tuned.scale_tune[:, None] * tuned.weight.float())


def test_the_language_model_alone(run, tmp_path):
    assert mmrs("export-model", run, tmp_path / "out", "--form", "language-model").exit_code == 0
    llama = LlamaForCausalLM.from_pretrained(tmp_path / "out").eval()
    with torch.no_grad():
        alone = llama(torch.tensor([[0, 9, 30, 41, 7]])).logits
    torch.testing.assert_close(alone, logits(run), atol=1e-5, rtol=1e-5)
    assert AutoTokenizer.from_pretrained(tmp_path / "out").encode("1") == AutoTokenizer.from_pretrained(run).encode("1")


def test_a_delta_goes_onto_its_base_and_no_other(run, model_folder, tmp_path):
    done = mmrs("export-model", run, tmp_path / "delta", "--form", "delta", "--base", model_folder)
    assert done.exit_code == 0 and "further tensors" in done.output, done.output
    done = mmrs("export-model", model_folder, tmp_path / "out", "--delta", tmp_path / "delta")
    assert done.exit_code == 0, done.output
    torch.testing.assert_close(logits(tmp_path / "out"), logits(run), atol=1e-5, rtol=1e-5)
    refused = mmrs("export-model", tmp_path / "out", tmp_path / "more", "--delta", tmp_path / "delta")
    assert refused.exit_code == 2 and "was trained on" in refused.output
    foreign = mmrs("export-model", run, tmp_path / "other", "--form", "delta", "--base", tmp_path / "out")
    assert foreign.exit_code == 2 and "is not what" in foreign.output
