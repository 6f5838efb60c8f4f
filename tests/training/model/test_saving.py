"""What is saved is what is loaded, through the Auto classes too."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from tests.support.models import left_padded
from training.model import (
    EarthGPTConfig,
    EarthGPTForConditionalGeneration,
    EarthGPTProcessor,
    initialise,
    register_auto_classes,
)


@pytest.mark.parametrize("tie", [False, True])
@pytest.mark.parametrize("shard_size", ["50KB", "5GB"])
def test_weights_round_trip_exactly(make_config, random_pixels, processor, tmp_path, tie, shard_size):
    model = initialise(make_config(tie_word_embeddings=tie), 3).eval()
    model.save_pretrained(tmp_path, max_shard_size=shard_size)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (shard_size == "50KB")
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path).eval()
    assert type(loaded) is EarthGPTForConditionalGeneration
    expected = model.state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    inputs = left_padded(processor, [[*processor.encode_prefix(True), 7, 8]])
    with torch.no_grad():
        first = model(**inputs, pixel_values=random_pixels(1)).logits
        assert torch.equal(loaded(**inputs, pixel_values=random_pixels(1)).logits, first)


def test_tied_head_is_the_embedding(make_config, tmp_path):
    model = initialise(make_config(tie_word_embeddings=True), 0)
    assert model.lm_head.weight is model.get_input_embeddings().weight
    model.save_pretrained(tmp_path)
    loaded = EarthGPTForConditionalGeneration.from_pretrained(tmp_path)
    assert loaded.lm_head.weight is loaded.get_input_embeddings().weight
    untied = initialise(make_config(), 0)
    assert untied.lm_head.weight is not untied.get_input_embeddings().weight


def test_auto_classes_know_config_and_processor(make_config, processor, tmp_path):
    register_auto_classes()
    make_config(vit={"fusion": "concat"}).save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert type(config) is EarthGPTConfig and config.entry("vit").fusion == "concat"
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert type(loaded) is EarthGPTProcessor
    assert loaded.image_slots == processor.image_slots
    assert loaded.image_processor.image_size == processor.image_processor.image_size
    turns = [("human", "Detect <image> cars.</s>"), ("gpt", "at 0.125")]
    assert loaded.encode_dialogue(turns) == processor.encode_dialogue(turns)
    assert loaded.encode_prefix(True) == processor.encode_prefix(True)


def test_generation_settings_know_the_special_tokens(model, tokenizer):
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert model.generation_config.pad_token_id == tokenizer.pad_token_id
