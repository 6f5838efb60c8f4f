"""Cross-field checks name the field, its value and a way out."""

import pytest

from training.model import EarthGPTConfig, preset
from training.model.vision.encoder import EncoderEntry

VIT = {"model_type": "dinov2", "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "patch_size": 14}
CNN = {"model_type": "convnext", "depths": [1, 1, 1, 1], "hidden_sizes": [8, 12, 16, 20]}
TEXT = {
    "model_type": "llama",
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
IDS = {"vocab_size": 400, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2, "image_token_id": 3}


def small(vit=None, cnn=None, **changes):
    """A small configuration; `vit` and `cnn` replace fields of an encoder."""
    encoders = [
        {"name": "vit", "config": VIT, "image_size": 56, "layers": [2, 3]} | (vit or {}),
        {"name": "cnn", "config": CNN, "image_size": 64} | (cnn or {}),
    ]
    fields = {"encoders": encoders, "text_config": TEXT, "token_merge": 1, "image_token_id": 3}
    return EarthGPTConfig(**fields | changes)


def test_sizes_follow_from_the_fields():
    config = small()
    assert (config.grid, config.visual_tokens, config.image_slots, config.image_size) == (4, 16, 18, 64)
    assert (config.entry("vit").width, config.entry("cnn").width) == (24, 56)
    assert small(token_merge=2).image_slots == 6
    assert small(vit={"fusion": "concat"}).entry("vit").width == 48
    assert (config.fused_channels, small(fusion="sum").fused_channels) == (80, 24)


@pytest.mark.parametrize(("side", "grid"), [(224, 16), (336, 24), (448, 32), (518, 37)])
def test_resolutions_that_dinov2_is_used_with(side, grid):
    config = preset("7b", **IDS, changes={"vit.image_size": side})
    assert (config.grid, config.image_slots, config.image_size) == (grid, grid**2 + 2, max(side, 512))


def test_the_paper_s_parts():
    config = preset("7b", **IDS, changes={"token_merge": 2})
    assert config.entry("vit").config.hidden_size == 1024
    assert list(config.entry("cnn").config.hidden_sizes) == [192, 384, 768, 1536]
    assert config.text.hidden_size == 4096
    assert (config.grid, config.image_slots) == (32, 258)


def test_layers_and_fusion_have_the_encoder_s_defaults():
    deep = VIT | {"num_hidden_layers": 24}
    vit, cnn = EncoderEntry.from_fields({"name": "vit", "config": deep, "image_size": 56}), small().entry("cnn")
    assert (vit.layers, vit.fusion, cnn.layers, cnn.fusion) == ((6, 12, 18, 24), "mean", (1, 2, 3, 4), "concat")


@pytest.mark.parametrize(("names", "grid", "channels"), [(["cnn"], 2, 56), (["vit"], 4, 24), (["cnn", "vit"], 2, 80)])
def test_any_number_of_encoders_the_first_gives_the_grid(names, grid, channels):
    entries = {entry.name: entry for entry in small().entries}
    config = small(encoders=[entries[name] for name in names])
    assert (config.grid, config.fused_channels) == (grid, channels)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"vit": {"image_size": 60}}, ["vit.image_size", "60", "14"]),
        ({"vit": {"image_size": 42}, "token_merge": 2}, ["token_merge", "3 cells", "28"]),
        ({"cnn": {"image_size": 80}}, ["cnn.image_size", "80", "32"]),
        ({"vit": {"layers": [3, 4]}}, ["vit.layers", "[3, 4]", "between 1 and 3"]),
        ({"vit": {"layers": [0, 1]}}, ["vit.layers", "[0, 1]"]),
        ({"vit": {"layers": []}}, ["vit.layers", "[]"]),
        ({"vit": {"layers": [2, 2]}}, ["vit.layers", "[2, 2]"]),
        ({"cnn": {"layers": [5]}}, ["cnn.layers", "[5]", "between 1 and 4"]),
        ({"cnn": {"fusion": "mean"}}, ["cnn.fusion", "'mean'", "4 widths", "'concat'"]),
        ({"vit": {"fusion": "max"}}, ["vit.fusion", "'max'", "'mean'", "'sum'", "'concat'"]),
        ({"vit": {"name": "train"}}, ["'train'", "lower-case name"]),
        ({"vit": {"name": "cnn"}}, ["cnn, cnn", "its own name"]),
        ({"vit": {"size": 3}}, ["vit.size", "image_size"]),
        ({"vit": {"config": {"hidden_size": 24}}}, ["vit.config", "no model_type", "dinov2"]),
        ({"vit": {"config": {"model_type": "resnet"}}}, ["'resnet'", "dinov2"]),
        ({"encoders": []}, ["encoders", "empty"]),
        ({"text_config": {"model_type": "gpt2"}}, ["'gpt2'", "llama"]),
        ({"text_config": {"hidden_size": 32}}, ["text_config", "no model_type"]),
        ({"fusion": "add"}, ["fusion", "'add'", "'concat'", "'sum'", "'mean'"]),
        ({"token_merge": 3}, ["token_merge", "3"]),
        ({"image_token_id": 1}, ["image_token_id", "1", "eos_token_id"]),
        ({"image_token_id": -1}, ["image_token_id", "-1"]),
        ({"vit": {"config": VIT | {"num_channels": 1}}}, ["vit.config.num_channels", "1"]),
        ({"vit": {"config": VIT | {"patch_size": [14, 14]}}}, ["vit.config.patch_size", "[14, 14]"]),
        ({"cnn": {"config": CNN | {"num_channels": 1}}}, ["cnn.config.num_channels", "1"]),
        ({"cnn": {"config": CNN | {"hidden_sizes": [8, 12]}}}, ["hidden_sizes", "[8, 12]", "4"]),
        ({"text_config": TEXT | {"max_position_embeddings": 18}}, ["18 positions", "token_merge"]),
    ],
)
def test_contradictions_are_refused(change, words):
    with pytest.raises(ValueError) as caught:
        small(**change)
    for word in words:
        assert word in str(caught.value)


def test_tie_flag_is_one_flag():
    tied = small(text_config=TEXT | {"tie_word_embeddings": True})
    assert tied.tie_word_embeddings
    assert small(tie_word_embeddings=True).text_config.tie_word_embeddings


def test_json_round_trip(tmp_path):
    config = small(vit={"fusion": "concat"}, cnn={"layers": (2, 4)})
    config.save_pretrained(tmp_path)
    loaded = EarthGPTConfig.from_pretrained(tmp_path)
    assert loaded.to_dict() == config.to_dict() | {"transformers_version": loaded.transformers_version}
    assert loaded.entry("cnn").layers == (2, 4) and loaded.entry("vit").config == config.entry("vit").config


@pytest.mark.parametrize(
    ("origin", "words"),
    [
        (3, "origin is of type int"),
        ({"parts": [3]}, "origin.parts must be a list of mappings with digest"),
        ({"parts": [{"role": "vit"}]}, "origin.parts"),
        ({"training": {"stage": "a"}}, "origin.training"),
        ({"scores": [[]]}, "origin.scores"),
    ],
)
def test_notes_of_another_kind_are_refused(origin, words):
    with pytest.raises(ValueError, match=words):
        small(origin=origin)
