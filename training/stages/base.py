"""The model that a stage starts from, in the precision that it trains beside."""

from __future__ import annotations

from pathlib import Path

import torch

from training.config import StageConfig
from training.model import EarthGPTForConditionalGeneration
from training.model.tuning.quantised import NOT_QUANTISED, load_quantised


def is_quantised(stage: StageConfig) -> bool:
    """Whether the stage trains beside quantised layers."""
    return stage.tuning is not None and stage.tuning.quantised != NOT_QUANTISED


def load_base(folder: Path, stage: StageConfig, device: torch.device) -> EarthGPTForConditionalGeneration:
    """The model of a folder: on the host, or quantised on the device.

    Raises:
        UserError: no sound model, or what quantises is not installed.
    """
    if stage.tuning is None or stage.tuning.quantised == NOT_QUANTISED:
        return EarthGPTForConditionalGeneration.from_pretrained(folder, use_safetensors=True)
    return load_quantised(folder, stage.tuning.quantised, device)
