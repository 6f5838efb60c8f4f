"""Checkpoints of image encoders that are no Hugging Face model: single files, and repositories of OpenCLIP and timm.

A repository says in ``open_clip_config.json``, or in a ``config.json`` with an ``architecture``, what no weight tells:
the pixels that the encoder was trained with, the width of its heads, its activation.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from training.model.vision.encoder import NO_FACTS, OriginalFacts, PixelStatistics, State

WEIGHT_FILES = (".safetensors", ".bin", ".pt", ".pth")
_OPEN_CLIP = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_TIMM = ("model.safetensors", "pytorch_model.bin")
_TIMM_WRAPPER = "timm_wrapper"
_MOST_JSON_BYTES = 2**20

FindFile = Callable[[str], Path | None]


@dataclass(frozen=True, eq=False)
class OriginalCheckpoint:
    """Weights by name, and what is stated beside them; `statistics` is None where that is nothing. `kind` is what the
    repository calls its model, empty where there is none."""

    state: State
    facts: OriginalFacts = NO_FACTS
    statistics: PixelStatistics | None = None
    kind: str = ""


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """The weights of a file; none of its bytes is run, as a checkpoint from the net is untrusted.

    Raises:
        ValueError, OSError, or what torch and safetensors raise: it cannot be read, or holds something else.
    """
    if path.suffix == ".safetensors":
        return load_file(path)
    state = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(state, dict):
        state = state.get("state_dict", state)
    if not isinstance(state, dict):
        raise ValueError(f"it holds a {type(state).__name__}, not weights by name.")
    return {name.removeprefix("module."): value for name, value in state.items() if isinstance(value, torch.Tensor)}


def original_of_repository(find: FindFile) -> OriginalCheckpoint | None:
    """The checkpoint of a repository of timm or OpenCLIP; None where it is neither, but a Hugging Face model or less.

    Args:
        find: the file of a name in the repository, None where it has none.

    Raises:
        ValueError: a description is none, or its weights are missing.
    """
    fields = _read_json(find("config.json"))
    if "architecture" in fields and fields.get("model_type", _TIMM_WRAPPER) == _TIMM_WRAPPER:
        kind = str(fields["architecture"])
        described = _mapping(fields, "pretrained_cfg")
        facts = OriginalFacts(quick_gelu="quickgelu" in kind)
        return OriginalCheckpoint(_weights(find, _TIMM), facts, _statistics(described, "mean", "std"), f"timm {kind}")
    if "model_type" in fields:
        return None
    fields = _read_json(find("open_clip_config.json"))
    if not fields:
        return None
    model = _mapping(fields, "model_cfg")
    vision = _mapping(model, "vision_cfg")
    facts = OriginalFacts(quick_gelu=bool(model.get("quick_gelu")), head_width=_positive(vision.get("head_width")))
    statistics = _statistics(_mapping(fields, "preprocess_cfg"), "mean", "std")
    kind = f"OpenCLIP {vision.get('timm_model_name', 'ViT')}"
    return OriginalCheckpoint(_weights(find, _OPEN_CLIP), facts, statistics, kind)


def stated_statistics(find: FindFile) -> PixelStatistics | None:
    """The pixels that a Hugging Face model says it was trained with; None where it does not."""
    return _statistics(_read_json(find("preprocessor_config.json")), "image_mean", "image_std")


def _weights(find: FindFile, names: tuple[str, ...]) -> dict[str, torch.Tensor]:
    for name in names:
        path = find(name)
        if path is not None:
            return read_state(path)
    raise ValueError(f"it has none of {', '.join(names)}; give the file of its weights.")


def _read_json(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    if path.stat().st_size > _MOST_JSON_BYTES:
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes, which no description of a model has.")
    fields = json.loads(path.read_bytes())
    if not isinstance(fields, dict):
        raise ValueError(f"{path.name} holds a {type(fields).__name__}, not fields of a model.")
    return fields


def _mapping(fields: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = fields.get(key)
    return value if isinstance(value, dict) else {}


def _positive(value: Any) -> int | None:
    return value if isinstance(value, int) and value > 0 else None


def _statistics(fields: Mapping[str, Any], mean: str, std: str) -> PixelStatistics | None:
    if fields.get(mean) is None or fields.get(std) is None:
        return None
    return PixelStatistics.of(fields[mean], fields[std])
