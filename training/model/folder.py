"""Loading from a model folder: whether it holds an EarthGPT, no stranger's code, no progress bars where nobody watches.

Without the check another model's folder would be loaded as random weights.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import Any

import torch
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

from mmrs.errors import UserError

_DAMAGE = (
    RecursionError,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    SafetensorError,
)


def check_model_folder(folder: Path, name: str = "") -> Path:
    """Return `folder`.

    Args:
        name: what the folder is to the user, for instance "model.path".

    Raises:
        UserError: it has no readable config.json, or one of another kind of model.
    """
    what = f"{name} {folder}".strip()
    try:
        kind = json.loads((folder / "config.json").read_text())["model_type"]
    except OSError as error:
        raise UserError(
            f"{what} holds no model (no config.json). Give the folder `model` of a run of `mmrs train`, or one that "
            "`mmrs init` made."
        ) from error
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise UserError(f"{what}/config.json is no model configuration: {type(error).__name__} {error}") from error
    if kind != "earthgpt":
        raise UserError(
            f"{what} holds a {kind} model, not an EarthGPT. Make one of it: `mmrs init OUT --llm {quote(str(folder))}`"
        )
    return folder


def check_processor(processor: Any, config: Any, name: str) -> None:
    """Refuse a processor that writes other image slots than the model reads.

    Here once, for no step may wait for its device to count them.

    Args:
        processor: an `EarthGPTProcessor`.
        config: an `EarthGPTConfig`.
        name: what the folder of both is to the user.

    Raises:
        UserError: they are of different models.
    """
    written = (processor.image_slots, processor.image_token_id, processor.image_processor.image_size)
    wanted = (config.image_slots, config.image_token_id, config.image_size)
    if written != wanted:
        raise UserError(
            f"{name}: its processor has image_slots, image_token_id and image_size {written}, its model {wanted}: they "
            "are of different models. Copy the whole folder again, or make it with `mmrs init`."
        )


@contextmanager
def without_foreign_code(location: Any) -> Iterator[dict[str, bool]]:
    """Options of ``from_pretrained`` by which transformers neither runs code of a folder nor asks on the terminal.

    Raises:
        UserError: what is loaded needs code of its own.
    """
    try:
        yield {"trust_remote_code": False}
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise UserError(
            f"{location} brings code of its own, which is never run here. Give a model whose kind transformers knows."
        ) from error


@contextmanager
def sound_model(location: Any) -> Iterator[None]:
    """Around what reads a model folder: whatever a damaged one makes transformers raise becomes one sentence.

    Raises:
        UserError: the folder cannot be read as what it should be.
    """
    try:
        yield
    except (*_DAMAGE, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"the model in {location} cannot be read: {type(error).__name__}: {reason}. Copy the folder again, or make "
            "it with `mmrs init` or `mmrs export-checkpoint`."
        ) from error


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars for loading and saving where nobody watches a terminal."""
    if sys.stderr.isatty() or not transformers_logging.is_progress_bar_enabled():
        yield
        return
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.enable_progress_bar()
