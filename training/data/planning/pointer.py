"""Where a run stands in the stream of packs: one small value, equal on all ranks and valid for any number of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from mmrs.errors import UserError
from training.data.planning.plan import PlanSettings

POINTER_FORMAT = "mmrs-pointer-1"


@dataclass(frozen=True, slots=True)
class Pointer:
    """The next pack to consume and what was consumed.

    Attributes:
        settings: what the plans depend on.
        plan_digest: digest of the plan of `epoch`.
        epoch, next_pack: the first pack not yet consumed by an optimiser step.
        samples: images consumed since the start of the run, skipped ones included.
        skipped: of these, how many could not be read.
    """

    settings: PlanSettings
    plan_digest: str
    epoch: int = 0
    next_pack: int = 0
    samples: int = 0
    skipped: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"format": POINTER_FORMAT, **asdict(self)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Pointer:
        """Inverse of `to_dict`.

        Raises:
            ValueError: not a pointer of this format.
        """
        settings = values.get("settings")
        if values.get("format") != POINTER_FORMAT or not isinstance(settings, dict):
            raise ValueError(f"stream pointer has format {values.get('format')!r}; expected {POINTER_FORMAT!r}")
        rest = {name: value for name, value in values.items() if name not in ("format", "settings")}
        pointer = _exact(cls, {**rest, "settings": _exact(PlanSettings, settings)})
        if min(pointer.epoch, pointer.next_pack, pointer.samples, pointer.skipped) < 0:
            raise ValueError("stream pointer has a negative count")
        return pointer


@dataclass(frozen=True)
class Position:
    """Where a run stands: optimiser steps done, and the next pack."""

    step: int
    pointer: Pointer


def _exact(kind: type, values: dict[str, Any]) -> Any:
    types = {field.name: field.type for field in fields(kind)}
    if set(values) != set(types):
        raise ValueError(f"stream pointer has the fields {sorted(values)}; expected {sorted(types)}")
    for name, value in values.items():
        wanted = {"int": int, "str": str}.get(str(types[name]))
        if wanted is not None and type(value) is not wanted:
            raise ValueError(f"stream pointer field {name} is {value!r}; expected {wanted.__name__}")
    return kind(**values)


_WAY_OUT = {
    "data_set_id": "Give the data set that the run started with in data.folders",
    "tokenizer_digest": "Restore the tokenizer of the run, or train with the version of mmrs that started it",
    "seed": "Set data.seed back",
    "tokens_per_pack": "Set tokens_per_pack back",
    "prefix_tokens": "Restore the processor of the run",
    "max_positions": "Restore the model configuration of the run",
}


def check_same_stream(pointer: Pointer, settings: PlanSettings) -> None:
    """Refuse a pointer into another stream.

    Raises:
        UserError: names the first field that differs, both values and the way out.
    """
    for field in fields(PlanSettings):
        saved, now = getattr(pointer.settings, field.name), getattr(settings, field.name)
        if saved != now:
            way_out = _WAY_OUT.get(field.name, f"Set data.{field.name} back")
            raise UserError(
                f"cannot resume: the checkpoint's stream has {field.name} {saved!r}, this run has {now!r}. "
                f"{way_out}, or start a new run in another `out` folder."
            )


def check_same_plan(pointer: Pointer, digest: str, packs: int) -> None:
    """Refuse a pointer whose epoch was planned differently although all settings agree.

    Raises:
        UserError: names both digests.
    """
    if pointer.plan_digest != digest or pointer.next_pack > packs:
        raise UserError(
            f"cannot resume: epoch {pointer.epoch} was planned as {pointer.plan_digest[:12]} and is now {digest[:12]}, "
            "with the same settings. The selection (data.splits, data.sources, data.tasks) or the planner has changed: "
            "restore it, or start a new run in another `out` folder."
        )
