"""Delta checkpoints: what tuning changed, without the base model.

``FOLDER/delta.safetensors`` holds the tuned tensors under their names in the model, ``FOLDER/delta.json`` how they were
made and the digest of the base. The base itself is untouched, so one base in memory serves many deltas.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Literal

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from mmrs.config import StrictModel
from mmrs.errors import UserError
from mmrs.record import canonical_json
from mmrs.storage.atomic import atomic_folder
from training.model.language.bias_scale import tuned_vectors
from training.model.modeling.generation import EarthGPTForConditionalGeneration
from training.model.origin.digest import weights_digest
from training.model.tuning.vectors import add_tuning, vector_sizes

TENSORS, DESCRIPTION = "delta.safetensors", "delta.json"


class Delta(StrictModel):
    """Content of `delta.json`. `base` is a name for people; `base_digest` decides."""

    format: Literal["mmrs-delta-1"] = "mmrs-delta-1"
    tuning: Literal["bias", "bias-scale"]
    tune_head: bool
    base: str
    base_digest: str


def save_delta(
    folder: Path,
    model: EarthGPTForConditionalGeneration,
    base_digest: str,
    base: str,
    also: Collection[str] = (),
) -> None:
    """Write the tuning vectors of `model`.

    Args:
        folder: replaced if it exists.
        base_digest: `weights_digest` of the base as it was before training.
        base: what to call the base in messages, for instance its folder or hub name.
        also: names of further trained parameters, for instance of norms or the projector.

    Raises:
        ValueError: the model has no tuning vectors, or no parameter of a name in `also`.
    """
    if model.config.tuning is None:
        raise ValueError("the model has no tuning vectors to save; call add_tuning first")
    parameters = dict(model.named_parameters())
    unknown = sorted(set(also) - parameters.keys())
    if unknown:
        raise ValueError(f"the model has no parameter {unknown[0]!r}; name parameters as named_parameters() does")
    tensors = tuned_vectors(model) | {name: parameters[name] for name in also}
    config = model.config
    description = Delta.model_validate(
        {"tuning": config.tuning, "tune_head": config.tune_head, "base": base, "base_digest": base_digest}
    )
    with atomic_folder(folder) as temporary:
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, temporary / TENSORS)
        (temporary / DESCRIPTION).write_bytes(canonical_json(description.model_dump(mode="json")) + b"\n")


def load_delta(folder: Path, model: EarthGPTForConditionalGeneration, name: str = "this model") -> Delta:
    """Put a delta onto the base that it was trained from, in place. Nothing changes before all was checked.

    Args:
        model: the base, without tuning vectors or with those of an earlier delta of the same kind that trained
            nothing else.
        name: what to call `model` in messages.

    Raises:
        UserError: no readable delta, another base, or tensors that do not fit.
    """
    description, tensors = _read(folder)
    digest = weights_digest(model)
    if digest != description.base_digest:
        raise UserError(
            f"delta {folder} was trained on {description.base} (weights {description.base_digest[:12]}); {name} has "
            f"weights {digest[:12]}. Load that base, in the dtype it was trained with."
        )
    expected = vector_sizes(model, description.tuning, description.tune_head)
    shapes = {key: value.shape for key, value in model.named_parameters()} | expected
    for key in sorted(expected.keys() | tensors.keys()):
        found, wanted = tensors[key].shape if key in tensors else None, shapes.get(key)
        if found != wanted:
            raise UserError(f"delta {folder}: {key} has shape {found}, the model's has {wanted}. Copy the delta again.")
    try:
        add_tuning(model, description.tuning, description.tune_head)
    except ValueError as error:
        raise UserError(f"delta {folder} does not fit {name}: {error}") from error
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for key, tensor in tensors.items():
            parameters[key].copy_(tensor)
    return description


def _read(folder: Path) -> tuple[Delta, dict[str, torch.Tensor]]:
    try:
        return Delta.model_validate_json((folder / DESCRIPTION).read_bytes()), load_file(folder / TENSORS)
    except (OSError, ValidationError, SafetensorError) as error:
        raise UserError(
            f"{folder} holds no delta checkpoint: {error}. Give a folder that save_delta wrote, with {DESCRIPTION} and "
            f"{TENSORS}."
        ) from error
