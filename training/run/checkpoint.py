"""Checkpoints: what a run needs to go on as if it had not stopped. Whole or absent, and free of pickle.

``OUT/checkpoints/step-00000100/`` holds the trainable tensors and the optimiser's state as safetensors, the rest as
JSON, and `done.json` with the sha256 of each file. The frozen base is known by its digest; random numbers follow from
the pack, so there is no state of theirs. A checkpoint is untrusted input: nothing in it is executed, and names, shapes
and types are compared with the model's.

Tensors are whole, not the shards of a rank: they are gathered one by one when a snapshot is taken, so a run goes on
with any number of ranks, sharded or not. torch.distributed.checkpoint would write the shards of all ranks in parallel,
which pays for models that train in full over many machines; it keeps its metadata as a pickle, which this format must
not, and what trains here beside a frozen base is megabytes.

A snapshot is copied to the host between two steps and written by a thread while training goes on.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson
import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from mmrs.config import StrictModel
from mmrs.errors import RunFailure, UserError
from mmrs.storage.atomic import atomic_folder, file_sha256, remove_folder
from mmrs.text import removal
from training.config import TrainConfig, check_resume_bound_fields, resume_bound_fields
from training.data.planning.pointer import Pointer, Position
from training.step.sharding import gathered, sharded_like

FOLDER = re.compile(r"step-(\d{8,})")
TENSOR_FILES = ("trainable.safetensors", "optimiser.safetensors")
FILES = (*TENSOR_FILES, "state.json")
DONE = "done.json"


class _State(StrictModel, strict=True):
    format: Literal["mmrs-checkpoint-2"] = "mmrs-checkpoint-2"
    step: int = Field(ge=0)
    pointer: dict[str, Any]
    resume_bound_fields: dict[str, Any]
    base_digest: str


@dataclass(frozen=True)
class Snapshot:
    """A checkpoint in the memory of the host: tensors by file, and the state of the run."""

    position: Position
    tensors: dict[str, dict[str, torch.Tensor]]
    state: _State


def take_snapshot(
    position: Position, optimiser: torch.optim.Optimizer, config: TrainConfig, base_digest: str, keep: bool = True
) -> Snapshot | None:
    """Copy all that a checkpoint holds to the host. Gathers what is sharded, so every rank must call it.

    Args:
        keep: whether this rank wants the copy; the others get None.
    """
    files: dict[str, dict[str, torch.Tensor]] = {name: {} for name in TENSOR_FILES}
    for name, tensor, file in _state_tensors(optimiser):
        complete = gathered(tensor)
        if keep:
            # A copy even on the CPU: the next step changes these tensors in place.
            files[file][name] = complete.to("cpu", copy=True).contiguous()
    if not keep:
        return None
    state = _State(
        step=position.step,
        pointer=position.pointer.to_dict(),
        resume_bound_fields=resume_bound_fields(config),
        base_digest=base_digest,
    )
    return Snapshot(position, files, state)


def write_snapshot(folder: Path, snapshot: Snapshot, keep_last: int, keep: Collection[int] = ()) -> Path:
    """Write one checkpoint into `folder`, then delete all but the newest `keep_last` and those of the steps `keep`.

    Raises:
        RunFailure: the disk refused it; earlier checkpoints are untouched.
    """
    step = snapshot.position.step
    path = checkpoint_folder(folder, step)
    try:
        with atomic_folder(path, _holds_checkpoint) as temporary:
            for name, tensors in snapshot.tensors.items():
                save_file(tensors, temporary / name)
            (temporary / "state.json").write_bytes(_json(snapshot.state.model_dump(mode="json")))
            digests = {name: file_sha256(temporary / name) for name in FILES}
            (temporary / DONE).write_bytes(_json({"sha256": digests}))
    except (OSError, SafetensorError) as error:
        kept = latest_checkpoint(folder)
        free_mb = shutil.disk_usage(folder).free // 2**20
        raise RunFailure(
            f"the checkpoint of step {step} could not be written to {folder} ({free_mb} MB free): {error}. "
            f"{f'{kept.name} is intact' if kept else 'There is none before it'}; free space and run the same command."
        ) from error
    for old in complete_checkpoints(folder)[:-keep_last]:
        if checkpoint_step(old) not in keep:
            remove_folder(old)
    return path


@dataclass
class CheckpointWriter:
    """Writes snapshots in the background, one at a time; used by one rank.

    An error of the thread is raised by the next call. Use as a context manager: on the way out the last write ends.
    """

    folder: Path
    keep_last: int
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "checkpoint"), repr=False)
    _write: Future[Path] | None = None

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(wait=True)

    def start(self, snapshot: Snapshot, keep: Collection[int] = ()) -> None:
        """Begin to write, after the write before has ended. Raises RunFailure for that one."""
        self.wait()
        self._write = self._pool.submit(write_snapshot, self.folder, snapshot, self.keep_last, keep)

    def failed(self) -> RunFailure | None:
        """The error of the last write, if it has ended in one."""
        error = self._write.exception() if self._write is not None and self._write.done() else None
        return error if isinstance(error, RunFailure) else None

    def wait(self) -> Path | None:
        """Wait for the write in progress. Raises RunFailure if it fails."""
        return self._write.result() if self._write is not None else None


def _holds_checkpoint(folder: Path) -> bool:
    """Whether a folder has nothing but files of a checkpoint, whole or not."""
    return folder.is_dir() and {path.name for path in folder.iterdir()} <= {*FILES, DONE}


def complete_checkpoints(folder: Path) -> list[Path]:
    """Checkpoints that were written to the end, oldest first; all else in `folder` is ignored."""
    found = [path for path in folder.glob("step-*") if FOLDER.fullmatch(path.name) and (path / DONE).is_file()]
    return sorted(found, key=checkpoint_step)


def checkpoint_folder(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step is, or would be."""
    return folder / f"step-{step:08d}"


def checkpoint_step(path: Path) -> int:
    """The step that a checkpoint's folder is named after."""
    return int(path.name.removeprefix("step-"))


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint, or None."""
    found = complete_checkpoints(folder)
    return found[-1] if found else None


def load_checkpoint(path: Path, optimiser: torch.optim.Optimizer, config: TrainConfig, base_digest: str) -> Position:
    """Put the saved tensors into the parameters and state of `optimiser`, in whichever layout they have now.

    No value is changed before all was checked. Every rank reads the whole checkpoint.

    Raises:
        RunFailure: a file is damaged or does not belong to this model; names the file and the older checkpoint.
        UserError: the configuration or the base model is another one.
    """
    parameters = dict(_named(optimiser))
    position, trainable = read_trainable(path, parameters, config, base_digest)
    saved = _read_tensors(path, TENSOR_FILES[1])
    initialise_state(optimiser)
    kept = {name: tensor for name, tensor, file in _state_tensors(optimiser) if file == TENSOR_FILES[1]}
    _check_tensors(path, TENSOR_FILES[1], {name: tensor.shape for name, tensor in kept.items()}, saved)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(sharded_like(trainable[name], parameter))
        for name, tensor in kept.items():
            tensor.copy_(sharded_like(saved[name], tensor))
    return position


def read_trainable(
    path: Path, parameters: Mapping[str, torch.Tensor], config: TrainConfig, base_digest: str
) -> tuple[Position, dict[str, torch.Tensor]]:
    """The position and the trained tensors of a checkpoint, checked against `parameters`, which stay as they are.

    Raises:
        RunFailure, UserError: as `load_checkpoint`.
    """
    _check_digests(path)
    state, pointer = _read_state(path)
    check_resume_bound_fields(state.resume_bound_fields, config)
    if state.base_digest != base_digest:
        raise UserError(
            f"cannot go on from {path}: it belongs to the base model {state.base_digest[:12]}, this run starts from "
            f"{base_digest[:12]}. Restore the model folder, or start a new run with another `out`."
        )
    trainable = _read_tensors(path, TENSOR_FILES[0])
    _check_tensors(path, TENSOR_FILES[0], {name: tensor.shape for name, tensor in parameters.items()}, trainable)
    return Position(state.step, pointer), trainable


def initialise_state(optimiser: torch.optim.Optimizer) -> None:
    """Give a new optimiser the state that it keeps, to be filled: a step by zero gradients at learning rate 0 makes it.

    Only the optimiser knows names, shapes, devices and layout of what it keeps; torch.distributed.checkpoint learns
    them in the same way, in a function that is private there.
    """
    parameters = [parameter for _, parameter in _named(optimiser) if not optimiser.state[parameter]]
    if not parameters:
        return
    rates = [group["lr"] for group in optimiser.param_groups]
    for group in optimiser.param_groups:
        group["lr"] = torch.zeros_like(group["lr"]) if isinstance(group["lr"], torch.Tensor) else 0.0
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    for state in optimiser.state.values():
        # Some count their steps, which is a number or a tensor.
        if torch.is_tensor(state.get("step")):
            state["step"].zero_()
    optimiser.zero_grad(set_to_none=True)
    for group, rate in zip(optimiser.param_groups, rates, strict=True):
        group["lr"] = rate


def _named(optimiser: torch.optim.Optimizer) -> Iterator[tuple[str, torch.nn.Parameter]]:
    for group in optimiser.param_groups:
        yield from zip(group["names"], group["params"], strict=True)


def _state_tensors(optimiser: torch.optim.Optimizer) -> Iterator[tuple[str, torch.Tensor, str]]:
    """Name, tensor and file of all that is saved: parameters, and of each what the optimiser keeps, by its own keys.

    Raises:
        RunFailure: it keeps something that is no tensor.
    """
    for name, parameter in _named(optimiser):
        yield name, parameter, TENSOR_FILES[0]
        for key, value in optimiser.state[parameter].items():
            if not isinstance(value, torch.Tensor):
                raise RunFailure(
                    f"{type(optimiser).__name__} keeps {key} of {name} as {type(value).__name__}; a checkpoint takes "
                    "tensors alone. Choose an optimiser of torch.optim."
                )
            yield f"{key}:{name}", value, TENSOR_FILES[1]


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
        f"Delete its folder to continue from {fallback}: {removal(path)}"
    )


def _json(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
