"""A model so small that a training step takes milliseconds, and a configuration for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from training.config import TrainConfig
from training.model import EarthGPTConfig, EarthGPTImageProcessor, EarthGPTProcessor, initialise, train_tokenizer
from training.model.tokenizer import IMAGE


def make_model_folder(folder: Path) -> Path:
    """Random weights from a fixed seed, and a tokenizer of bytes."""
    tokenizer = train_tokenizer(
        ["What is the colour? red green blue white", "Human: Describe\nAssistant: A square"], 300
    )
    config = EarthGPTConfig(
        encoders=[
            {
                "name": "vit", "image_size": 28, "layers": [1],
                "config": {
                    "model_type": "dinov2", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
                    "patch_size": 14, "image_size": 28, "use_mask_token": False,
                },
            },
            {
                "name": "cnn", "image_size": 32, "layers": [1, 2],
                "config": {
                    "model_type": "convnext", "depths": [1, 1], "hidden_sizes": [8, 16], "num_stages": 2,
                    "image_size": 32,
                },
            },
        ],
        text_config={
            "model_type": "llama", "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 48,
            "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 256, "rms_norm_eps": 1e-5,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
        },
        token_merge=1, image_token_id=tokenizer.convert_tokens_to_ids(IMAGE),
    )  # fmt: skip
    initialise(config, 0).save_pretrained(folder)
    EarthGPTProcessor(EarthGPTImageProcessor(config.image_size), tokenizer, config.image_slots).save_pretrained(folder)
    return folder


def make_config(out: Path, shards: Path, model_folder: Path, **changes: Any) -> TrainConfig:
    """Configuration of a short run; `changes` replace top-level keys, dicts are merged."""
    values: dict[str, Any] = {
        "model": {"path": str(model_folder)},
        "data": {"folders": str(shards), "shuffle_block_samples": 4, "shuffle_window_blocks": 2},
        "stage": {"trainable": [{"pattern": ".*", "learning_rate": 3e-3}]},
        "checkpoint": {"every_steps": 2},
        "log": {"tensorboard": False},
        "tokens_per_pack": 320,
        "tokens_per_step": 640,
        "epochs": 3,
        "threads": 1,
        "out": str(out),
    }
    for key, value in changes.items():
        values[key] = values[key] | value if isinstance(value, dict) and key in values else value
    if values.get("max_steps"):
        values.pop("epochs")
    return TrainConfig.model_validate(values)
