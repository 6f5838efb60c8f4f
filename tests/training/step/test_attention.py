"""The kernels agree: what flex attention computes of a pack is what the dense mask says."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention.flex_attention import create_mask

from tests.training.run.test_loop import make_units, pack_of, processor, training  # noqa: F401 - fixtures
from training.config import ParallelConfig
from training.model.language.decoder import decoder_of_type
from training.model.masks import PADDING, build_block_mask, build_flex_mask
from training.step.attention import SPARSE, attention_name, set_attention
from training.step.objective import loss as loss_module
from training.step.objective.loss import target_losses
from training.step.ranks import Ranks
from training.step.sharding import parallelize, plain_forward

NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="flex attention has a backward pass on GPUs alone")

LLAMA = decoder_of_type("llama")


@pytest.fixture
def packed(monkeypatch):
    """One row per pack on the CPU too, as on a GPU."""
    monkeypatch.setattr(loss_module, "row_batches", lambda pack, config: None)


@st.composite
def segments(draw):
    """Segments of one packed row: images with a prefix and dialogues, then padding."""
    image, dialogue = [], []
    for number in range(draw(st.integers(1, 4))):
        lengths = draw(st.lists(st.integers(1, 40), min_size=1, max_size=4))
        for part, length in enumerate(lengths):
            image += [number] * length
            dialogue += [part] * length
    padding = draw(st.integers(0, 150))
    return torch.tensor([image + [PADDING] * padding]), torch.tensor([dialogue + [0] * padding])


@settings(max_examples=12, deadline=None)
@given(segments())
def test_the_block_mask_is_the_dense_mask(pair):
    dense = build_block_mask(*pair)
    sparse = build_flex_mask(*pair)
    length = pair[0].shape[1]
    assert torch.equal(create_mask(sparse.mask_mod, 1, None, length, length, device="cpu"), dense)
    # Whatever is visible lies in a block that the kernel visits.
    visited = sparse.to_dense()[0, 0].bool().repeat_interleave(128, 0).repeat_interleave(128, 1)[:length, :length]
    assert not (dense[0, 0] & ~visited).any()


@torch.no_grad()
def test_both_kernels_give_the_same_losses(training, processor, packed):  # noqa: F811
    pack = pack_of(processor, make_units(processor), 600)
    expected = target_losses(training.model, pack)
    set_attention(training.model.language_model, SPARSE)
    torch.testing.assert_close(target_losses(training.model, pack), expected, rtol=1e-5, atol=1e-5)


@NEEDS_GPU
@pytest.mark.parametrize("compiled", [False, True])
def test_both_kernels_give_the_same_gradients(training, processor, compiled):  # noqa: F811
    device = torch.device("cuda")
    pack = pack_of(processor, make_units(processor), 600).to(device)
    model = training.model.to(device)
    results = []
    for config in (ParallelConfig(attention="sdpa"), ParallelConfig(attention="flex", compile=compiled)):
        model.zero_grad()
        losses = parallelize(model, config, Ranks(device=device))(pack)
        losses.sum().backward()
        results.append((losses.detach(), {name: p.grad.clone() for name, p in model.named_parameters()}))
    (expected, expected_gradients), (found, gradients) = results
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected_gradients[name], rtol=1e-3, atol=1e-3, msg=name)


def test_the_device_chooses_the_kernel():
    assert attention_name("auto", torch.device("cpu"), decoder_of_type("gemma2")) == "eager"
    assert attention_name("auto", torch.device("cuda", 1), LLAMA) == SPARSE
    assert attention_name("auto", torch.device("cpu"), LLAMA) == "sdpa"
    assert attention_name("sdpa", torch.device("cuda"), LLAMA) == "sdpa"


def test_another_mask_is_refused(training, processor):  # noqa: F811
    """Rather than ignored, which would let every token see all."""
    set_attention(training.model.language_model, SPARSE)
    with pytest.raises(ValueError, match=r"needs a BlockMask, got (NoneType|Tensor)"):
        training.model(input_ids=torch.ones(1, 4, dtype=torch.long), attention_mask=torch.ones(1, 4))


@pytest.mark.parametrize("kind", ["selective", "full"])
def test_checkpointing_changes_neither_losses_nor_gradients(training, processor, packed, kind):  # noqa: F811
    pack = pack_of(processor, make_units(processor), 600)
    results, saved = [], []
    for config in (ParallelConfig(), ParallelConfig(activation_checkpointing=kind)):
        prepared = parallelize(training.model, config, Ranks())
        training.model.zero_grad()
        numbers = 0

        def count(tensor):
            nonlocal numbers
            numbers += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            losses = prepared(pack)
        losses.sum().backward()
        results.append((losses.detach(), {name: p.grad.clone() for name, p in training.model.named_parameters()}))
        saved.append(numbers)
    assert torch.equal(results[0][0], results[1][0])
    for name, gradient in results[0][1].items():
        assert torch.equal(gradient, results[1][1][name]), name
    assert saved[1] < saved[0]


def test_generation_runs_on_the_plain_model(training):  # noqa: F811
    parallelize(training.model, ParallelConfig(activation_checkpointing="full"), Ranks())
    set_attention(training.model.language_model, SPARSE)
    layer = training.model.language_model.layers[0]
    assert "forward" in vars(layer)
    with plain_forward(training.model):
        assert "forward" not in vars(layer)
        training.model.eval()(input_ids=torch.ones(1, 4, dtype=torch.long))
    assert "forward" in vars(layer)
    assert training.model.language_model.config._attn_implementation == SPARSE
