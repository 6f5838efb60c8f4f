"""A model folder as an engine."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from mmrs.errors import UserError
from mmrs.instructions.dialects import Dialect, dialect
from training.evaluation.generate import Precision
from training.model import EarthGPTForConditionalGeneration, EarthGPTProcessor
from training.model.folder import check_model_folder, quiet_transformers
from training.serving.engine import AnswerEngine

_DEFAULT_DIALECT = "mmrs"


def dialect_of(folder: Path, named: str = "") -> Dialect:
    """The box dialect that a model writes: the named one, or that of the data of its last run, or else ``mmrs``.

    Raises:
        UserError: no such model or dialect, or the last run read data of several dialects and none is named.
    """
    check_model_folder(folder)
    if named:
        return dialect(named)
    origin = json.loads((folder / "config.json").read_text()).get("origin")
    runs = origin.get("training") if isinstance(origin, dict) else None
    last = runs[-1] if isinstance(runs, list) and runs and isinstance(runs[-1], dict) else {}
    trained = last.get("dialects") or [_DEFAULT_DIALECT]
    if not isinstance(trained, list) or len(trained) > 1:
        raise UserError(f"{folder} was trained on boxes in {trained}: name one, --dialect {_DEFAULT_DIALECT}")
    return dialect(str(trained[0]))


def open_engine(
    folder: Path, device: str = "auto", precision: Precision = "auto", most_running: int = 16, most_waiting: int = 64
) -> AnswerEngine:
    """Load a model onto a device and start its engine.

    Args:
        folder: ``RUN/model``, or a folder that `mmrs init` or `mmrs export-model` wrote.
        device: "auto": a GPU where there is one.
        precision: "auto": bfloat16 on a GPU, float32 elsewhere.
        most_running, most_waiting: see `AnswerEngine`.

    Raises:
        UserError: no such model, or no such device.
    """
    check_model_folder(folder)
    place = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    if place.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"--device is {device}, but torch sees no GPU here; leave it out, or set --device cpu")
    wide = precision == "float32" or (precision == "auto" and not place.startswith("cuda"))
    with quiet_transformers():
        model = EarthGPTForConditionalGeneration.from_pretrained(
            folder, dtype=torch.float32 if wide else torch.bfloat16
        ).to(place)
        processor = EarthGPTProcessor.from_pretrained(folder)
    return AnswerEngine(model, processor, most_running, most_waiting)
