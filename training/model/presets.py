"""Named model sizes, and random weights from an explicit seed."""

from __future__ import annotations

import torch

from training.model.configuration import EarthGPTConfig
from training.model.modeling import EarthGPTForConditionalGeneration
from training.model.scratch import scale_for_training_from_scratch

PRESETS = ("tiny",)


def preset(
    name: str, *, vocab_size: int, bos_token_id: int, eos_token_id: int, pad_token_id: int, image_token_id: int
) -> EarthGPTConfig:
    """Configuration of a named size for a given vocabulary.

    `tiny` (about 2 million parameters, 18 positions per image) is for training from random weights on a laptop's CPU.

    Raises:
        ValueError: there is no such preset.
    """
    if name not in PRESETS:
        raise ValueError(f"there is no preset {name!r}; choose one of {', '.join(PRESETS)}")
    return EarthGPTConfig(
        vit_config={
            "hidden_size": 128,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "patch_size": 14,
            "image_size": 112,
            "use_mask_token": False,
        },
        cnn_config={
            "depths": [1, 1, 2, 1],
            "hidden_sizes": [24, 48, 96, 128],
            "image_size": 128,
            "layer_norm_eps": 1e-6,
            "layer_scale_init_value": 1.0,
        },
        text_config={
            "vocab_size": vocab_size,
            "bos_token_id": bos_token_id,
            "eos_token_id": eos_token_id,
            "pad_token_id": pad_token_id,
            "hidden_size": 128,
            "intermediate_size": 384,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "max_position_embeddings": 1024,
        },
        vit_image_size=112,
        cnn_image_size=128,
        vit_layers=[2, 4],
        cnn_stages=[2, 3, 4],
        token_merge=2,
        image_token_id=image_token_id,
    )


def initialise(config: EarthGPTConfig, seed: int) -> EarthGPTForConditionalGeneration:
    """Model with random weights for training from scratch.

    The weights are a function of `config` and `seed` alone, and no global random state is touched.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = EarthGPTForConditionalGeneration(config)
        scale_for_training_from_scratch(model)
        return model
