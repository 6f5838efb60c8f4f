"""The formulas against what torch counts while a small model runs."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from training.config import StageConfig
from training.config.parameter_sets import ADAPTERS, EVERYTHING, NORMS, PROJECTOR, SETS, run_a, run_b
from training.model import initialise
from training.model.accounting import activation_memory, cache_bytes, state_memory, step_flops
from training.model.tuning.vectors import add_tuning
from training.stages.stage import add_tuned_parameters, apply_stage

STAGES = {
    "run a": run_a(),
    "run a, q k v": run_a(output_projection=False),
    "run b": run_b(),
    "run b, norms": run_b(norms=True),
    "run b, projector": run_b(projector=True),
    "run b, head": run_b(head=True),
    "projector": (PROJECTOR,),
    "norms": (NORMS,),
    "last layer": (r"model\.language_model\.layers\.1\.mlp\.up_proj\.weight",),
    "output": (r"lm_head\.weight",),
    "vit": (r"model\.vision\.vit\..*",),
    "language model": (r"model\.language_model\..*",),
}


@pytest.fixture
def staged(make_config):
    """Function that makes a model whose parameters of the given patterns train."""

    def make(patterns, **changes):
        config = make_config(**changes)
        config._attn_implementation = "eager"
        model = initialise(config, 0).train()
        if any("_tune" in pattern for pattern in patterns):
            add_tuning(model, "bias-scale", head=any("lm_head" in pattern for pattern in patterns))
        rules = tuple({"pattern": pattern, "learning_rate": 1e-3} for pattern in patterns)
        apply_stage(model, StageConfig(trainable=rules))
        return model

    return make


def counted(model, processor, pixels, kept=0):
    """FLOPs forward and in all of a batch of two, with the head on the last `kept` positions."""
    row = [*processor.encode_prefix(True), 7, 8, 9, 10, 11]
    with FlopCounterMode(display=False) as angles:
        # Some versions of transformers multiply positions with frequencies by a matrix product, others do not.
        # Some decoders have frequencies of their own for blocks with a window.
        for kind in {"full_attention", "sliding_attention"} & {*(model.config.text.rope_parameters or ())} or {None}:
            given = torch.zeros(1), torch.arange(len(row))[None]
            model.language_model.rotary_emb(*given, *(() if kind is None else (kind,)))
    with FlopCounterMode(display=False) as forward:
        logits = model(torch.tensor([row, row]), pixel_values=pixels, logits_to_keep=kept).logits
    with FlopCounterMode(display=False) as backward:
        logits.square().mean().backward()
    return forward.get_total_flops() - angles.get_total_flops(), backward.get_total_flops(), len(row)


@pytest.mark.parametrize("patterns", STAGES.values(), ids=STAGES)
def test_a_step_costs_what_torch_counts(staged, processor, random_pixels, patterns):
    model = staged(patterns)
    forward, backward, length = counted(model, processor, random_pixels(2), kept=4)
    flops = step_flops(model, tokens=2 * length, pairs=2 * length**2, images=2, targets=8)
    assert sum(flops.forward.values()) == forward
    assert sum(flops.backward.values()) == backward
    assert flops.total == forward + backward


@pytest.mark.parametrize("patterns", [run_b(), (PROJECTOR,), (r"model\.vision\.vit\..*",)])
def test_an_added_fusion_is_counted(staged, processor, random_pixels, patterns):
    model = staged(patterns, fusion="sum")
    forward, backward, length = counted(model, processor, random_pixels(2))
    flops = step_flops(model, tokens=2 * length, pairs=2 * length**2, images=2)
    assert (sum(flops.forward.values()), sum(flops.backward.values())) == (forward, backward)
    assert flops.forward["projector"] == 2 * 2 * 16 * (24 * 56 + 24 * 32)


def test_adapters_are_counted(processor, random_pixels, make_config):
    pytest.importorskip("peft", reason="peft is not installed (pip install 'mmrs[lora]')")
    config = make_config()
    config._attn_implementation = "eager"
    model = initialise(config, 0).train()
    stage = StageConfig(tuning={"kind": "lora", "rank": 4}, trainable=[{"set": "adapters", "learning_rate": 1e-3}])
    add_tuned_parameters(model, stage, 0)
    apply_stage(model, stage)
    forward, backward, length = counted(model, processor, random_pixels(2))
    flops = step_flops(model, tokens=2 * length, pairs=2 * length**2, images=2)
    assert (sum(flops.forward.values()), sum(flops.backward.values())) == (forward, backward)


def test_grouped_heads_and_unused_blocks_are_counted(staged, processor, random_pixels, make_config):
    text = make_config().text_config.to_dict() | {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    model = staged((r"model\.(vision\.vit|projector|language_model)\..*",), vit={"layers": [1, 2]}, text_config=text)
    forward, backward, length = counted(model, processor, random_pixels(2))
    flops = step_flops(model, tokens=2 * length, pairs=2 * length**2, images=2)
    assert (sum(flops.forward.values()), sum(flops.backward.values())) == (forward, backward)


def test_a_trained_convnext_costs_twice_its_forward_backward(staged):
    flops = step_flops(staged((EVERYTHING,)), tokens=10, pairs=100, images=1)
    stem = 2 * 8 * 3 * 4 * 4 * 16 * 16
    assert flops.backward["cnn"] == 2 * flops.forward["cnn"] - stem


def test_frozen_weights_cost_4n_and_trained_ones_6n(staged):
    def per_token(patterns):
        model = staged(patterns)
        linears = [layer for layer in model.language_model.layers[1].modules() if isinstance(layer, torch.nn.Linear)]
        one, two = (step_flops(model, tokens=tokens, pairs=0, images=0, targets=0) for tokens in (0, 1))
        return (two.total - one.total) / sum(layer.weight.numel() for layer in linears) / 2

    assert per_token((PROJECTOR,)) == 4
    assert per_token((r"model\.(projector|language_model)\..*",)) == 6


def test_state_memory_is_that_of_the_tensors(staged):
    model = staged(run_b(projector=True)).bfloat16()
    for parameter in model.parameters():
        parameter.data = parameter.data.float() if parameter.requires_grad else parameter.data
    optimiser = torch.optim.AdamW([parameter for parameter in model.parameters() if parameter.requires_grad])
    for parameter in optimiser.param_groups[0]["params"]:
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    memory = state_memory(model)
    assert memory.weights == sum(value.nbytes for value in model.parameters())
    assert memory.gradients == sum(value.grad.nbytes for value in model.parameters() if value.grad is not None)
    moments = [state[name] for state in optimiser.state.values() for name in ("exp_avg", "exp_avg_sq")]
    assert memory.moments == sum(value.nbytes for value in moments)
    assert memory.total == memory.weights + memory.gradients + memory.moments


ACTIVATIONS = {
    "run a": (None, run_a()),
    "run b": ("bias-scale", run_b()),
    "run b, bias alone": ("bias", run_b()),
    "run b, norms, projector": ("bias-scale", run_b(norms=True, projector=True)),
    "projector": (None, (PROJECTOR,)),
    "language model": (None, (SETS["language-model"], PROJECTOR)),
    "lora": ("lora", (ADAPTERS,)),
}


def kept_by_autograd(model, processor, pixels, text, targets):
    """Bytes of the distinct storages that are saved for the backward pass, parameters left out."""
    ids_BL = torch.tensor([[*processor.encode_prefix(True), *range(7, 7 + text)]])
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor) or tensor, lambda tensor: tensor):
        positions_T = torch.arange(ids_BL.shape[1] - targets, ids_BL.shape[1])
        states_TD = model.hidden_states(ids_BL, pixels)[0].index_select(0, positions_T)
        torch.nn.functional.cross_entropy(model.lm_head(states_TD).float(), ids_BL[0, -targets:]).backward()
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in saved}
    return ids_BL.shape[1], sum(size for address, size in storages.items() if address not in own)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(("kind", "patterns"), ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_activation_memory_is_what_autograd_keeps(make_config, processor, random_pixels, kind, patterns, checkpointing):
    if kind == "lora":
        pytest.importorskip("peft", reason="peft is not installed (pip install 'mmrs[lora]')")
    model = initialise(make_config(), 0).train()
    rules = tuple({"pattern": pattern, "learning_rate": 1e-3} for pattern in patterns)
    stage = StageConfig(tuning={"kind": kind} if kind else None, trainable=rules)
    add_tuned_parameters(model, stage, 0)
    apply_stage(model, stage)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    tokens, kept = kept_by_autograd(model, processor, random_pixels(1), 200, 32)
    memory = activation_memory(model, tokens, 1, 32, torch.float32, checkpointing)
    recomputed = memory.pop("recomputed", 0)
    # Left out are the masks, the cosines and one number per token and norm: much beside a width of 32.
    assert 0.9 < sum(memory.values()) / kept <= 1
    assert (recomputed > 0) == checkpointing


def test_activation_memory_is_not_claimed_for_trained_encoders(staged):
    with pytest.raises(ValueError, match="an encoder trains"):
        activation_memory(staged((EVERYTHING,)), 10, 1, 1)


def test_cache_is_that_of_generation(model, processor):
    ids = torch.tensor([[*processor.encode_prefix(False), 7, 8, 9]])
    cache = model(ids, use_cache=True).past_key_values
    stored = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert cache_bytes(model.config, ids.shape[1], torch.float32) == stored


def test_negative_counts_are_refused(model):
    with pytest.raises(ValueError, match="tokens is -1"):
        step_flops(model, tokens=-1, pairs=0, images=0)
