"""A language model whose frozen linear layers lie in memory in 4 bits, through bitsandbytes (QLoRA).

A 7B model then takes about 4 GB, and adapters train on one small GPU. Encoders, projector, embeddings and head keep
their precision: they are a small part of the whole, and all that an image is passes through them.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import BitsAndBytesConfig

from mmrs.errors import UserError
from mmrs.installation import install_command
from training.model.modeling.generation import EarthGPTForConditionalGeneration

NOT_QUANTISED = "none"
_KEPT = ["model.vision", "model.projector", "lm_head", "model.language_model.embed_tokens"]
# nf4 has 4 bits a weight, and for each 64 of them a scale of 8 bits, of which 256 share one of 32.
_BITS = {"nf4": 4 + 8 / 64 + 32 / (64 * 256)}


def load_quantised(folder: Path, kind: str, device: torch.device) -> EarthGPTForConditionalGeneration:
    """The model of a folder with the linear layers of its decoder in `kind`, "nf4", on a device.

    Raises:
        UserError: bitsandbytes is not installed, or the folder holds no sound model.
    """
    missing = [name for name in ("bitsandbytes", "accelerate") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"stage.tuning.quantised={kind} needs {' and '.join(missing)}: {install_command(missing[0])}. Without, set "
            "stage.tuning.quantised=none."
        )
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=kind,
        bnb_4bit_use_double_quant=True,
        # A CPU computes in the precision of all else.
        bnb_4bit_compute_dtype=torch.bfloat16 if device.type == "cuda" else torch.float32,
        llm_int8_skip_modules=_KEPT,
    )
    return EarthGPTForConditionalGeneration.from_pretrained(
        folder, quantization_config=config, device_map={"": str(device)}
    )


def dequantised(layer: nn.Module) -> torch.Tensor:
    """The weight (O, I) that a quantised layer computes with."""
    from peft.utils.integrations import dequantize_module_weight

    return dequantize_module_weight(layer).detach().cpu()


def quantised_bytes(model: EarthGPTForConditionalGeneration, kind: str) -> int:
    """Bytes that the weights of the decoder's linear layers take in `kind`."""
    layers: list[Any] = [model.get_submodule(path) for path in model.config.tuned_layers(head=False)]
    return round(sum(layer.in_features * layer.out_features for layer in layers) * _BITS[kind] / 8)
