"""Named model sizes, and random weights from an explicit seed."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch

from training.model.configuration import EarthGPTConfig, changed
from training.model.modeling.generation import EarthGPTForConditionalGeneration

_TINY = {
    "encoders": [
        {
            "name": "vit",
            "config": {
                "model_type": "dinov2",
                "hidden_size": 128,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "patch_size": 14,
                "image_size": 112,
                "use_mask_token": False,
            },
            "image_size": 112,
            "layers": [1, 2],
            "fusion": "mean",
        },
        {
            "name": "cnn",
            "config": {
                "model_type": "convnext",
                "depths": [1, 1, 2, 1],
                "hidden_sizes": [24, 48, 96, 128],
                "image_size": 128,
                "layer_norm_eps": 1e-6,
                "layer_scale_init_value": 1.0,
            },
            "image_size": 128,
            "layers": [2, 3, 4],
            "fusion": "concat",
        },
    ],
    "text_config": {
        "model_type": "llama",
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "max_position_embeddings": 1024,
        "rms_norm_eps": 1e-5,
    },
    "token_merge": 2,
}

# DINOv2 ViT-S/14 and ConvNeXt-T, with the sizes of SmolLM2-135M.
_SMALL = {
    "encoders": [
        {
            "name": "vit",
            "config": {
                "model_type": "dinov2",
                "hidden_size": 384,
                "num_hidden_layers": 12,
                "num_attention_heads": 6,
                "patch_size": 14,
                "image_size": 518,
                "use_mask_token": False,
            },
            "image_size": 336,
            "layers": [3, 6, 9, 12],
            "fusion": "mean",
        },
        {
            "name": "cnn",
            "config": {
                "model_type": "convnext",
                "depths": [3, 3, 9, 3],
                "hidden_sizes": [96, 192, 384, 768],
                "image_size": 384,
                "layer_norm_eps": 1e-6,
                "layer_scale_init_value": 1.0,
            },
            "image_size": 384,
            "layers": [1, 2, 3, 4],
            "fusion": "concat",
        },
    ],
    "text_config": {
        "model_type": "llama",
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_type": "default", "rope_theta": 100_000.0},
        "tie_word_embeddings": True,
    },
    "token_merge": 2,
}

# DINOv2 ViT-L/14 and CLIP ConvNeXt-L, the paper's encoders; every grid cell is one visual token.
_PUBLISHED_ENCODERS = [
    {
        "name": "vit",
        "config": {
            "model_type": "dinov2",
            "hidden_size": 1024,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "patch_size": 14,
            "image_size": 518,
        },
        "image_size": 448,
        "layers": [6, 12, 18, 24],
        "fusion": "mean",
    },
    {
        "name": "cnn",
        "config": {
            "model_type": "convnext",
            "depths": [3, 3, 27, 3],
            "hidden_sizes": [192, 384, 768, 1536],
            "image_size": 512,
            "layer_norm_eps": 1e-6,
        },
        "image_size": 512,
        "layers": [1, 2, 3, 4],
        "fusion": "concat",
    },
]


def _published(text_config: dict[str, Any]) -> dict[str, Any]:
    """The paper's encoders before a LLaMA-2."""
    common = {"model_type": "llama", "max_position_embeddings": 4096, "rms_norm_eps": 1e-5}
    return {"encoders": _PUBLISHED_ENCODERS, "text_config": common | text_config, "token_merge": 1}


_SIZES: dict[str, dict[str, Any]] = {
    "tiny": _TINY,
    "small": _SMALL,
    "7b": _published(
        {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32}
    ),
    "13b": _published(
        {"hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 40, "num_attention_heads": 40}
    ),
}
PRESETS = tuple(_SIZES)


def preset_fields(name: str) -> dict[str, Any]:
    """Plain fields of `EarthGPTConfig` of a named size, without a vocabulary; free to be changed.

    Raises:
        ValueError: there is no such preset.
    """
    if name not in _SIZES:
        raise ValueError(f"there is no preset {name!r}; choose one of {', '.join(PRESETS)}")
    return copy.deepcopy(_SIZES[name])


def preset(
    name: str,
    *,
    vocab_size: int,
    bos_token_id: int,
    eos_token_id: int,
    pad_token_id: int,
    image_token_id: int,
    changes: Mapping[str, Any] | None = None,
) -> EarthGPTConfig:
    """Configuration of a named size for a given vocabulary.

    | name  | encoders                 | language model     | positions per image | for |
    |-------|--------------------------|--------------------|---------------------|-----|
    | tiny  | 1 million parameters     | 1 million          | 18                  | random weights, a laptop's CPU |
    | small | DINOv2-S/14, ConvNeXt-T  | SmolLM2-135M class | 146                 | one small GPU |
    | 7b    | DINOv2-L/14, ConvNeXt-L  | LLaMA-2 7B         | 1026                | the paper's size as most read it |
    | 13b   | DINOv2-L/14, ConvNeXt-L  | LLaMA-2 13B        | 1026                | the paper's size as some read it |

    Args:
        changes: fields that replace the preset's, see `training.model.configuration.changed`; ``{"token_merge": 2}``
            for instance gives 7b and 13b 258 positions per image and a projector four times as wide.

    Raises:
        ValueError: there is no such preset, or a field is unknown or out of range.
    """
    fields = changed(preset_fields(name), changes or {})
    ids = {"bos_token_id": bos_token_id, "eos_token_id": eos_token_id, "pad_token_id": pad_token_id}
    fields["text_config"] |= {"vocab_size": vocab_size} | ids
    return EarthGPTConfig(**fields, image_token_id=image_token_id)


def initialise(config: EarthGPTConfig, seed: int) -> EarthGPTForConditionalGeneration:
    """Model with random weights for training from scratch, see `training.model.random_weights`.

    The weights are a function of `config` and `seed` alone, and no global random state is touched.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = EarthGPTForConditionalGeneration(config)
        config.decoder_kind.scale_random(model.language_model)
        for entry in config.entries:
            entry.encoder.scale_random(model.vision.get_submodule(entry.name))
        model.projector.scale_random()
        if not config.tie_word_embeddings:
            with torch.no_grad():
                model.language_model.embed_tokens.weight.normal_()
        return model
