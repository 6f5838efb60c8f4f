"""LoRA through peft: the start changes nothing, a run trains the adapters alone, merging is exact."""

import re
import shutil

import pytest
import torch

from mmrs.errors import UserError
from tests.training.micro import make_config
from training.config import StageConfig
from training.config.parameter_sets import SETS
from training.model import EarthGPTForConditionalGeneration, initialise
from training.model.origin.digest import weights_digest
from training.model.tuning.lora import LoraOptions, add_lora, merged_state, save_adapter, target_layers
from training.model.tuning.vectors import add_tuning
from training.report.model_report import inspect
from training.run.final_model import save_result
from training.run.train import train
from training.stages.stage import add_tuned_parameters, apply_stage

peft = pytest.importorskip("peft", reason="peft is not installed (pip install 'mmrs[lora]')")
TEXT = torch.tensor([[0, 9, 30, 41, 7, 5, 88]])
TUNING = {"kind": "lora", "rank": 4, "alpha": 8}


@torch.no_grad()
def logits(model):
    return model(TEXT).logits


@torch.no_grad()
def disturb(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.named_parameters():
        if ".lora_" in name:
            value += 0.1 * torch.randn(value.shape, generator=generator)


def test_the_start_is_the_base_and_a_function_of_the_seed(make_config):
    models = [initialise(make_config(), 0).eval() for _ in range(3)]
    expected = logits(models[0])
    for model, seed in zip(models, (0, 0, 1), strict=True):
        torch.rand(1)
        add_lora(model, LoraOptions(4, 8.0), seed)
        assert torch.equal(logits(model), expected)
    first, same, other = (
        {name: value for name, value in model.named_parameters() if "lora_A" in name} for model in models
    )
    assert len(first) == 2 * 7
    assert all(torch.equal(value, same[name]) for name, value in first.items())
    assert not any(torch.equal(value, other[name]) for name, value in first.items())


def test_the_set_is_the_adapters(model):
    stage = StageConfig(tuning=TUNING, trainable=[{"set": "adapters", "learning_rate": 1e-3}])
    add_tuned_parameters(model, stage, seed=0)
    trained = [row.name for row in apply_stage(model, stage) if row.learning_rate is not None]
    assert trained == [name for name, _ in model.named_parameters() if ".lora_" in name]
    assert len(trained) == 2 * 2 * 7 and not any(name.startswith("model.vision") for name in trained)


def test_merged_weights_answer_as_the_adapters_do(make_config, tmp_path):
    model, plain = initialise(make_config(), 0).eval(), initialise(make_config(), 0).eval()
    add_lora(model, LoraOptions(4, 8.0), 0)
    disturb(model)
    adapted = logits(model)
    save_adapter(tmp_path, model, model.state_dict(), "base")
    plain.load_state_dict(merged_state(model, model.state_dict()))
    torch.testing.assert_close(logits(plain), adapted, atol=1e-5, rtol=1e-5)
    loaded = peft.PeftModel.from_pretrained(initialise(make_config(), 0).eval(), tmp_path)
    assert loaded.peft_config["default"].base_model_name_or_path == "base"
    torch.testing.assert_close(logits(loaded), adapted, atol=0, rtol=0)
    assert merged_state(model.bfloat16(), model.state_dict())["lm_head.weight"].dtype == torch.bfloat16


def test_what_does_not_go_together_is_refused(model, make_config):
    add_lora(model, LoraOptions(4, 8.0), 0)
    with pytest.raises(ValueError, match="has adapters"):
        add_lora(model, LoraOptions(4, 8.0), 0)
    tuned = initialise(make_config(), 0)
    add_tuning(tuned, "bias")
    with pytest.raises(ValueError, match="tuned with tuning='bias'"):
        add_lora(tuned, LoraOptions(4, 8.0), 0)
    with pytest.raises(ValueError, match="leave it out"):
        StageConfig(tuning=TUNING | {"head": True}, trainable=[{"set": "adapters", "learning_rate": 1e-3}])


@pytest.mark.nightly
def test_a_run_trains_saves_and_merges_the_adapters(shards, model_folder, tmp_path):
    stage = {"tuning": TUNING, "trainable": [{"set": "adapters", "learning_rate": 1e-2}]}
    parts = {"schedule": {"total_steps": 4}, "stage": stage}
    train(make_config(tmp_path / "parts", shards, model_folder, max_steps=2, **parts))
    result = train(make_config(tmp_path / "parts", shards, model_folder, max_steps=4, **parts))
    assert result.resumed_from == 2
    merged = EarthGPTForConditionalGeneration.from_pretrained(result.model).eval()
    base = EarthGPTForConditionalGeneration.from_pretrained(model_folder).eval()
    pattern = SETS["adapters"].replace(r"lora_(A|B|magnitude_vector)\..*", "weight")
    moved = {name for name, value in merged.named_parameters() if not torch.equal(value, base.get_parameter(name))}
    adapted = {name for name, _ in base.named_parameters() if re.fullmatch(pattern, name)}
    assert moved == adapted
    loaded = peft.PeftModel.from_pretrained(base, tmp_path / "parts" / "adapter")
    torch.testing.assert_close(logits(loaded), logits(merged), atol=1e-5, rtol=1e-5)
    assert merged.config.origin["training"][0]["tuning"] == "lora"
    whole = train(make_config(tmp_path / "whole", shards, model_folder, max_steps=4, **parts))
    assert weights_digest(EarthGPTForConditionalGeneration.from_pretrained(whole.model)) == weights_digest(merged)


@pytest.mark.parametrize("form", [{"dora": True}, {"rank_stabilised": True}, {"dora": True, "rank_stabilised": True}])
def test_every_form_starts_at_the_base_and_merges_to_what_it_answers(make_config, tmp_path, form):
    model, plain = initialise(make_config(), 0).eval(), initialise(make_config(), 0).eval()
    expected = logits(plain)
    add_lora(model, LoraOptions(4, 8.0, **form), 0)
    torch.testing.assert_close(logits(model), expected, rtol=0, atol=2e-6)
    disturb(model)
    tuned = logits(model)
    assert (tuned - expected).abs().max() > 1e-2
    plain.load_state_dict(merged_state(model, model.state_dict()))
    torch.testing.assert_close(logits(plain), tuned, rtol=1e-4, atol=1e-4)
    save_adapter(tmp_path, model, model.state_dict(), "base")
    base = initialise(make_config(), 0).eval()
    read = peft.PeftModel.from_pretrained(base, tmp_path)
    torch.testing.assert_close(logits(read.base_model.model), tuned, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("targets", "count"),
    [(("all",), 7), (("attention",), 4), (("attention-inputs",), 3), (("mlp",), 3), (("q_proj", "v_proj"), 2),
     (("q_proj", "mlp"), 4)],
)  # fmt: skip
def test_adapters_go_to_the_chosen_layers(model, targets, count):
    add_lora(model, LoraOptions(4, 8.0, targets=targets), 0)
    chosen = {name.partition(".lora_")[0] for name, _ in model.named_parameters() if ".lora_" in name}
    wanted = target_layers(model.config.decoder_kind, targets)
    assert len(wanted) == count and {name.split(".", 4)[4] for name in chosen} == set(wanted)


def test_a_layer_that_is_not_there_is_refused(model):
    stage = StageConfig(
        tuning={"kind": "lora", "targets": ["qproj"]}, trainable=[{"set": "adapters", "learning_rate": 1e-3}]
    )
    with pytest.raises(UserError, match=r"a llama has no 'qproj'.*q_proj.*choose among all, attention"):
        add_tuned_parameters(model, stage, seed=0)


@pytest.mark.nightly
@pytest.mark.parametrize("form", [{"dora": True, "targets": "attention"}, {"quantised": "nf4"}])
def test_a_run_with_each_form_ends_in_what_it_trained(shards, model_folder, tmp_path, monkeypatch, form):
    """Held out, resumed, merged: the saved model answers as the one that trained."""
    if "quantised" in form:
        pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed (pip install 'mmrs[qlora]')")
    monkeypatch.setattr("training.run.train.plot_run", lambda out, image: None)
    stage = {"tuning": TUNING | form, "trainable": [{"set": "adapters", "learning_rate": 1e-2}]}
    trained = []

    def keep(out, model, state, *more):
        trained.append(logits(model.eval()))
        save_result(out, model, state, *more)

    monkeypatch.setattr("training.run.train.save_result", keep)
    options = {"stage": stage, "tokens_per_step": 320, "checkpoint": {"every_steps": 2, "keep_last": 9}}
    straight = train(make_config(tmp_path / "straight", shards, model_folder, max_steps=4, **options))
    saved = EarthGPTForConditionalGeneration.from_pretrained(straight.model)
    assert not hasattr(saved.config, "quantization_config")
    torch.testing.assert_close(logits(saved.eval()), trained[0], rtol=1e-4, atol=1e-4)
    base = EarthGPTForConditionalGeneration.from_pretrained(model_folder)
    assert (logits(base.eval()) - trained[0]).abs().max() > 1e-3
    broken = make_config(tmp_path / "resumed", shards, model_folder, max_steps=4, **options)
    shutil.copytree(straight.out, broken.out)
    for gone in ("checkpoints/step-00000004", "model", "adapter"):
        shutil.rmtree(broken.out / gone)
    resumed = train(broken)
    name = "checkpoints/step-00000004/trainable.safetensors"
    assert resumed.resumed_from == 2 and (resumed.out / name).read_bytes() == (straight.out / name).read_bytes()


def test_without_its_library_no_base_is_quantised(shards, model_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("training.model.tuning.quantised.importlib.util.find_spec", lambda name: None)
    stage = {"tuning": TUNING | {"quantised": "nf4"}, "trainable": [{"set": "adapters", "learning_rate": 1e-2}]}
    with pytest.raises(UserError, match=r"quantised=nf4 needs bitsandbytes.*pip install 'mmrs\[qlora\]'"):
        train(make_config(tmp_path / "run", shards, model_folder, max_steps=1, stage=stage))


def test_inspect_predicts_what_a_quantised_base_takes(model_folder, tmp_path, shards):
    stage = {"tuning": TUNING | {"quantised": "nf4"}, "trainable": [{"set": "adapters", "learning_rate": 1e-2}]}
    said = inspect(str(model_folder), make_config(tmp_path / "run", shards, model_folder, max_steps=1, stage=stage))
    model = EarthGPTForConditionalGeneration.from_pretrained(model_folder)
    numbers = sum(model.get_submodule(path).weight.numel() for path in model.config.tuned_layers(head=False))
    assert f"(nf4 {numbers * 4.127 / 8 / 1e9:.3g} GB)" in said
