"""Packed = alone, padded = alone, cached generation = argmax without a cache."""

import pytest
import torch
from torch.nn import functional
from transformers import AutoModel, GenerationConfig

from tests.support.models import left_padded
from training.model import (
    EarthGPTForConditionalGeneration,
    EarthGPTModel,
    EarthGPTProcessor,
    build_block_mask,
    build_position_ids,
    initialise,
)

EXACT = {"atol": 1e-5, "rtol": 1e-5}


def ids_of(processor, dialogue, with_image=True):
    return processor.encode_prefix(with_image) + processor.encode_dialogue(dialogue)[0]


DIALOGUES = (
    [("human", "Where is the car?"), ("gpt", "one car 0.412")],
    [("human", "What is it?"), ("gpt", "golf course"), ("human", "Sure?"), ("gpt", "yes")],
    [("human", "Count."), ("gpt", "3")],
)


@torch.no_grad()
def logits_alone(model, ids, pixels_NCHW):
    return model(torch.tensor([ids]), pixel_values=pixels_NCHW).logits[0]


def pack(processor, images):
    """One row: for each image its prefix and its dialogues. Returns ids, segments and each dialogue's span."""
    ids, image_segment, dialogue_segment, spans = [], [], [], []
    prefix = processor.encode_prefix(True)
    for number, dialogues in enumerate(images):
        pieces = [prefix] + [processor.encode_dialogue(dialogue)[0] for dialogue in dialogues]
        for segment, piece in enumerate(pieces):
            if segment:
                spans.append((number, dialogues[segment - 1], len(ids), len(ids) + len(piece)))
            ids += piece
            image_segment += [number] * len(piece)
            dialogue_segment += [segment] * len(piece)
    return torch.tensor([ids]), torch.tensor([image_segment]), torch.tensor([dialogue_segment]), spans


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_equals_each_dialogue_alone(make_config, processor, random_pixels, attention):
    config = make_config()
    config._attn_implementation = attention
    model = initialise(config, 0).eval()
    ids_BL, image_BL, dialogue_BL, spans = pack(processor, [DIALOGUES[:2], DIALOGUES[2:]])
    pad = torch.full((1, 5), -1)
    padded_BL = functional.pad(ids_BL, (0, 5), value=processor.tokenizer.pad_token_id)
    image_BL, dialogue_BL = torch.cat((image_BL, pad), 1), torch.cat((dialogue_BL, pad), 1)
    pixels = random_pixels(2)
    mask = build_block_mask(image_BL, dialogue_BL, dtype=torch.float32 if attention == "eager" else None)
    with torch.no_grad():
        states = model.hidden_states(padded_BL, pixels, mask, build_position_ids(image_BL, dialogue_BL))
    assert torch.isfinite(states).all()
    packed = model.lm_head(states)[0]
    for number, dialogue, start, stop in spans:
        alone = logits_alone(model, ids_of(processor, dialogue), pixels[number : number + 1])
        torch.testing.assert_close(packed[start:stop], alone[start - stop :], **EXACT)


def test_dialogues_of_a_pack_do_not_see_each_other(model, processor, random_pixels):
    ids_BL, image_BL, dialogue_BL, spans = pack(processor, [DIALOGUES[:2]])
    mask, positions = build_block_mask(image_BL, dialogue_BL), build_position_ids(image_BL, dialogue_BL)
    _, _, start, stop = spans[1]
    embeddings = model.embed(ids_BL, random_pixels(1)).detach().requires_grad_()
    states = model.language_model(inputs_embeds=embeddings, attention_mask=mask, position_ids=positions)
    states.last_hidden_state[0, start:stop].square().sum().backward()
    reach = embeddings.grad[0].abs().sum(-1)
    first = slice(spans[0][2], spans[0][3])
    assert not reach[first].any() and reach[: spans[0][2]].all() and reach[start:stop].all()


def test_left_padded_batch_equals_each_row_alone(model, processor, random_pixels):
    pixels = random_pixels(2)
    rows = [ids_of(processor, DIALOGUES[0]), ids_of(processor, DIALOGUES[2], False), ids_of(processor, DIALOGUES[1])]
    batch = left_padded(processor, rows)
    position_ids = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        together = model(**batch, pixel_values=pixels, position_ids=position_ids).logits
    for index, (row, image) in enumerate(zip(rows, (pixels[:1], None, pixels[1:]), strict=True)):
        torch.testing.assert_close(together[index, -len(row) :], logits_alone(model, row, image), **EXACT)


@torch.no_grad()
def greedy_without_cache(model, ids, pixels_NCHW, steps):
    ids = list(ids)
    for _ in range(steps):
        logits_K = logits_alone(model, ids, pixels_NCHW)[-1]
        logits_K[model.config.image_token_id] = -torch.inf
        ids.append(int(logits_K.argmax()))
    return ids[-steps:]


@pytest.mark.parametrize("use_cache", [True, False])
def test_generation_equals_argmax_without_cache(model, processor, random_pixels, use_cache):
    pixels = random_pixels(3)
    prompts = [[turns[0]] for turns in DIALOGUES] + [DIALOGUES[1][:3]]
    with_image = [True, False, True, True]
    rows = [ids_of(processor, turns, image) for turns, image in zip(prompts, with_image, strict=True)]
    batch = left_padded(processor, rows)
    output = model.generate(
        **batch, pixel_values=pixels, max_new_tokens=6, do_sample=False, use_cache=use_cache, eos_token_id=-1
    )
    images = iter(pixels)
    expected = []
    for row, image in zip(rows, with_image, strict=True):
        expected.append(greedy_without_cache(model, row, next(images)[None] if image else None, 6))
    assert output[:, batch["input_ids"].shape[1] :].tolist() == expected
    # The images matter and differ, or else the comparison would be empty.
    assert len({tuple(row) for row in expected}) > 1


def test_images_are_encoded_once_per_generation(model, processor, random_pixels, monkeypatch):
    calls = []
    original = model.model.get_image_features
    monkeypatch.setattr(model.model, "get_image_features", lambda *a, **k: calls.append(1) or original(*a, **k))
    batch = left_padded(processor, [ids_of(processor, DIALOGUES[0][:1])])
    model.generate(**batch, pixel_values=random_pixels(1), max_new_tokens=4, do_sample=False, eos_token_id=-1)
    assert len(calls) == 1


def test_beams_of_one_prompt_keep_their_images(model, processor, random_pixels):
    prefix = processor.encode_prefix(True)
    two_images = prefix + prefix[1:] + processor.encode_dialogue(DIALOGUES[0][:1])[0]
    one_image = prefix + processor.encode_dialogue(DIALOGUES[2][:1])[0]
    batch, pixels = left_padded(processor, [two_images, one_image]), random_pixels(3)
    arguments = {"max_new_tokens": 5, "do_sample": False, "num_beams": 3, "eos_token_id": -1}
    together = model.generate(**batch, pixel_values=pixels, **arguments)[:, batch["input_ids"].shape[1] :]
    for row, ids, images in ((0, two_images, pixels[:2]), (1, one_image, pixels[2:])):
        alone = model.generate(torch.tensor([ids]), pixel_values=images, **arguments)[0, len(ids) :]
        assert together[row].tolist() == alone.tolist()


def test_image_reaches_the_text_in_slot_order(model, processor, random_pixels):
    prefix = processor.encode_prefix(True)
    ids_BL = torch.tensor([prefix + prefix[1:]])
    pixels = random_pixels(2)
    with torch.no_grad():
        embeddings = model.embed(ids_BL, pixels)[0]
        features = model.get_image_features(pixels).pooler_output
    torch.testing.assert_close(embeddings[1:].unflatten(0, (2, -1)), features, **EXACT)
    assert torch.equal(embeddings[0], model.get_input_embeddings().weight[ids_BL[0, 0]])


@pytest.mark.parametrize("given", ["forward", "generate"])
@pytest.mark.parametrize(("prefixes", "images"), [(1, 0), (0, 1), (1, 2), (2, 1)])
def test_slots_and_images_must_match(given, model, processor, random_pixels, prefixes, images):
    ids = processor.encode_prefix(False) + processor.encode_prefix(True)[1:] * prefixes + [9]
    pixels = random_pixels(images) if images else None
    slots = model.config.image_slots
    with pytest.raises(ValueError, match=f"{prefixes * slots} image slots but {images} images need {images * slots}"):
        (model if given == "forward" else model.generate)(torch.tensor([ids]), pixel_values=pixels)


@pytest.mark.nightly  # quick: test_steps_compile, which is traced whole and breaks where a value is waited for
@torch.no_grad()
def test_the_model_is_exported_and_waits_for_no_value(model_folder):
    """One graph for any number and length of rows; nothing in it goes from the host to the device, or back."""
    model, processor = (
        kind.from_pretrained(model_folder) for kind in (EarthGPTForConditionalGeneration, EarthGPTProcessor)
    )
    pixels_NCHW = torch.arange(3 * 3 * 32 * 32).to(torch.uint8).view(3, 3, 32, 32)
    rows, length = torch.export.Dim("rows", min=2, max=8), torch.export.Dim("length", min=8, max=250)
    row = ids_of(processor, DIALOGUES[2])
    example = {"input_ids": torch.tensor([row] * 2), "pixel_values": pixels_NCHW[:2], "use_cache": False}
    shapes = {"input_ids": {0: rows, 1: length}, "pixel_values": {0: rows}, "use_cache": None}
    exported = torch.export.export(model, (), example, dynamic_shapes=shapes, strict=False)
    operations = {str(node.target).removeprefix("aten.") for node in exported.graph.nodes}
    assert not operations & {"lift_fresh_copy.default", "item.default", "_local_scalar_dense.default"}
    other = {"input_ids": torch.tensor([[*row, 7, 8]] * 3), "pixel_values": pixels_NCHW, "use_cache": False}
    torch.testing.assert_close(exported.module()(**other).logits, model(**other).logits, **EXACT)


def test_a_placeholder_is_never_generated(model, processor, random_pixels):
    """Whatever replaces the generation's configuration, and however large the vocabulary becomes."""
    with torch.no_grad():
        model.resize_token_embeddings(400)
        model.lm_head.weight[model.config.image_token_id] = 50 * model.lm_head.weight.norm(dim=1).max()
    assert model.config.image_token_id < model.lm_head.out_features
    batch = left_padded(processor, [ids_of(processor, DIALOGUES[0][:1])])
    own = GenerationConfig(max_new_tokens=12, do_sample=True, temperature=5.0, eos_token_id=-1, pad_token_id=2)
    torch.manual_seed(0)
    output = model.generate(**batch, pixel_values=random_pixels(1), generation_config=own)
    answer = output[0, batch["input_ids"].shape[1] :].tolist()
    assert len(answer) == 12 and model.config.image_token_id not in answer


def test_a_placeholder_behind_the_vocabulary_is_none_of_a_larger_one(make_config, random_pixels):
    config = make_config(image_token_id=350)
    model = initialise(config, 0).eval()
    model.resize_token_embeddings(400)
    ids_BL = torch.tensor([[0] + [350] * config.image_slots + [7]])
    with torch.no_grad():
        model.lm_head.weight[350] = 0
        model.lm_head.weight[:350] -= 10 * model.lm_head.weight[:350].abs().max()
    output = model.generate(ids_BL, pixel_values=random_pixels(1), max_new_tokens=8, do_sample=False, eos_token_id=-1)
    assert 350 not in output[0, ids_BL.shape[1] :].tolist()


def test_placeholder_may_lie_outside_the_vocabulary(make_config, random_pixels):
    config = make_config(image_token_id=5000)
    ids_BL = torch.tensor([[0] + [5000] * config.image_slots + [7]])
    assert torch.isfinite(initialise(config, 0).eval()(ids_BL, pixel_values=random_pixels(1)).logits).all()


def test_logits_to_keep(model, processor):
    ids_BL = torch.tensor([ids_of(processor, DIALOGUES[0], False)])
    with torch.no_grad():
        full = model(ids_BL).logits
        torch.testing.assert_close(model(ids_BL, logits_to_keep=2).logits, full[:, -2:], **EXACT)
        torch.testing.assert_close(model(ids_BL, logits_to_keep=torch.tensor([1, 4])).logits, full[:, [1, 4]], **EXACT)


def test_loss_is_the_shifted_cross_entropy(model, processor, random_pixels):
    ids, is_target = processor.encode_dialogue(DIALOGUES[1])
    prefix = processor.encode_prefix(True)
    ids_BL = torch.tensor([prefix + ids])
    labels_BL = ids_BL.masked_fill(~torch.tensor([[False] * len(prefix) + is_target]), -100)
    with torch.no_grad():
        outputs = model(ids_BL, pixel_values=random_pixels(1), labels=labels_BL)
    rows = [
        functional.cross_entropy(outputs.logits[0, position - 1], ids_BL[0, position])
        for position in range(1, ids_BL.shape[1])
        if labels_BL[0, position] != -100
    ]
    torch.testing.assert_close(outputs.loss, torch.stack(rows).mean(), **EXACT)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_attention_implementation_reaches_the_language_model(make_config, tmp_path, attention):
    initialise(make_config(), 0).save_pretrained(tmp_path)
    model = EarthGPTForConditionalGeneration.from_pretrained(tmp_path, attn_implementation=attention)
    assert model.language_model.config._attn_implementation == attention
    assert model.vision.vit.config._attn_implementation == attention


def test_attention_is_chosen_later_too_where_an_encoder_has_none(make_config):
    model = initialise(make_config(), 0)
    for chosen in ("eager", "sdpa"):
        model.set_attn_implementation(chosen)
        assert model.language_model.config._attn_implementation == chosen
        assert model.vision.vit.config._attn_implementation == chosen
        assert model.vision.cnn.config._attn_implementation == "eager"


def test_targets_may_be_shifted_already(model, processor, random_pixels):
    ids_BL = torch.tensor([ids_of(processor, DIALOGUES[1])])
    shifted_BL = functional.pad(ids_BL[:, 1:], (0, 1), value=-100)
    pixels_NCHW = random_pixels(1)
    usual = model(ids_BL, pixel_values=pixels_NCHW, labels=ids_BL).loss
    torch.testing.assert_close(model(ids_BL, pixel_values=pixels_NCHW, shift_labels=shifted_BL).loss, usual, **EXACT)


def test_the_configuration_asks_for_the_features_of_encoders(make_config, random_pixels):
    config = make_config(output_hidden_states=True)
    model = initialise(config, 0)
    assert len(model.get_image_features(random_pixels(1)).hidden_states) == len(config.encoders)
    assert model.get_image_features(random_pixels(1), output_hidden_states=False).hidden_states is None


@torch.no_grad()
def test_the_base_class_has_the_states_that_the_head_reads(model, processor, random_pixels, tmp_path):
    model.save_pretrained(tmp_path)
    base = AutoModel.from_pretrained(tmp_path).eval()
    assert type(base) is EarthGPTModel and model.base_model is model.model
    ids = torch.tensor([ids_of(processor, DIALOGUES[0])])
    outputs = base(ids, pixel_values=random_pixels(1))
    whole = model(ids, pixel_values=random_pixels(1))
    assert torch.equal(model.lm_head(outputs.last_hidden_state), whole.logits)
    assert outputs.image_hidden_states.shape == (1, model.config.image_slots, model.config.text.hidden_size)
    as_tuple = base(ids, pixel_values=random_pixels(1), return_dict=False)
    assert isinstance(as_tuple, tuple) and torch.equal(as_tuple[0], outputs.last_hidden_state)


def test_a_misspelt_argument_is_refused(model, processor):
    ids = torch.tensor([ids_of(processor, DIALOGUES[0], with_image=False)])
    for network in (model, model.model):
        with pytest.raises(TypeError, match="pixel_value"):
            network(ids, pixel_value=None)
        with pytest.raises(ValueError, match="exactly one of"):
            network()


@torch.no_grad()
def test_embeddings_in_the_place_of_ids(model, processor, random_pixels):
    ids, pixels = torch.tensor([ids_of(processor, DIALOGUES[0])]), random_pixels(1)
    expected = model(ids, pixel_values=pixels).logits
    assert torch.equal(model(inputs_embeds=model.embed(ids, pixels)).logits, expected)
    plain = model.get_input_embeddings()(ids)
    assert torch.equal(model(inputs_embeds=plain, pixel_values=pixels).logits, expected)
    with pytest.raises(ValueError, match="image slots"):
        model(inputs_embeds=plain[:, 3:], pixel_values=pixels)
