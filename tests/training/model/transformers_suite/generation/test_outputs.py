"""What `generate` tells beside the tokens: scores, logits, attentions and hidden states, of every step and beam."""

import pytest
import torch

from tests.training.model.transformers_suite.generation.oracle import answered, fixed, next_logits
from training.model import initialise

TOKENS = 4
ALL = {
    "return_dict_in_generate": True,
    "output_scores": True,
    "output_logits": True,
    "output_attentions": True,
    "output_hidden_states": True,
}
MODES = {
    "greedy": {},
    "sampled": {"do_sample": True, "num_return_sequences": 3},
    "beams": {"num_beams": 3, "num_return_sequences": 2},
    "drawn beams": {"do_sample": True, "num_beams": 3, "num_return_sequences": 2},
}


@pytest.fixture
def model(model):
    """With the attention that can be told."""
    model.set_attn_implementation("eager")
    return model


@pytest.mark.parametrize("use_cache", [True, False], ids=["cache", "no cache"])
@pytest.mark.parametrize("mode", MODES)
def test_what_is_told_has_the_shapes_of_steps(model, batch, mode, use_cache):
    """Of a step with a cache: one position that looks at all before it; of the first step: the whole prompt."""
    options = MODES[mode]
    found = model.generate(**batch, **fixed(TOKENS, **options), use_cache=use_cache, **ALL)
    text, prompt = model.config.text, batch["input_ids"].shape[1]
    running = 2 * options.get("num_beams", options.get("num_return_sequences", 1))
    assert found.sequences.shape == (2 * options.get("num_return_sequences", 1), prompt + TOKENS)
    for told in (found.scores, found.logits):
        assert [tuple(each.shape) for each in told] == [(running, text.vocab_size)] * TOKENS
        assert all(each.dtype == torch.float32 for each in told)
    for step, (attentions, states) in enumerate(zip(found.attentions, found.hidden_states, strict=True)):
        seen = prompt + step
        asked = 1 if use_cache and step else seen
        heads = (running, text.num_attention_heads, asked, seen)
        assert [tuple(each.shape) for each in attentions] == [heads] * text.num_hidden_layers
        assert [tuple(each.shape) for each in states] == [(running, asked, text.hidden_size)] * (
            text.num_hidden_layers + 1
        )
        # A token looks at what is there, and at no padding.
        torch.testing.assert_close(attentions[0][..., -1, :].sum(-1), torch.ones(heads[:2]))
        padding_BL = batch["attention_mask"].repeat_interleave(running // 2, dim=0) == 0
        assert attentions[0][..., -1, :prompt].masked_select(padding_BL[:, None]).abs().max() == 0
    if "num_beams" in options:
        assert found.sequences_scores.shape == (2 * options["num_return_sequences"],)
        assert found.beam_indices.shape == (len(found.sequences), TOKENS)
    # The cache that is left is that of all tokens but the last.
    assert (found.past_key_values is None) == (not use_cache)
    if use_cache:
        assert found.past_key_values.get_seq_length() == prompt + TOKENS - 1


def test_nothing_is_told_unasked(model, one):
    plain = model.generate(**one, **fixed(TOKENS))
    found = model.generate(**one, **fixed(TOKENS), return_dict_in_generate=True)
    assert torch.equal(found.sequences, plain)
    assert all(getattr(found, name) is None for name in ("scores", "logits", "attentions", "hidden_states"))


@torch.no_grad()
def test_logits_are_those_of_the_model_and_scores_those_that_were_chosen_by(model, one):
    found = model.generate(**one, **fixed(TOKENS, temperature=0.5, do_sample=True), **ALL)
    for step, (logits_1K, scores_1K) in enumerate(zip(found.logits, found.scores, strict=True)):
        ids_1L = found.sequences[:, : one["input_ids"].shape[1] + step]
        expected = model(input_ids=ids_1L, pixel_values=one["pixel_values"]).logits[:, -1]
        torch.testing.assert_close(logits_1K, expected, atol=1e-4, rtol=1e-4)
        kept = scores_1K.isfinite()
        assert not kept[0, [model.config.image_token_id, model.config.text.eos_token_id]].any()
        torch.testing.assert_close(scores_1K[kept], 2 * logits_1K[kept])


@pytest.mark.parametrize("beams", [1, 3])
def test_scores_of_an_answer_are_sums_over_its_tokens(model, batch, beams):
    found = model.generate(**batch, **fixed(TOKENS, num_beams=beams), **ALL)
    steps_BT = model.compute_transition_scores(
        found.sequences, found.scores, getattr(found, "beam_indices", None), normalize_logits=beams == 1
    )
    assert steps_BT.shape == (2, TOKENS)
    by_hand = []
    for row in range(2):
        padding = int((batch["attention_mask"][row] == 0).sum())
        total = 0.0
        for step in range(TOKENS):
            end = batch["input_ids"].shape[1] + step
            ids_1L, pixels = found.sequences[row : row + 1, padding:end], batch["pixel_values"][row : row + 1]
            with torch.no_grad():
                if beams == 1:
                    logits_1K = next_logits(model, ids_1L, pixels)
                    logits_1K[:, model.config.text.eos_token_id] = -torch.inf
                else:
                    logits_1K = model(input_ids=ids_1L, pixel_values=pixels).logits[:, -1]
            total += float(logits_1K.log_softmax(-1)[0, found.sequences[row, end]])
        by_hand.append(total)
    torch.testing.assert_close(steps_BT.sum(1), torch.tensor(by_hand), atol=1e-3, rtol=1e-4)
    if beams > 1:
        torch.testing.assert_close(found.sequences_scores, torch.tensor(by_hand) / TOKENS, atol=1e-3, rtol=1e-4)


def test_assistance_tells_of_every_token_once(model, make_config, one):
    assistant = initialise(make_config(), 7).eval()
    found = model.generate(**one, **fixed(TOKENS), assistant_model=assistant, **ALL)
    plain = model.generate(**one, **fixed(TOKENS), **ALL)
    assert torch.equal(found.sequences, plain.sequences)
    prompt = one["input_ids"].shape[1]
    for name in ("scores", "logits"):
        for ours, expected in zip(getattr(found, name), getattr(plain, name), strict=True):
            torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)
    for step, attentions in enumerate(found.attentions):
        assert attentions[0].shape[-1] == prompt + step
    assert len(found.hidden_states) == len(plain.hidden_states) == TOKENS


@torch.no_grad()
def test_logits_of_the_last_position_are_enough(model, batch, monkeypatch):
    whole = model(**batch).logits
    for kept in (1, 3):
        torch.testing.assert_close(model(**batch, logits_to_keep=kept).logits, whole[:, -kept:])
    places = torch.tensor([0, 5, 2])
    torch.testing.assert_close(model(**batch, logits_to_keep=places).logits, whole[:, places])
    plain = model.generate(**batch, **fixed(TOKENS))
    # `generate` asks for them itself, and computes no others.
    widths, head = [], model.lm_head.forward
    monkeypatch.setattr(model.lm_head, "forward", lambda states: widths.append(states.shape[1]) or head(states))
    assert torch.equal(model.generate(**batch, **fixed(TOKENS)), plain)
    assert widths == [1] * TOKENS
    assert torch.equal(model.generate(**batch, **fixed(TOKENS), logits_to_keep=2), plain)


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_an_assistant_is_asked_with_logits_to_keep(model, one, kept):
    found = model.generate(**one, **fixed(TOKENS), assistant_model=model, logits_to_keep=kept)
    assert torch.equal(found, model.generate(**one, **fixed(TOKENS)))


def test_a_streamer_is_told_the_prompt_and_each_token(model, one):
    class Told(list):
        def put(self, value):
            self.append(value.flatten().tolist())

        def end(self):
            self.append("end")

    streamer = Told()
    found = model.generate(**one, **fixed(TOKENS), streamer=streamer)
    tokens = [[token] for token in answered(one, found)[0].tolist()]
    assert streamer == [one["input_ids"][0].tolist(), *tokens, "end"]
