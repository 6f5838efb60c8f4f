"""Keys and values: of every kind, gone on from, compiled, and by every attention: the answers are those without any."""

import importlib.util

import pytest
import torch
from transformers import CompileConfig, DynamicCache, StaticCache

from tests.support.models import left_padded
from tests.training.model.transformers_suite.generation.oracle import answered, fixed

TOKENS = 6


@pytest.mark.parametrize("mode", [{}, {"num_beams": 3}, {"do_sample": True, "top_k": 1, "num_return_sequences": 2}])
def test_every_cache_answers_alike(model, batch, mode):
    expected = model.generate(**batch, **fixed(TOKENS, **mode), use_cache=False)
    for kind in ("dynamic", "static", "hybrid"):
        assert torch.equal(model.generate(**batch, **fixed(TOKENS, **mode), cache_implementation=kind), expected), kind
    assert torch.equal(model.generate(**batch, **fixed(TOKENS, **mode)), expected)


@pytest.mark.parametrize("kind", ["offloaded", "offloaded_static"])
def test_caches_that_leave_the_device(model, batch, kind):
    """They are moved by streams of an accelerator."""
    if not torch.accelerator.is_available():
        pytest.skip("moving keys and values away from a device needs one")
    model, inputs = model.to("cuda"), {name: value.to("cuda") for name, value in batch.items()}
    found = model.generate(**inputs, **fixed(TOKENS), cache_implementation=kind)
    assert torch.equal(found, model.generate(**inputs, **fixed(TOKENS)))


def test_quantised_keys_and_values(model, batch):
    if importlib.util.find_spec("optimum") is None:
        pytest.skip("keys and values in few bits need optimum-quanto")
    options = {"cache_implementation": "quantized", "cache_config": {"backend": "quanto", "nbits": 4}}
    assert model.generate(**batch, **fixed(TOKENS), **options).shape == (2, batch["input_ids"].shape[1] + TOKENS)


def test_keys_and_values_have_the_shapes_of_the_decoder(model, batch):
    text, prompt = model.config.text, batch["input_ids"].shape[1]
    found = model.generate(**batch, **fixed(TOKENS), return_dict_in_generate=True).past_key_values
    assert isinstance(found, DynamicCache) and len(found.layers) == text.num_hidden_layers
    shape = (2, text.num_key_value_heads, prompt + TOKENS - 1, text.hidden_size // text.num_attention_heads)
    assert {tuple(each.shape) for layer in found.layers for each in (layer.keys, layer.values)} == {shape}


@pytest.mark.parametrize("mode", [{}, {"num_beams": 2}], ids=["greedy", "beams"])
@torch.no_grad()
def test_an_answer_goes_on_from_its_keys_and_values(model, batch, mode):
    """Stopped and gone on with, an answer is the one without a stop, without the image being told again."""
    whole = model.generate(**batch, **fixed(2 * TOKENS)) if not mode else None
    first = model.generate(**batch, **fixed(TOKENS), return_dict_in_generate=True)
    if mode:
        cache = first.past_key_values
        cache.batch_repeat_interleave(2)
        expected = model.generate(
            first.sequences, pixel_values=batch["pixel_values"], attention_mask=longer(batch, TOKENS),
            **fixed(TOKENS, **mode),
        )  # fmt: skip
    found = model.generate(
        first.sequences, attention_mask=longer(batch, TOKENS), past_key_values=first.past_key_values,
        **fixed(TOKENS, **mode),
    )  # fmt: skip
    assert torch.equal(found, expected if mode else whole)


def longer(batch, tokens):
    """The mask of a batch and of what was generated behind it."""
    mask = batch["attention_mask"]
    return torch.cat((mask, mask.new_ones(len(mask), tokens)), dim=1)


@pytest.mark.parametrize("again", [False, True], ids=["what is new", "everything"])
@torch.no_grad()
def test_a_further_turn_with_a_further_image_goes_on(model, processor, random_pixels, rows, again):
    """The next turn is handed in alone, or behind all that was said before; its image alone is told."""
    pixels = random_pixels(2)
    first = model.generate(
        torch.tensor([rows[0]]), pixel_values=pixels[:1], **fixed(TOKENS), return_dict_in_generate=True
    )
    turn = torch.tensor([processor.encode_prefix(True)[1:] + processor.encode_dialogue([("human", "And here?")])[0]])
    ids = torch.cat((first.sequences, turn), dim=1)
    expected = model.generate(ids, pixel_values=pixels, **fixed(TOKENS))
    options = {"past_key_values": first.past_key_values, "pixel_values": pixels[1:]} | fixed(TOKENS)
    assert first.past_key_values.get_seq_length() == first.sequences.shape[1] - 1
    if again:
        found = model.generate(ids, **options)
    else:
        # The last token of the answer was chosen and not read yet.
        new = torch.cat((first.sequences[:, -1:], turn), dim=1)
        found = model.generate(new, attention_mask=torch.ones_like(ids), **options)
    assert torch.equal(found[:, -TOKENS:], expected[:, -TOKENS:])


@torch.no_grad()
def test_embeddings_go_on_from_keys_and_values(model, one):
    embedded = model.embed(one["input_ids"], one["pixel_values"])
    whole = model.generate(inputs_embeds=embedded, **fixed(2 * TOKENS))
    first = model.generate(inputs_embeds=embedded, **fixed(TOKENS), return_dict_in_generate=True)
    more = torch.cat((embedded, model.get_input_embeddings()(first.sequences)), dim=1)
    found = model.generate(inputs_embeds=more, past_key_values=first.past_key_values, **fixed(TOKENS))
    assert torch.equal(torch.cat((first.sequences, found), dim=1), whole)


@torch.no_grad()
def test_a_static_cache_of_ones_own(model, one):
    """It is larger than the answer, and is used again for another."""
    cache = StaticCache(config=model.config.text, max_cache_len=80)
    expected = model.generate(**one, **fixed(TOKENS))
    for _ in range(2):
        cache.reset()
        assert torch.equal(model.generate(**one, **fixed(TOKENS), past_key_values=cache), expected)


def test_two_sorts_of_cache_are_one_too_many(model, one):
    with pytest.raises(ValueError, match="only one"):
        model.generate(**one, **fixed(TOKENS), past_key_values=DynamicCache(), cache_implementation="static")


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@torch.no_grad()
def test_every_attention_answers_alike(model, batch, attention):
    """Of decoder and encoders; the tolerance of logits is that of another order of sums."""
    expected = model.generate(**batch, **fixed(TOKENS), return_dict_in_generate=True, output_logits=True)
    model.set_attn_implementation(attention)
    assert model.language_model.config._attn_implementation == attention
    found = model.generate(**batch, **fixed(TOKENS), return_dict_in_generate=True, output_logits=True)
    assert torch.equal(found.sequences, expected.sequences)
    for ours, other in zip(found.logits, expected.logits, strict=True):
        torch.testing.assert_close(ours, other, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("how", ["greedy", pytest.param("all outputs", marks=pytest.mark.nightly)])
def test_steps_compile(model, one, how):
    """By the backend that changes nothing, so that no C++ compiler is needed: what is asked is whether it is traced."""
    from torch._dynamo.utils import counters

    more = {
        "greedy": {},
        "all outputs": {"return_dict_in_generate": True, "output_scores": True, "output_hidden_states": True},
    }[how]
    compiled = CompileConfig(backend="eager", fullgraph=True, mode=None, dynamic=False)
    compiled._compile_all_devices = True
    torch._dynamo.reset()
    counters.clear()
    options = fixed(TOKENS, cache_implementation="static", **more)
    expected, found = model.generate(**one, **options), model.generate(**one, **options, compile_config=compiled)
    if how == "all outputs":
        for ours, other in zip(found.hidden_states[-1], expected.hidden_states[-1], strict=True):
            torch.testing.assert_close(ours, other)
        expected, found = expected.sequences, found.sequences
    assert torch.equal(found, expected)
    assert counters["stats"]["unique_graphs"] >= 1 and not counters["graph_break"]
    assert answered(one, found).shape[1] == TOKENS


def test_batches_of_other_sizes_follow_each_other(model, processor, random_pixels, rows):
    """A static cache that a call left is none of the next one's."""
    for size in (1, 2, 1):
        inputs = dict(left_padded(processor, rows[:size])) | {"pixel_values": random_pixels(2)[:size]}
        found = model.generate(**inputs, **fixed(TOKENS, cache_implementation="static"))
        assert torch.equal(found, model.generate(**inputs, **fixed(TOKENS)))
