"""Cross-field checks name the field, its value and a way out."""

import pytest

from training.model import EarthGPTConfig

SMALL = {
    "vit_config": {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "patch_size": 14},
    "cnn_config": {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 12, 16, 20]},
    "text_config": {
        "vocab_size": 300,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 2,
    },
    "vit_image_size": 56,
    "cnn_image_size": 64,
    "vit_layers": [2, 3],
    "token_merge": 1,
    "image_token_id": 3,
}


def test_sizes_follow_from_the_fields():
    config = EarthGPTConfig(**SMALL)
    assert (config.grid, config.visual_tokens, config.image_slots, config.image_size) == (4, 16, 18, 64)
    assert (config.vit_channels, config.cnn_channels) == (24, 56)
    assert EarthGPTConfig(**SMALL | {"token_merge": 2}).image_slots == 6
    assert EarthGPTConfig(**SMALL | {"vit_fusion": "concat"}).vit_channels == 48
    assert (config.fused_channels, EarthGPTConfig(**SMALL | {"fusion": "sum"}).fused_channels) == (80, 24)


@pytest.mark.parametrize(("side", "grid"), [(224, 16), (336, 24), (448, 32), (518, 37)])
def test_resolutions_that_dinov2_is_used_with(side, grid):
    config = EarthGPTConfig(vit_image_size=side, token_merge=1)
    assert (config.grid, config.image_slots, config.image_size) == (grid, grid**2 + 2, max(side, 512))


def test_defaults_are_the_published_parts():
    config = EarthGPTConfig()
    assert config.vit_config.hidden_size == 1024
    assert list(config.cnn_config.hidden_sizes) == [192, 384, 768, 1536]
    assert config.text_config.hidden_size == 4096
    assert (config.grid, config.image_slots) == (32, 258)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"vit_image_size": 60}, ["vit_image_size", "60", "14"]),
        ({"vit_image_size": 42, "token_merge": 2}, ["token_merge", "3 patches", "28"]),
        ({"cnn_image_size": 80}, ["cnn_image_size", "80", "32"]),
        ({"vit_layers": [3, 4]}, ["vit_layers", "[3, 4]", "between 1 and 3"]),
        ({"vit_layers": [0, 1]}, ["vit_layers", "[0, 1]"]),
        ({"vit_layers": []}, ["vit_layers", "[]"]),
        ({"vit_layers": [2, 2]}, ["vit_layers", "[2, 2]"]),
        ({"cnn_stages": [5]}, ["cnn_stages", "[5]", "between 1 and 4"]),
        ({"vit_fusion": "max"}, ["vit_fusion", "'max'", "'mean'", "'sum'", "'concat'"]),
        ({"fusion": "add"}, ["fusion", "'add'", "'concat'", "'sum'", "'mean'"]),
        ({"token_merge": 3}, ["token_merge", "3"]),
        ({"image_token_id": 1}, ["image_token_id", "1", "eos_token_id"]),
        ({"image_token_id": -1}, ["image_token_id", "-1"]),
        ({"vit_config": SMALL["vit_config"] | {"num_channels": 1}}, ["vit_config.num_channels", "1"]),
        ({"vit_config": SMALL["vit_config"] | {"patch_size": [14, 14]}}, ["vit_config.patch_size", "[14, 14]"]),
        ({"cnn_config": SMALL["cnn_config"] | {"num_channels": 1}}, ["cnn_config.num_channels", "1"]),
        ({"cnn_config": SMALL["cnn_config"] | {"hidden_sizes": [8, 12]}}, ["hidden_sizes", "[8, 12]", "4"]),
        ({"text_config": SMALL["text_config"] | {"max_position_embeddings": 18}}, ["18 positions", "token_merge"]),
    ],
)
def test_contradictions_are_refused(change, words):
    with pytest.raises(ValueError) as caught:
        EarthGPTConfig(**SMALL | change)
    for word in words:
        assert word in str(caught.value)


def test_tie_flag_is_one_flag():
    tied = EarthGPTConfig(**SMALL | {"text_config": SMALL["text_config"] | {"tie_word_embeddings": True}})
    assert tied.tie_word_embeddings
    assert EarthGPTConfig(**SMALL | {"tie_word_embeddings": True}).text_config.tie_word_embeddings


def test_json_round_trip(tmp_path):
    config = EarthGPTConfig(**SMALL | {"vit_fusion": "concat", "cnn_stages": (2, 4)})
    config.save_pretrained(tmp_path)
    loaded = EarthGPTConfig.from_pretrained(tmp_path)
    assert loaded.to_dict() == config.to_dict() | {"transformers_version": loaded.transformers_version}
    assert loaded.cnn_stages == [2, 4]
