"""The last block at some positions gives the states and gradients of all positions, for every decoder that is known."""

from __future__ import annotations

import threading

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests.training.model.test_adapters import DECODERS
from training.model.language.decoder import decoder_of
from training.step.last_block import last_block_at

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
KNOWN = {"llama": lambda rows: LlamaForCausalLM(LlamaConfig(**SIZES, vocab_size=rows)), **DECODERS}


@pytest.fixture
def llama():
    torch.manual_seed(0)
    return KNOWN["llama"](40).model


def _states(model, embeddings_BLD, positions_T, at_positions: bool):
    model.zero_grad()
    inputs = embeddings_BLD.clone().requires_grad_()

    def run():
        return model(inputs_embeds=inputs, use_cache=False).last_hidden_state.flatten(0, 1)

    if at_positions:
        with last_block_at(model, positions_T) as agreed:
            assert agreed
            states_TD = run()
    else:
        states_TD = run().index_select(0, positions_T)
    (states_TD * torch.linspace(-1, 1, states_TD.shape[-1])).pow(2).sum().backward()
    gradients = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
    return states_TD.detach(), inputs.grad, gradients


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_states_and_gradients_are_those_of_all_positions(name):
    torch.manual_seed(0)
    language_model = KNOWN[name](40).model
    language_model.config._attn_implementation = decoder_of(language_model.config).dense_kernel
    width = language_model.config.hidden_size
    embeddings_BLD, positions_T = torch.randn(3, 17, width), torch.tensor([4, 16, 17, 30, 50])
    whole = _states(language_model, embeddings_BLD, positions_T, at_positions=False)
    chosen = _states(language_model, embeddings_BLD, positions_T, at_positions=True)
    torch.testing.assert_close(chosen[0], whole[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(chosen[1], whole[1], atol=1e-5, rtol=1e-3)
    assert chosen[2].keys() == whole[2].keys()
    for parameter, gradient in whole[2].items():
        torch.testing.assert_close(chosen[2][parameter], gradient, atol=1e-4, rtol=1e-3, msg=parameter)
    # Nothing of it is left.
    assert "forward" not in language_model.layers[-1].__dict__
    assert "forward" not in language_model.layers[-1].self_attn.__dict__


def test_only_the_wanted_positions_go_through_the_last_mlp(llama):
    seen = []
    hook = llama.layers[-1].mlp.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape))
    try:
        with last_block_at(llama, torch.tensor([3, 7])):
            llama(inputs_embeds=torch.randn(2, 9, 32), use_cache=False)
    finally:
        hook.remove()
    assert [tuple(shape[:2]) for shape in seen] == [(1, 2)]


def test_a_block_with_another_forward_is_left_alone(llama):
    block = llama.layers[-1]
    block.__dict__["forward"] = own = lambda *given, **options: type(block).forward(block, *given, **options)
    try:
        with last_block_at(llama, torch.tensor([0])) as agreed:
            assert not agreed
            assert block.__dict__["forward"] is own
    finally:
        del block.__dict__["forward"]


def test_another_thread_sees_all_positions(llama):
    embeddings_BLD, inside, seen = torch.randn(2, 9, 32), threading.Event(), threading.Event()
    found = {}

    def plain():
        assert inside.wait(30)
        found["plain"] = llama(inputs_embeds=embeddings_BLD, use_cache=False).last_hidden_state
        seen.set()

    thread = threading.Thread(target=plain)
    thread.start()
    with last_block_at(llama, torch.tensor([3])):
        inside.set()
        assert seen.wait(30)
        found["chosen"] = llama(inputs_embeds=embeddings_BLD, use_cache=False).last_hidden_state
    thread.join()
    assert found["plain"].shape == (2, 9, 32) and found["chosen"].shape == (1, 1, 32)
    torch.testing.assert_close(found["chosen"][0, 0], found["plain"][0, 3])
