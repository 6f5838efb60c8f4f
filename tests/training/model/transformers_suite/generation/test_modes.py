"""What transformers' `GenerationTesterMixin` establishes, for which its source distribution has no file: written anew.

Each case of the mixin, by its name without ``test_``, and the test of ours. "outputs", "prompts" and "caches" are the
modules beside this one.

| case of the mixin | here |
|---|---|
| greedy_generate | `test_greedy_is_the_most_probable_token_of_the_whole_sequence` |
| sample_generate, sample_generate_dict_output | `test_samples_follow_the_distribution_that_was_asked_for`, outputs |
| beam_search_generate | `test_beams_as_many_as_tokens_find_the_best_answer`, `test_more_beams_find_no_worse_answer` |
| beam_sample_generate | `test_beams_that_are_drawn_return_what_they_score` |
| contrastive, DoLa, group, constrained beams | left transformers: `test_modes_that_left_say_where_they_are` |
| assisted_decoding_matches_greedy_search, _sample, _with_logits_to_keep | `test_an_assistant_changes_nothing` |
| prompt_lookup_decoding_matches_greedy_search, _stops_at_eos | `test_looking_up_the_prompt_changes_nothing` |
| .._generate_dict_output(s), _use_cache | outputs: `test_what_is_told_has_the_shapes_of_steps` |
| generate_methods_.., forward_with_logits_to_keep | outputs: `test_logits_of_the_last_position_are_enough` |
| generate_without_input_ids | prompts: `test_nothing_but_the_first_token`, `test_a_misspelt_option_is_refused` |
| left_padding_compatibility | prompts: `test_padding_on_the_left_changes_nothing` |
| generate_from_(random_)inputs_embeds, .._with_static_cache | prompts: `test_embeddings_in_the_place_of_ids` |
| prepare_inputs_for_generation_kwargs_forwards | prompts: `test_what_a_step_is_not_told_is_passed_on` |
| generate_continue_from_past_key_values, .._inputs_embeds | caches: `test_an_answer_goes_on_from_its_keys_and_values` |
| past_key_values_format | caches: `test_keys_and_values_have_the_shapes_of_the_decoder` |
| generate_with_static_cache, use_cache, offloaded, hybrid | caches: `test_every_cache_answers_alike` |
| generate_with_quant_cache | caches: runs where optimum-quanto is installed |
| generate_compile_model_forward_fullgraph, generate_compilation_all_outputs | caches: `test_steps_compile` |
| eager_matches_sdpa_generate | caches: `test_every_attention_answers_alike` |
| eager_matches_fa2_generate, fa3, flash-attention continuation and position ids | needs a GPU and its kernels |
| (flex attention is no case of the mixin) | on a CPU torch compiles it, and its code for a padded batch is no C++ |
| model_parallel_beam_search | needs two GPUs |
| encoder-decoder cases, head masks | the model is a decoder |
| inherits_generation_mixin | `test_greedy_is_the_most_probable_token_of_the_whole_sequence` would not run |
"""

import itertools
import re
from pathlib import Path

import pytest
import torch
from transformers import GenerationMixin, LogitsProcessorList, MaxLengthCriteria, StoppingCriteriaList, set_seed

from tests.training.model.transformers_suite.generation.oracle import answered, fixed, greedy_by_hand, next_logits
from training.model import initialise

TOKENS = 8


def test_the_table_names_tests():
    """What stands in the docstring of this module is there, each in the module that it says."""
    folder, table = Path(__file__).parent, [line.split("|") for line in __doc__.splitlines() if line.startswith("| ")]
    assert len(table) > 20
    for _, _, told, _ in table[1:]:
        place = re.match(r" (outputs|prompts|caches):", told)
        text = (folder / f"test_{place[1] if place else 'modes'}.py").read_text()
        assert all(f"def {name}(" in text for name in re.findall(r"`(test_\w+)`", told)), told


@torch.no_grad()
def test_greedy_is_the_most_probable_token_of_the_whole_sequence(model, one):
    assert isinstance(model, GenerationMixin) and model.can_generate()
    found = model.generate(**one, **fixed(TOKENS))
    assert answered(one, found)[0].tolist() == greedy_by_hand(model, one, TOKENS).tolist()
    # Once the end may come, the answer ends with it and no later.
    free = answered(one, model.generate(**one, max_new_tokens=TOKENS, do_sample=False))[0].tolist()
    expected = greedy_by_hand(model, one, TOKENS, with_end=True).tolist()
    end = model.config.text.eos_token_id
    assert free == (expected[: expected.index(end) + 1] if end in expected else expected)


@torch.no_grad()
def test_samples_follow_the_distribution_that_was_asked_for(model, one):
    """The first token of many answers to one prompt, against the probabilities by hand."""
    count, temperature = 4000, 3.0
    set_seed(0)
    options = {"do_sample": True, "temperature": temperature, "top_k": 0, "num_return_sequences": count}
    drawn = answered(one, model.generate(**one, max_new_tokens=1, **options))[:, 0]
    assert len(drawn) == count
    shares = torch.bincount(drawn, minlength=model.config.text.vocab_size) / count
    expected = (next_logits(model, one["input_ids"], one["pixel_values"])[0] / temperature).softmax(-1)
    # Four standard deviations of a share.
    assert ((shares - expected).abs() <= 4 * (expected * (1 - expected) / count).sqrt() + 2 / count).all()
    assert shares[model.config.image_token_id] == 0


def test_one_candidate_is_no_choice(model, batch):
    greedy = model.generate(**batch, **fixed(TOKENS))
    for narrow in ({"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}):
        assert torch.equal(model.generate(**batch, **fixed(TOKENS, do_sample=True, **narrow)), greedy)


def test_a_seed_repeats_its_draws_and_rows_are_returned_in_order(model, batch):
    def drawn(seed):
        set_seed(seed)
        return model.generate(**batch, **fixed(TOKENS, do_sample=True, temperature=5.0, num_return_sequences=3))

    first = drawn(1)
    assert torch.equal(first, drawn(1)) and not torch.equal(first, drawn(2))
    prompts = batch["input_ids"].repeat_interleave(3, dim=0)
    assert torch.equal(first[:, : prompts.shape[1]], prompts)


@torch.no_grad()
def test_beams_as_many_as_tokens_find_the_best_answer(model, one):
    """Two tokens by a beam for each token of the vocabulary is a search of all answers."""
    size = model.config.text.vocab_size
    forbidden = [model.config.image_token_id, model.config.text.eos_token_id]

    # `generate` divides by the sum over all tokens, the placeholder among them.
    def shares(ids_BL):
        pixels = one["pixel_values"].repeat(len(ids_BL), 1, 1, 1)
        found = model(input_ids=ids_BL, pixel_values=pixels).logits[:, -1].log_softmax(-1)
        found[:, forbidden] = -torch.inf
        return found

    first_K = shares(one["input_ids"])[0]
    each_KL = torch.cat((one["input_ids"].repeat(size, 1), torch.arange(size)[:, None]), dim=1)
    each_KL[forbidden, -1] = 0
    both_KK = first_K[:, None] + shares(each_KL)
    found = model.generate(
        **one, **fixed(2, num_beams=size, num_return_sequences=3, length_penalty=0.0), return_dict_in_generate=True,
        output_scores=True,
    )  # fmt: skip
    best = both_KK.flatten().topk(3)
    assert answered(one, found.sequences).tolist() == [[int(at) // size, int(at) % size] for at in best.indices]
    torch.testing.assert_close(found.sequences_scores, best.values, atol=1e-4, rtol=1e-4)


def test_more_beams_find_no_worse_answer(model, batch):
    def score(beams):
        found = model.generate(
            **batch, **fixed(TOKENS, num_beams=beams, num_return_sequences=beams), return_dict_in_generate=True,
            output_scores=True,
        )  # fmt: skip
        assert len(found.sequences) == 2 * beams
        scores = found.sequences_scores.view(2, beams)
        # In order, and no answer twice.
        assert (scores.diff(dim=1) <= 1e-6).all() and len(set(map(tuple, found.sequences.tolist()))) == 2 * beams
        return scores[:, 0]

    assert (score(8) >= score(2) - 1e-5).all()


def test_beams_that_are_drawn_return_what_they_score(model, batch):
    set_seed(3)
    found = model.generate(
        **batch, **fixed(TOKENS, do_sample=True, num_beams=3, num_return_sequences=2, top_k=20),
        return_dict_in_generate=True, output_scores=True,
    )  # fmt: skip
    assert found.sequences.shape == (4, batch["input_ids"].shape[1] + TOKENS)
    steps = model.compute_transition_scores(found.sequences, found.scores, found.beam_indices)
    torch.testing.assert_close(steps.sum(1) / TOKENS, found.sequences_scores)


@pytest.mark.parametrize(
    ("options", "repository"),
    [
        ({"penalty_alpha": 0.6, "top_k": 4}, "contrastive-search"),
        ({"dola_layers": "low"}, "dola"),
        ({"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 1.0}, "group-beam-search"),
        ({"num_beams": 4, "force_words_ids": [[5]]}, "constrained-beam-search"),
    ],
)
def test_modes_that_left_say_where_they_are(model, one, options, repository):
    """They are code of a Hub's folder, which runs where the user trusts it, and nowhere else."""
    with pytest.raises(ValueError, match=f"transformers-community/{repository}"):
        model.generate(**one, max_new_tokens=2, do_sample=False, **options)


@pytest.mark.parametrize("sampled", [False, True], ids=["greedy", "sampled"])
def test_an_assistant_changes_nothing(model, make_config, one, sampled):
    for assistant in (model, initialise(make_config(), 7).eval()):
        found = model.generate(
            **one, **fixed(TOKENS, do_sample=sampled, top_k=1 if sampled else 50), assistant_model=assistant,
            return_dict_in_generate=True, output_scores=True, output_attentions=False,
        )  # fmt: skip
        assert torch.equal(found.sequences, model.generate(**one, **fixed(TOKENS)))
        assert [tuple(scores.shape) for scores in found.scores] == [(1, model.config.text.vocab_size)] * TOKENS


def test_assistance_is_for_one_row_at_a_time(model, batch):
    with pytest.raises(ValueError, match="batch_size = 1"):
        model.generate(**batch, **fixed(TOKENS), assistant_model=model)


def test_looking_up_the_prompt_changes_nothing(model, one):
    for size in (1, 5):
        found = model.generate(**one, **fixed(TOKENS), prompt_lookup_num_tokens=size)
        assert torch.equal(found, model.generate(**one, **fixed(TOKENS)))
    # An end that is foreseen is one.
    ends_with = greedy_by_hand(model, one, TOKENS)[3]
    found = model.generate(
        **one, max_new_tokens=TOKENS, do_sample=False, prompt_lookup_num_tokens=3, eos_token_id=int(ends_with)
    )
    assert answered(one, found)[0].tolist() == greedy_by_hand(model, one, 4).tolist()


def drawn_backwards(model, input_ids, logits_processor, stopping_criteria, generation_config, turns=1, **inputs):
    """A decoding loop of one's own: the least probable token each time."""
    for step in itertools.count(1):
        taken = model.prepare_inputs_for_generation(
            input_ids, next_sequence_length=None if step == 1 else 1, is_first_iteration=step == 1, **inputs
        )
        outputs = model(**taken, return_dict=True)
        inputs = model._update_model_kwargs_for_generation(outputs, inputs)
        logits_BK = logits_processor(input_ids, outputs.logits[:, -1])
        logits_BK = logits_BK.masked_fill(logits_BK.isinf(), torch.inf)
        input_ids = torch.cat((input_ids, logits_BK.argmin(-1, keepdim=True)), dim=1)
        if stopping_criteria(input_ids, None).all() or step >= 5 * turns:
            return input_ids


@torch.no_grad()
def test_a_loop_of_ones_own(model, one):
    """It is given the image, what must not be chosen, and options that only it knows."""
    options = {"custom_generate": drawn_backwards, "do_sample": False}
    found = model.generate(**one, max_new_tokens=3, min_new_tokens=3, **options)
    ids_1L = one["input_ids"]
    for _ in range(3):
        logits_1K = next_logits(model, ids_1L, one["pixel_values"])
        logits_1K[:, [model.config.image_token_id, model.config.text.eos_token_id]] = torch.inf
        ids_1L = torch.cat((ids_1L, logits_1K.argmin(-1, keepdim=True)), dim=1)
    assert torch.equal(found, ids_1L)
    longer = model.generate(**one, max_new_tokens=100, min_new_tokens=100, turns=2, **options)
    assert answered(one, longer).shape[1] == 10


def test_criteria_and_processors_of_ones_own(model, one):
    def only(token):
        def processor(ids_BL, scores_BK):
            return torch.full_like(scores_BK, -torch.inf).index_fill(1, torch.tensor([token]), 0.0)

        return processor

    stop = StoppingCriteriaList([MaxLengthCriteria(one["input_ids"].shape[1] + 3)])
    found = model.generate(
        **one,
        max_new_tokens=50,
        do_sample=False,
        stopping_criteria=stop,
        logits_processor=LogitsProcessorList([only(9)]),
    )
    assert answered(one, found).tolist() == [[9, 9, 9]]
