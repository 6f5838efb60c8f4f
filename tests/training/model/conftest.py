"""Small models and a tokenizer that all model tests share."""

import numpy as np
import pytest
import torch
from transformers.utils import logging

from training.model import EarthGPTConfig, EarthGPTImageProcessor, EarthGPTProcessor, initialise, train_tokenizer

CORPUS = [
    "Human: Please detect all objects in this image.\nAssistant: There is <p>one car</p>[0.412,0.300,0.655,0.511].",
    "Human: What is the category of this remote sensing image?\nAssistant: golf course",
] * 4


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True, scope="module")
def quiet():
    """No progress bars and advice of transformers in the output of a failed test."""
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    yield
    logging.enable_progress_bar()
    logging.set_verbosity(level)


@pytest.fixture(scope="session")
def tokenizer():
    return train_tokenizer(CORPUS, 320)


@pytest.fixture
def make_config(tokenizer):
    """Function that makes a small configuration; keyword arguments replace its fields, `vit` and `cnn` those of an
    encoder."""

    def make(**changes) -> EarthGPTConfig:
        text = {
            "model_type": "llama",
            "rms_norm_eps": 1e-5,
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "max_position_embeddings": 512,
            # Wide random weights, so that no path through the model is lost in rounding.
            "initializer_range": 0.2,
        }
        vit = {
            "model_type": "dinov2",
            "hidden_size": 24,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "patch_size": 14,
            "image_size": 56,
        }
        cnn = {
            "model_type": "convnext",
            "depths": [1, 1, 1, 1],
            "hidden_sizes": [8, 12, 16, 20],
            "layer_scale_init_value": 0.5,
        }
        entries = {
            "vit": {"name": "vit", "config": vit, "image_size": 56, "layers": [2, 3]},
            "cnn": {"name": "cnn", "config": cnn, "image_size": 64},
        }
        fields = {
            "encoders": [entry | changes.pop(name, {}) for name, entry in entries.items()],
            "text_config": text,
            "token_merge": 1,
            "image_token_id": tokenizer.convert_tokens_to_ids("<image>"),
        }
        return EarthGPTConfig(**fields | changes)

    return make


@pytest.fixture
def model(make_config):
    return initialise(make_config(), seed=0).eval()


@pytest.fixture
def processor(tokenizer, make_config):
    config = make_config()
    return EarthGPTProcessor(EarthGPTImageProcessor(config.image_size), tokenizer, image_slots=config.image_slots)


@pytest.fixture
def random_pixels(make_config):
    """Function of a count and a seed: random padded squares, uint8 (N, 3, 64, 64)."""

    def make(count: int, seed: int = 0) -> torch.Tensor:
        side = make_config().image_size
        return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, 3, side, side), dtype=np.uint8))

    return make
