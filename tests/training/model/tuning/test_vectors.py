"""Bias+scale tuning: nothing changes at the start, the gradient is that of the equation, folding is exact."""

import copy

import pytest
import torch
from transformers import LlamaForCausalLM

from training.config import OptimiserConfig, StageConfig
from training.model import EarthGPTForConditionalGeneration, initialise
from training.model.export.plain_decoder import plain_decoder
from training.model.language.bias_scale import BiasScaleLinear, tuned_vectors
from training.model.tuning.vectors import add_tuning, fold, vector_sizes
from training.stages.stage import apply_stage
from training.step.optim import build_optimiser

TEXT = torch.tensor([[0, 9, 30, 41, 7, 5, 88, 3 + 60]])


def disturb(model, seed=0, size=0.3):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for vector in tuned_vectors(model).values():
            vector += size * torch.randn(vector.shape, generator=generator)
    return model


def add_tuned(model):
    add_tuning(model, "bias-scale")
    return model


@torch.no_grad()
def logits(model, pixels=None, processor=None):
    if pixels is None:
        return model(TEXT).logits
    ids = torch.tensor([[*processor.encode_prefix(True), 9, 30, 41, 7]])
    return model(ids, pixel_values=pixels).logits


@pytest.mark.parametrize("tuning", ["bias", "bias-scale"])
@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_start_is_bit_identical_to_the_base(model, random_pixels, processor, tuning, head, dtype):
    model = model.to(dtype)
    expected = logits(model), logits(model, random_pixels(1), processor)
    add_tuning(model, tuning, head)
    assert torch.equal(logits(model), expected[0])
    assert torch.equal(logits(model, random_pixels(1), processor), expected[1])
    assert logits(model).dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_layer_is_its_equation(dtype):
    layer = BiasScaleLinear(5, 3, bias=True).to(dtype)
    layer.bias_tune.data, layer.scale_tune.data = torch.tensor([0.5, -1.0, 2.0]), torch.tensor([1.5, 1.0, -0.25])
    x = torch.randn(2, 4, 5, dtype=dtype)
    plain = torch.nn.functional.linear(x, layer.weight, layer.bias)
    assert torch.equal(layer(x), ((plain.float() + layer.bias_tune) * layer.scale_tune).to(dtype))
    assert layer(x[0, 0]).shape == (3,)


def test_gradients_are_those_of_the_equation():
    layer = BiasScaleLinear(4, 3).double()
    with torch.no_grad():
        layer.bias_tune.normal_()
        layer.scale_tune.normal_()
    names, values = zip(*layer.named_parameters(), strict=True)

    def run(x, *parameters):
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))

    x = torch.randn(2, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(run, (x, *values))


@pytest.mark.parametrize("reentrant", [True, False])
def test_activation_checkpointing_changes_no_gradient(make_config, processor, random_pixels, reentrant):
    """Nothing below the first block trains in run B, so its input wants no gradient, which reentrant ones cannot do."""
    gradients = []
    for checkpointing in (False, True):
        model = disturb(add_tuned(initialise(make_config(), 0)).train())
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in tuned_vectors(model))
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": reentrant})
        ids = torch.tensor([[*processor.encode_prefix(True), 9, 30, 41, 7]])
        model(ids, pixel_values=random_pixels(1)).logits.square().mean().backward()
        gradients.append({name: vector.grad for name, vector in tuned_vectors(model).items()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-6, rtol=1e-5)


def test_seven_linears_of_every_block_are_wrapped(model):
    before = dict(model.named_parameters())
    add_tuning(model, "bias-scale")
    wrapped = [name for name, module in model.named_modules() if isinstance(module, BiasScaleLinear)]
    assert len(wrapped) == 2 * 7 and not any("vision" in name for name in wrapped)
    after = dict(model.named_parameters())
    assert all(after[name] is value for name, value in before.items())
    assert {name: value.shape for name, value in tuned_vectors(model).items()} == vector_sizes(model, "bias-scale")
    assert after.keys() - before.keys() == tuned_vectors(model).keys()
    add_tuning(model, "bias-scale")
    with pytest.raises(ValueError, match=r"tuning='bias-scale', tune_head=False, not 'bias'.*fold"):
        add_tuning(model, "bias")


def test_unknown_tuning_is_refused(model):
    with pytest.raises(ValueError, match="tuning is 'lora'; set one of 'bias', 'bias-scale'"):
        add_tuning(model, "lora")


def test_weight_decay_spares_the_vectors(model):
    add_tuning(model, "bias-scale", head=True)
    stage = StageConfig(trainable=({"pattern": r".*_tune", "learning_rate": 1e-3},))
    optimiser = build_optimiser(apply_stage(model, stage), OptimiserConfig(weight_decay=0.1))
    assert [group["weight_decay"] for group in optimiser.param_groups] == [0.0]
    assert set(optimiser.param_groups[0]["names"]) == tuned_vectors(model).keys()


@pytest.mark.parametrize("tuning", ["bias", "bias-scale"])
@pytest.mark.parametrize("tie", [False, True])
def test_folded_model_is_a_plain_llama_with_the_same_logits(make_config, tuning, tie, tmp_path):
    model = initialise(make_config(tie_word_embeddings=tie), 0).eval()
    add_tuning(model, tuning)
    base = logits(model)
    tuned = logits(disturb(model))
    assert (tuned - base).abs().max() > 0.1
    folded = fold(copy.deepcopy(model))
    torch.testing.assert_close(logits(folded), tuned, atol=1e-5, rtol=1e-5)
    plain = plain_decoder(folded)
    assert plain.causal_class is LlamaForCausalLM
    llama = LlamaForCausalLM(plain.config).eval()
    llama.load_state_dict(plain.state)
    assert plain.config.attention_bias and plain.config.mlp_bias
    torch.testing.assert_close(logits(llama), tuned, atol=1e-5, rtol=1e-5)
    folded.save_pretrained(tmp_path)
    loaded = EarthGPTForConditionalGeneration.from_pretrained(tmp_path).eval()
    assert loaded.config.tuning is None and torch.equal(logits(loaded), logits(folded))


def test_a_base_with_biases_folds_too(make_config):
    config = make_config()
    config.text_config.attention_bias = config.text_config.mlp_bias = True
    model = initialise(config, 0).eval()
    for name, parameter in model.language_model.named_parameters():
        if name.endswith("_proj.bias"):
            parameter.data.normal_()
    add_tuning(model, "bias-scale")
    tuned = logits(disturb(model))
    torch.testing.assert_close(logits(fold(model)), tuned, atol=1e-5, rtol=1e-5)


def test_what_cannot_be_folded_is_refused(model):
    with pytest.raises(ValueError, match="no tuning vectors to fold"):
        fold(model)
    add_tuning(model, "bias-scale", head=True)
    with pytest.raises(ValueError, match="tuned output head"):
        fold(model)
    with pytest.raises(ValueError, match=r"call fold\(model\) first"):
        plain_decoder(model)


@pytest.mark.nightly
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_tuned_model_is_saved_and_loaded_exactly(model, tmp_path, dtype):
    model.save_pretrained(tmp_path / "base")
    model = EarthGPTForConditionalGeneration.from_pretrained(tmp_path / "base", dtype=dtype).eval()
    add_tuning(model, "bias-scale", head=True)
    disturb(model, size=1e-3)
    model.save_pretrained(tmp_path)
    loaded = EarthGPTForConditionalGeneration.from_pretrained(tmp_path, dtype=dtype).eval()
    assert loaded.config.tuning == "bias-scale" and loaded.config.tune_head
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor) and loaded.state_dict()[name].dtype == tensor.dtype, name
    assert torch.equal(logits(loaded), logits(model))


def test_vectors_that_a_checkpoint_lacks_start_neutral(model, tmp_path):
    expected = logits(model)
    model.save_pretrained(tmp_path)
    loaded = EarthGPTForConditionalGeneration.from_pretrained(tmp_path, tuning="bias-scale").eval()
    assert len(tuned_vectors(loaded)) == 28 and torch.equal(logits(loaded), expected)
