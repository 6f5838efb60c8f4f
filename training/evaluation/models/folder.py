"""Which kind of model a folder holds, and that model, loaded."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from mmrs.errors import UserError
from mmrs.shards.reader import ShardSet
from training.evaluation.adapters import adapter_of, find_adapter
from training.evaluation.adapters.adapter import Adapter
from training.evaluation.generate import AnswerGenerator, Decoding
from training.evaluation.models.answerer import Answerer
from training.evaluation.models.checkpoint import CheckpointAnswerer
from training.model import EarthGPTForConditionalGeneration, EarthGPTProcessor
from training.model.folder import check_model_folder, check_processor, quiet_transformers

_OWN = "earthgpt"


def is_own_model(folder: Path) -> bool:
    """Whether a folder holds an EarthGPT. Raises UserError where it holds no model."""
    return _model_type(folder) == _OWN


def adapter_of_folder(folder: Path, named: str) -> Adapter | None:
    """The adapter of a checkpoint, `named` where that is not empty; None: a model of ours, which needs none.

    Raises:
        UserError: no model, or of a kind that no adapter is known for and none is named, or an adapter for ours.
    """
    kind = _model_type(folder)
    if is_own_model(folder):
        if named:
            raise UserError(f"{folder} is a model of ours, which needs no --adapter; leave it out.")
        return None
    return find_adapter(named) if named else adapter_of(kind, str(folder))


def open_answerer(folder: Path, device: str, decoding: Decoding, adapter: str, data: ShardSet) -> Answerer:
    """The model of a folder, on a device and in the precision that the decoding asks for."""
    precision = decoding.precision
    if precision == "auto":
        precision = "bfloat16" if device.startswith("cuda") else "float32"
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]
    found = adapter_of_folder(folder, adapter)
    if found is not None:
        return CheckpointAnswerer(folder, device, dtype, decoding, found, data)
    with quiet_transformers():
        model = EarthGPTForConditionalGeneration.from_pretrained(folder, use_safetensors=True, dtype=dtype).to(device)
        processor = EarthGPTProcessor.from_pretrained(folder)
        check_processor(processor, model.config, str(folder))
        return AnswerGenerator(model, processor, data, decoding)


def _model_type(folder: Path) -> str:
    try:
        kind = json.loads((folder / "config.json").read_text())["model_type"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        check_model_folder(folder)
        raise
    return str(kind)
