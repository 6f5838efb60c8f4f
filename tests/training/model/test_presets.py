"""Presets and random weights."""

import pytest
import torch

from training.model import initialise, preset

IDS = {"vocab_size": 400, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2, "image_token_id": 3}


def test_unknown_preset_is_refused():
    with pytest.raises(ValueError, match="no preset 'huge'; choose one of tiny"):
        preset("huge", **IDS)


def test_tiny_is_tiny_and_takes_the_vocabulary():
    config = preset("tiny", **IDS)
    model = initialise(config, 0)
    assert sum(parameter.numel() for parameter in model.parameters()) < 4_000_000
    assert model.lm_head.weight.shape[0] == 400
    assert (config.text_config.eos_token_id, config.image_token_id) == (1, 3)


def test_initialise_is_a_function_of_the_seed(make_config):
    torch.manual_seed(1)
    first = initialise(make_config(), 5).state_dict()
    torch.manual_seed(2)
    second = initialise(make_config(), 5).state_dict()
    other = initialise(make_config(), 6).state_dict()
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    differing = {name for name, tensor in first.items() if not torch.equal(tensor, other[name])}
    assert {"model.projector.linear.weight", "model.projector.start", "lm_head.weight"} <= differing
    assert any(name.startswith("model.vision.vit") for name in differing)
    assert any(name.startswith("model.vision.cnn") for name in differing)


def test_initialise_leaves_the_global_random_state(make_config):
    torch.manual_seed(9)
    expected = torch.rand(4)
    torch.manual_seed(9)
    initialise(make_config(), 5)
    assert torch.equal(torch.rand(4), expected)


def test_fields_can_be_replaced_and_presets_are_not_shared():
    merged = preset("7b", **IDS, changes={"token_merge": 2})
    assert (merged.image_slots, preset("7b", **IDS).image_slots) == (258, 1026)
    first = preset("small", **IDS)
    first.entry("cnn").config.depths[0] = 9
    second = preset("small", **IDS)
    assert second.entry("cnn").config.depths[0] == 3 and second.image_slots == 146
    assert second.tie_word_embeddings and second.text_config.vocab_size == 400
