"""Checkpoints: what a run needs to go on as if it had not stopped. Whole or absent, and free of pickle.

``OUT/checkpoints/step-00000100/`` holds the trainable tensors, the optimiser's state and the random state as
safetensors, the rest as JSON, and `done.json` with the sha256 of each file. The frozen base is known by its digest.
A checkpoint is untrusted input: nothing in it is executed, and names, shapes and types are compared with the model's.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from mmrs.errors import RunFailure, UserError
from mmrs.files import atomic_folder, file_sha256, remove_folder
from training.config import TrainConfig, check_same_mathematics, mathematics
from training.data.pointer import Pointer

FOLDER = re.compile(r"step-(\d{8,})")
TENSOR_FILES = ("trainable.safetensors", "optimiser.safetensors", "random.safetensors")
FILES = (*TENSOR_FILES, "state.json")
DONE = "done.json"


class _State(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: Literal["mmrs-checkpoint-1"] = "mmrs-checkpoint-1"
    step: int = Field(ge=0)
    pointer: dict[str, Any]
    mathematics: dict[str, Any]
    base_digest: str


@dataclass(frozen=True)
class Position:
    """Where a run stands: optimiser steps done, and the next pack."""

    step: int
    pointer: Pointer


def save_checkpoint(
    folder: Path, position: Position, optimiser: torch.optim.Optimizer, config: TrainConfig, base_digest: str
) -> Path:
    """Write one checkpoint into `folder`, then delete all but the newest `config.checkpoint.keep_last`.

    Raises:
        RunFailure: the disk refused it; earlier checkpoints are untouched.
    """
    path = folder / f"step-{position.step:08d}"
    state = _State(
        step=position.step,
        pointer=position.pointer.to_dict(),
        mathematics=mathematics(config),
        base_digest=base_digest,
    )
    tensors = (_trainable(optimiser), _optimiser_state(optimiser), _random_state())
    try:
        with atomic_folder(path) as temporary:
            for name, values in zip(TENSOR_FILES, tensors, strict=True):
                save_file({key: tensor.detach().contiguous() for key, tensor in values.items()}, temporary / name)
            (temporary / "state.json").write_bytes(_json(state.model_dump(mode="json")))
            digests = {name: file_sha256(temporary / name) for name in FILES}
            (temporary / DONE).write_bytes(_json({"sha256": digests}))
    except (OSError, SafetensorError) as error:
        kept = latest_checkpoint(folder)
        free_mb = shutil.disk_usage(folder).free // 2**20
        raise RunFailure(
            f"the checkpoint of step {position.step} could not be written to {folder} ({free_mb} MB free): {error}. "
            f"{f'{kept.name} is intact' if kept else 'There is none before it'}; free space and run the same command."
        ) from error
    for old in complete_checkpoints(folder)[: -config.checkpoint.keep_last]:
        remove_folder(old)
    return path


def complete_checkpoints(folder: Path) -> list[Path]:
    """Checkpoints that were written to the end, oldest first; all else in `folder` is ignored."""
    found = [path for path in folder.glob("step-*") if FOLDER.fullmatch(path.name) and (path / DONE).is_file()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint, or None."""
    found = complete_checkpoints(folder)
    return found[-1] if found else None


def load_checkpoint(path: Path, optimiser: torch.optim.Optimizer, config: TrainConfig, base_digest: str) -> Position:
    """Put the saved tensors into the parameters and state of `optimiser`, and restore the random state.

    Nothing is changed before all was checked.

    Raises:
        RunFailure: a file is damaged or does not belong to this model; names the file and the older checkpoint.
        UserError: the configuration or the base model is another one.
    """
    _check_digests(path)
    state, pointer = _read_state(path)
    check_same_mathematics(state.mathematics, config)
    if state.base_digest != base_digest:
        raise UserError(
            f"cannot resume from {path}: it belongs to the base model {state.base_digest[:12]}, this run starts from "
            f"{base_digest[:12]}. Restore the model folder, or start a new run with another `out`."
        )
    trainable, saved, random = (_read_tensors(path, name) for name in TENSOR_FILES)
    parameters = dict(_named(optimiser))
    _check_tensors(path, TENSOR_FILES[0], {name: tensor.shape for name, tensor in parameters.items()}, trainable)
    per_name = {
        name: {key: saved.pop(f"{key}:{name}", None) for key in ("step", "exp_avg", "exp_avg_sq")}
        for name in parameters
    }
    wrong = list(saved) + [
        f"{key}:{name}"
        for name, parts in per_name.items()
        for key, part in parts.items()
        if part is None or part.shape != (torch.Size([]) if key == "step" else parameters[name].shape)
    ]
    if wrong:
        raise _damaged(path, TENSOR_FILES[1], f"unfit tensor {wrong[0]!r}")
    if set(random) - {"cuda"} != {"cpu"}:
        raise _damaged(path, TENSOR_FILES[2], f"holds {sorted(random)}")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(trainable[name])
            kept = {key: part for key, part in per_name[name].items() if part is not None}
            optimiser.state[parameter] = {
                key: part if key == "step" else part.to(parameter.device) for key, part in kept.items()
            }
    torch.set_rng_state(random["cpu"])
    if "cuda" in random and torch.cuda.is_available():
        torch.cuda.set_rng_state(random["cuda"])
    return Position(state.step, pointer)


def _named(optimiser: torch.optim.Optimizer) -> Iterator[tuple[str, torch.nn.Parameter]]:
    for group in optimiser.param_groups:
        yield from zip(group["names"], group["params"], strict=True)


def _trainable(optimiser: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    return {name: parameter for name, parameter in _named(optimiser)}


def _optimiser_state(optimiser: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    return {
        f"{key}:{name}": optimiser.state[parameter][key]
        for name, parameter in _named(optimiser)
        for key in ("step", "exp_avg", "exp_avg_sq")
    }


def _random_state() -> dict[str, torch.Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_initialized():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def _check_digests(path: Path) -> None:
    try:
        digests = orjson.loads((path / DONE).read_bytes())["sha256"]
        complete = set(digests) == set(FILES)
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise _damaged(path, DONE, str(error)) from error
    if not complete:
        raise _damaged(path, DONE, "does not name the files of a checkpoint")
    for name in FILES:
        if not (path / name).is_file():
            raise _damaged(path, name, "is missing")
        if file_sha256(path / name) != digests[name]:
            raise _damaged(path, name, "has another sha256 than when it was written")


def _read_state(path: Path) -> tuple[_State, Pointer]:
    try:
        state = _State.model_validate(orjson.loads((path / "state.json").read_bytes()))
        return state, Pointer.from_dict(state.pointer)
    except (orjson.JSONDecodeError, ValidationError, ValueError) as error:
        raise _damaged(path, "state.json", str(error)) from error


def _read_tensors(path: Path, name: str) -> dict[str, torch.Tensor]:
    try:
        return load_file(path / name)
    except (OSError, SafetensorError) as error:
        raise _damaged(path, name, str(error)) from error


def _check_tensors(path: Path, file: str, expected: dict[str, torch.Size], found: dict[str, torch.Tensor]) -> None:
    for name in sorted(expected.keys() | found.keys()):
        shape = tuple(found[name].shape) if name in found else None
        wanted = tuple(expected[name]) if name in expected else None
        if shape != wanted:
            raise _damaged(path, file, f"{name} has shape {shape}, the model's has {wanted}")


def _damaged(path: Path, file: str, reason: str) -> RunFailure:
    older = [other.name for other in complete_checkpoints(path.parent) if other.name < path.name]
    fallback = older[-1] if older else "the start of the run"
    return RunFailure(
        f"checkpoint file {path / file} cannot be used: {reason}. "
        f"Delete its folder to continue from {fallback}: rm -r {path}"
    )


def _json(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
