"""Named model sizes, and random weights from an explicit seed."""

from __future__ import annotations

import copy
from typing import Any

import torch

from training.model.assembly.scratch import scale_for_training_from_scratch
from training.model.configuration import EarthGPTConfig
from training.model.modeling import EarthGPTForConditionalGeneration

_TINY = {
    "vit_config": {
        "hidden_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "patch_size": 14,
        "image_size": 112,
        "use_mask_token": False,
    },
    "cnn_config": {
        "depths": [1, 1, 2, 1],
        "hidden_sizes": [24, 48, 96, 128],
        "image_size": 128,
        "layer_norm_eps": 1e-6,
        "layer_scale_init_value": 1.0,
    },
    "text_config": {
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "max_position_embeddings": 1024,
    },
    "vit_image_size": 112,
    "cnn_image_size": 128,
    "vit_layers": [2, 4],
    "cnn_stages": [2, 3, 4],
    "token_merge": 2,
}

# DINOv2 ViT-S/14 and ConvNeXt-T, with the sizes of SmolLM2-135M.
_SMALL = {
    "vit_config": {
        "hidden_size": 384,
        "num_hidden_layers": 12,
        "num_attention_heads": 6,
        "patch_size": 14,
        "image_size": 518,
        "use_mask_token": False,
    },
    "cnn_config": {
        "depths": [3, 3, 9, 3],
        "hidden_sizes": [96, 192, 384, 768],
        "image_size": 384,
        "layer_norm_eps": 1e-6,
        "layer_scale_init_value": 1.0,
    },
    "text_config": {
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
    "vit_image_size": 336,
    "cnn_image_size": 384,
    "vit_layers": [3, 6, 9, 12],
    "cnn_stages": [1, 2, 3, 4],
    "token_merge": 2,
}


def _published(text_config: dict[str, Any]) -> dict[str, Any]:
    """The paper's encoders, every grid cell one visual token, before a LLaMA-2."""
    common = {"max_position_embeddings": 4096, "rms_norm_eps": 1e-5}
    return {
        "vit_config": {
            "hidden_size": 1024,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "patch_size": 14,
            "image_size": 518,
        },
        "cnn_config": {
            "depths": [3, 3, 27, 3],
            "hidden_sizes": [192, 384, 768, 1536],
            "image_size": 512,
            "layer_norm_eps": 1e-6,
        },
        "text_config": common | text_config,
        "vit_image_size": 448,
        "cnn_image_size": 512,
        "vit_layers": [6, 12, 18, 24],
        "cnn_stages": [1, 2, 3, 4],
        "token_merge": 1,
    }


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


def preset(
    name: str,
    *,
    vocab_size: int,
    bos_token_id: int,
    eos_token_id: int,
    pad_token_id: int,
    image_token_id: int,
    **changes: Any,
) -> EarthGPTConfig:
    """Configuration of a named size for a given vocabulary.

    | name  | encoders                 | language model     | positions per image | for |
    |-------|--------------------------|--------------------|---------------------|-----|
    | tiny  | 1 million parameters     | 1 million          | 18                  | random weights, a laptop's CPU |
    | small | DINOv2-S/14, ConvNeXt-T  | SmolLM2-135M class | 146                 | one small GPU |
    | 7b    | DINOv2-L/14, ConvNeXt-L  | LLaMA-2 7B         | 1026                | the paper's size as most read it |
    | 13b   | DINOv2-L/14, ConvNeXt-L  | LLaMA-2 13B        | 1026                | the paper's size as some read it |

    Args:
        changes: fields of `EarthGPTConfig` that replace the preset's; `token_merge=2` for instance gives 7b and 13b
            258 positions per image and a projector four times as wide.

    Raises:
        ValueError: there is no such preset, or a field is out of range.
    """
    if name not in _SIZES:
        raise ValueError(f"there is no preset {name!r}; choose one of {', '.join(PRESETS)}")
    fields = copy.deepcopy(_SIZES[name]) | {"image_token_id": image_token_id} | changes
    ids = {"bos_token_id": bos_token_id, "eos_token_id": eos_token_id, "pad_token_id": pad_token_id}
    if isinstance(fields["text_config"], dict):
        fields["text_config"] = {"vocab_size": vocab_size} | ids | fields["text_config"]
    return EarthGPTConfig(**fields)


def initialise(config: EarthGPTConfig, seed: int) -> EarthGPTForConditionalGeneration:
    """Model with random weights for training from scratch.

    The weights are a function of `config` and `seed` alone, and no global random state is touched.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = EarthGPTForConditionalGeneration(config)
        scale_for_training_from_scratch(model)
        return model
