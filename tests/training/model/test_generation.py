"""Ways of `generate` that other models of transformers have: each gives the greedy answer, or runs to its end."""

import pytest
import torch

from tests.support.models import left_padded
from training.model import initialise

TURNS = [[("human", "Where is the car?")], [("human", "What? What? What?")]]
TOKENS = 10


@pytest.fixture
def batch(processor, random_pixels):
    rows = [processor.encode_prefix(True) + processor.encode_dialogue(turns)[0] for turns in TURNS]
    return dict(left_padded(processor, rows)) | {"pixel_values": random_pixels(2)}


@pytest.fixture
def one(processor, random_pixels):
    row = processor.encode_prefix(True) + processor.encode_dialogue(TURNS[0])[0]
    return {"input_ids": torch.tensor([row]), "pixel_values": random_pixels(1)}


def greedy(model, inputs, **options):
    return model.generate(**inputs, max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=False, **options)


def test_a_static_cache_answers_alike(model, batch):
    assert model._can_compile_fullgraph
    assert torch.equal(greedy(model, batch, cache_implementation="static"), greedy(model, batch))


def test_without_a_cache_alike(model, batch):
    assert torch.equal(greedy(model, batch, use_cache=False), greedy(model, batch))


@pytest.mark.parametrize("help_of", ["itself", "another", "the prompt"])
def test_assisted_decoding_answers_alike(model, make_config, one, help_of):
    options = {"prompt_lookup_num_tokens": 3}
    if help_of != "the prompt":
        options = {"assistant_model": model if help_of == "itself" else initialise(make_config(), 7).eval()}
    assert torch.equal(greedy(model, one, **options), greedy(model, one))


def test_an_assistant_of_another_width_is_refused(model, make_config, one):
    text = make_config().text.to_dict() | {"hidden_size": 48, "head_dim": 24}
    with pytest.raises(ValueError, match="images of width 48, the model's have 32"):
        greedy(model, one, assistant_model=initialise(make_config(text_config=text), 7).eval())


@pytest.mark.parametrize("options", [{"num_beams": 3}, {"num_return_sequences": 2, "num_beams": 2}])
def test_beams_of_images_run(model, batch, options):
    found = greedy(model, batch, **options)
    assert len(found) == 2 * options.get("num_return_sequences", 1)
    assert found.shape[1] == batch["input_ids"].shape[1] + TOKENS


def test_embeddings_begin_an_answer(model, one):
    expected = greedy(model, one)[:, one["input_ids"].shape[1] :]
    embedded = model.embed(one["input_ids"], one["pixel_values"])
    assert torch.equal(greedy(model, {"inputs_embeds": embedded}), expected)


def test_features_of_images_are_standard_outputs(model, random_pixels):
    pixels = random_pixels(2)
    outputs = model.get_image_features(pixels, output_hidden_states=True)
    assert outputs.pooler_output.shape == (2, model.config.image_slots, model.config.text.hidden_size)
    cells = model.config.grid**2
    assert [state.shape[:2] for state in outputs.hidden_states] == [(2, cells)] * 2
    assert torch.equal(outputs.last_hidden_state, outputs.hidden_states[0])
    as_tuple = model.get_image_features(pixels, return_dict=False)
    assert isinstance(as_tuple, tuple) and torch.equal(as_tuple[1], outputs.pooler_output)
    with pytest.raises(TypeError, match="vision_layer"):
        model.get_image_features(pixels, vision_layer=1)


def test_what_servers_and_shards_of_the_head_rely_on(model):
    assert model._tp_plan["lm_head"] == "colwise_gather_output" and model._supports_attention_backend
    assert model.model.language_model is model.language_model
    assert model.config.get_text_config() is model.config.text
