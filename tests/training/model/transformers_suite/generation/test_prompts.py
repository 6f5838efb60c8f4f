"""What `generate` begins with: padded prompts, embeddings for ids or beside them, chunks, and its options."""

import pytest
import torch
from transformers import GenerationConfig

from tests.support.models import left_padded
from tests.training.model.transformers_suite.generation.oracle import answered, fixed, greedy_by_hand

TOKENS = 6


@pytest.mark.parametrize("cache", [None, "static"])
@torch.no_grad()
def test_padding_on_the_left_changes_nothing(model, processor, rows, batch, cache):
    """Also beside a row that is much longer, and with positions that are told."""
    long = [rows[0], rows[1] + 40 * rows[1][-3:-2]]
    wide = dict(left_padded(processor, long)) | {"pixel_values": batch["pixel_values"]}
    assert (wide["attention_mask"][0] == 0).sum() >= 30
    alone = greedy_by_hand(
        model, {"input_ids": torch.tensor([rows[0]]), "pixel_values": batch["pixel_values"][:1]}, TOKENS
    )
    positions = (wide["attention_mask"].cumsum(1) - 1).clamp(min=0)
    for more in ({}, {"position_ids": positions}):
        found = model.generate(**wide, **more, **fixed(TOKENS, cache_implementation=cache))
        assert answered(wide, found)[0].tolist() == alone.tolist()


@torch.no_grad()
@pytest.mark.parametrize("cache", [None, "static"])
@pytest.mark.parametrize("beams", [1, 3])
def test_embeddings_in_the_place_of_ids(model, batch, beams, cache):
    """Alone they answer with what is new; beside ids these count as the prompt, and the embeddings as what is read."""
    options = fixed(TOKENS, num_beams=beams, cache_implementation=cache)
    expected = model.generate(**batch, **options)
    embedded, mask = model.embed(batch["input_ids"], batch["pixel_values"]), batch["attention_mask"]
    alone = model.generate(inputs_embeds=embedded, attention_mask=mask, **options)
    assert torch.equal(alone, answered(batch, expected))
    beside = model.generate(batch["input_ids"], inputs_embeds=embedded, attention_mask=mask, **options)
    assert torch.equal(beside, expected)
    named = model.generate(input_ids=batch["input_ids"], inputs_embeds=embedded, attention_mask=mask, **options)
    assert torch.equal(named, expected)
    # What is read are the embeddings.
    other = model.generate(batch["input_ids"], inputs_embeds=embedded.flip(1), attention_mask=mask, **options)
    assert torch.equal(other[:, : mask.shape[1]], batch["input_ids"]) and not torch.equal(other, expected)


def test_random_embeddings_are_read_too(model):
    torch.manual_seed(0)
    embedded = torch.randn(2, 9, model.config.text.hidden_size)
    assert model.generate(inputs_embeds=embedded, **fixed(TOKENS)).shape == (2, TOKENS)


@torch.no_grad()
def test_embeddings_with_slots_that_pixels_fill(model, batch):
    embedded = model.get_input_embeddings()(batch["input_ids"])
    found = model.generate(
        inputs_embeds=embedded, pixel_values=batch["pixel_values"], attention_mask=batch["attention_mask"],
        **fixed(TOKENS),
    )  # fmt: skip
    assert torch.equal(found, answered(batch, model.generate(**batch, **fixed(TOKENS))))


@pytest.mark.parametrize("chunk", [1, 7, 19, 200])
def test_a_prompt_may_be_read_in_chunks(model, processor, random_pixels, rows, chunk):
    """An image that several chunks have parts of, and a row of two images beside a row of one."""
    both = [rows[0], processor.encode_prefix(True) + rows[1]]
    inputs = dict(left_padded(processor, both)) | {"pixel_values": random_pixels(3)}
    for more in ({}, {"num_beams": 2}):
        expected = model.generate(**inputs, **fixed(TOKENS, **more))
        assert torch.equal(model.generate(**inputs, **fixed(TOKENS, **more), prefill_chunk_size=chunk), expected)


@torch.no_grad()
def test_images_may_be_encoded_before(model, batch):
    encoded = {"image": model.get_image_features(batch["pixel_values"])}
    text = {name: batch[name] for name in ("input_ids", "attention_mask")}
    found = model.generate(**text, mm_encoder_outputs=encoded, **fixed(TOKENS))
    assert torch.equal(found, model.generate(**batch, **fixed(TOKENS)))


def test_nothing_but_the_first_token(model):
    found = model.generate(do_sample=False, max_new_tokens=TOKENS, min_new_tokens=TOKENS)
    assert found.shape == (1, 1 + TOKENS) and int(found[0, 0]) == model.config.text.bos_token_id


def test_text_without_an_image(model, processor):
    ids = torch.tensor([processor.encode_prefix(False) + processor.encode_dialogue([("human", "Where?")])[0]])
    assert model.generate(ids, **fixed(TOKENS)).shape == (1, ids.shape[1] + TOKENS)


@pytest.mark.parametrize("tokens", [1, 2])
def test_few_tokens_are_as_many(model, batch, tokens):
    for more in ({}, {"num_beams": 2}, {"cache_implementation": "static"}, {"use_cache": False}):
        found = model.generate(**batch, **fixed(tokens, **more))
        assert found.shape == (2, batch["input_ids"].shape[1] + tokens)


def test_a_prompt_that_is_as_long_as_the_answer_may_be_is_refused(model, batch):
    with pytest.raises(ValueError, match="max_length"):
        model.generate(**batch, max_length=5)


def test_a_misspelt_option_is_refused(model, batch):
    for name in ("max_new_token", "pixel_value"):
        with pytest.raises(ValueError, match=name):
            model.generate(**batch, **{name: 3})


@torch.no_grad()
def test_texts_that_end_an_answer(model, processor, one):
    tokens = greedy_by_hand(model, one, 12).tolist()
    text = processor.tokenizer.decode(tokens)
    stop = processor.tokenizer.decode(tokens[4:6])
    options = {**fixed(12), "stop_strings": [stop], "tokenizer": processor.tokenizer}
    found = answered(one, model.generate(**one, **options))[0].tolist()
    cut = text[: text.index(stop) + len(stop)]
    assert len(found) < 12 and processor.tokenizer.decode(found).startswith(cut)
    assert found == tokens[: len(found)] and stop not in processor.tokenizer.decode(found[:-1])


@torch.no_grad()
def test_rows_that_ended_are_padded(model, batch):
    """The end token of one row is none of the other's, and no end token is chosen before its time."""
    whole = answered(batch, model.generate(**batch, **fixed(TOKENS)))
    end = int(next(token for token in whole[0] if token not in whole[1]))
    found = answered(batch, model.generate(**batch, max_new_tokens=TOKENS, do_sample=False, eos_token_id=end))
    place = whole[0].tolist().index(end)
    assert found[0, : place + 1].tolist() == whole[0, : place + 1].tolist()
    assert (found[0, place + 1 :] == model.generation_config.pad_token_id).all()


def test_how_a_model_generates_is_saved_with_it(model, batch, tmp_path):
    model.generation_config.max_new_tokens = 3
    model.generation_config.do_sample = True
    model.generation_config.top_k = 1
    model.save_pretrained(tmp_path / "model")
    loaded = type(model).from_pretrained(tmp_path / "model").eval()
    for name in ("max_new_tokens", "do_sample", "top_k", "eos_token_id", "bos_token_id", "pad_token_id"):
        assert getattr(loaded.generation_config, name) == getattr(model.generation_config, name)
    assert loaded.generation_config.eos_token_id == model.config.text.eos_token_id
    first = loaded.generate(**batch)
    assert torch.equal(first, model.generate(**batch)) and first.shape[1] <= batch["input_ids"].shape[1] + 3
    # A call's own options count before those, and change none of them.
    own = GenerationConfig(max_new_tokens=1, do_sample=False)
    assert loaded.generate(**batch, generation_config=own).shape[1] == batch["input_ids"].shape[1] + 1
    assert loaded.generate(**batch, max_new_tokens=2, min_new_tokens=2).shape[1] == batch["input_ids"].shape[1] + 2
    assert loaded.generation_config.max_new_tokens == 3


@torch.no_grad()
def test_what_a_step_is_not_told_is_passed_on(model, batch):
    encoded = {"image": model.get_image_features(batch["pixel_values"])}
    first = model.prepare_inputs_for_generation(
        **batch, is_first_iteration=True, use_cache=True, logits_to_keep=1, output_attentions=True
    )
    assert first["logits_to_keep"] == 1 and first["output_attentions"] and first["use_cache"]
    assert torch.equal(first["pixel_values"], batch["pixel_values"])
    later = model.prepare_inputs_for_generation(
        **batch, mm_encoder_outputs=encoded, next_sequence_length=1, is_first_iteration=False, use_cache=True
    )
    # The image was read in the first step.
    assert later["input_ids"].shape == (2, 1) and "pixel_values" not in later and "mm_encoder_outputs" not in later
