"""The whole configuration of a training run: its sections, its length, and where and how it computes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from mmrs.config import as_list, load_yaml, validated
from mmrs.errors import UserError
from training.config.auxiliary import AuxiliaryConfig
from training.config.data import DataConfig, Tar
from training.config.section import LocalPath, ResumeFree, Section, resume_bound_values
from training.config.stage import ModelConfig, OptimiserConfig, ScheduleConfig, StageConfig


class ParallelConfig(Section):
    """How the model is laid out over devices, see `training.step.sharding`: it changes rounding alone."""

    mode: ResumeFree[Literal["replicate", "fsdp"]] = "replicate"
    """Every rank holds all weights, or its share of them."""

    ranks_per_replica: ResumeFree[Annotated[int, Field(ge=2)] | None] = None
    """fsdp only: so many ranks share one copy of the weights, the others hold further copies. None: all share one."""

    sum_every_pack: ResumeFree[bool] = False
    """fsdp only: sum gradients over ranks after every pack and not once per step: more traffic, and no rank ever holds
    more of them than its share."""

    attention: ResumeFree[Literal["auto", "flex", "sdpa"]] = "auto"
    """Kernel of the language model's attention. "auto" is flex on a GPU and sdpa on a CPU."""

    activation_checkpointing: ResumeFree[Literal["none", "selective", "full"]] = "none"
    """"full" keeps the input of each layer and computes the rest again; "selective" also keeps matrix products and
    attention."""

    compile: ResumeFree[bool] = False
    """Compile the layers of the language model."""

    @model_validator(mode="after")
    def _consistent(self) -> ParallelConfig:
        if self.ranks_per_replica is not None and self.mode != "fsdp":
            raise ValueError(
                "parallel.ranks_per_replica is for parallel.mode=fsdp; set that, or leave ranks_per_replica out"
            )
        if self.sum_every_pack and self.mode != "fsdp":
            raise ValueError("parallel.sum_every_pack is for parallel.mode=fsdp; set that, or leave sum_every_pack out")
        return self


class CheckpointConfig(Section):
    """When checkpoints are written and which of them stay."""

    every_steps: ResumeFree[PositiveInt] = 100
    """Steps from one checkpoint to the next; there is one at the end, too."""

    keep_last: ResumeFree[PositiveInt] = 2
    """How many of the newest stay."""

    keep_best: ResumeFree[NonNegativeInt] = 0
    """How many of those with the lowest held-out loss stay."""


class HeldOutConfig(Section):
    """Evaluation while the run trains, always on the same packs of another split."""

    split: ResumeFree[str] = "val"
    """The split, of all sources alike."""

    webdataset: ResumeFree[Annotated[tuple[Tar, ...], BeforeValidator(as_list)]] = ()
    """For a run on `data.webdataset`: other tars of the same form, in place of a split."""

    every_steps: ResumeFree[PositiveInt] = 100
    """Steps from one evaluation to the next; there is one at the end, too."""

    packs: ResumeFree[PositiveInt] = 16
    """How many packs of the split's first epoch the loss is measured on."""

    patience: ResumeFree[PositiveInt | None] = None
    """The run ends early when the loss has not fallen below its lowest for so many evaluations. None: it never does.
    Its best state is kept with `checkpoint.keep_best`."""

    answers: ResumeFree[NonNegativeInt] = 0
    """How many questions on images of the split the model also answers; a picture shows its boxes."""

    max_new_tokens: ResumeFree[PositiveInt] = 128
    """Longest answer, in tokens."""


class LossConfig(Section):
    """What weighs alike in the loss of a step; reported losses are nats per target token whatever is chosen."""

    balance: Literal["token", "sample", "task"] = "token"
    """"token": each target token, so that long answers weigh most; "sample": each dialogue, by the mean over its
    tokens; "task": each task that the step has a dialogue of."""

    weights: dict[str, PositiveFloat] = Field(default_factory=dict)
    """Factors of single tasks on top of that, by the task's name; 1 where none is given."""

    coordinate_spread: Annotated[float, Field(ge=0, le=0.2)] = 0.0
    """Standard deviation, in sides of the square, of the values around a coordinate that are its target together; 0:
    the value alone. Near misses then cost less than far ones. For tokenizers whose hundredths are tokens."""

    @property
    def is_plain(self) -> bool:
        """Whether every target token weighs alike."""
        return self.balance == "token" and not self.weights


class LogConfig(Section):
    """What a run reports beside the line of JSON per step."""

    every_steps: ResumeFree[PositiveInt] = 10
    """Steps from one line on the terminal to the next."""

    tensorboard: ResumeFree[bool] = True
    """Write all figures for TensorBoard, too."""

    tracker: ResumeFree[Literal["none", "wandb", "trackio"]] = "none"
    """Send all figures to an experiment tracker too; wandb asks for an account, trackio keeps them on this machine."""

    project: ResumeFree[str] = "mmrs"
    """What the tracker files the run under; the run itself has the name of its folder."""

    profile_steps: ResumeFree[NonNegativeInt] = 0
    """Trace so many steps after the second one of this start with torch's profiler, into ``OUT/profile``; 0: none."""

    peak_tflops: ResumeFree[PositiveFloat | None] = None
    """What one device computes at most, in 10^12 operations per second in the dtype that trains. None: as known for the
    GPU's name; for an unknown one no utilisation is reported."""


class TrainConfig(Section):
    """One training run. Exactly one of `epochs` and `max_steps` gives its length."""

    model: ModelConfig
    """The model that it starts from."""

    data: DataConfig
    """What it reads."""

    stage: StageConfig
    """What it trains."""

    optimiser: OptimiserConfig = OptimiserConfig()
    """How gradients become updates."""

    schedule: ScheduleConfig = ScheduleConfig()
    """How the learning rate changes."""

    parallel: ParallelConfig = ParallelConfig()
    """How the model is laid out over devices."""

    checkpoint: CheckpointConfig = CheckpointConfig()
    """What is kept to go on from."""

    held_out: ResumeFree[HeldOutConfig | None] = None
    """Evaluation while it trains. None: none."""

    loss: LossConfig = LossConfig()
    """What weighs alike."""

    auxiliary: AuxiliaryConfig | None = None
    """What teaches the image side beside the text. None: nothing."""

    log: LogConfig = LogConfig()
    """What it reports."""

    tokens_per_pack: Annotated[int, Field(ge=8)] = 2048
    """Positions of one pack: whole images with their dialogues, and padding."""

    tokens_per_step: Annotated[int, Field(ge=8)] = 8192
    """Positions of one optimiser step on all ranks together, a multiple of `tokens_per_pack`."""

    epochs: PositiveInt | None = None
    """Length of the run in passes over the data (as `data.mixture` weighs it)."""

    max_steps: PositiveInt | None = None
    """Length of the run in optimiser steps."""

    device: ResumeFree[Literal["cpu", "cuda"]] = "cpu"
    """Where it computes."""

    threads: ResumeFree[PositiveInt] = 2
    """Threads on the CPU: the packs of a step share them, or the parts of each operation where a step has one pack.
    Results are bit-exact for an equal number only."""

    workers: ResumeFree[NonNegativeInt] = 0
    """Processes that read and decode for each rank; 0: the rank itself does."""

    out: ResumeFree[LocalPath]
    """The run folder. One with checkpoints is resumed."""

    @property
    def packs_per_step(self) -> int:
        return self.tokens_per_step // self.tokens_per_pack

    @model_validator(mode="after")
    def _consistent(self) -> TrainConfig:
        rest = self.tokens_per_step % self.tokens_per_pack
        if rest:
            above = self.tokens_per_step - rest + self.tokens_per_pack
            below = max(above - self.tokens_per_pack, self.tokens_per_pack)
            good = " or ".join(str(value) for value in sorted({below, above}))
            raise ValueError(
                f"tokens_per_step={self.tokens_per_step} is no multiple of tokens_per_pack={self.tokens_per_pack}; "
                f"set tokens_per_step={good}"
            )
        if (self.epochs is None) == (self.max_steps is None):
            raise ValueError("set exactly one of epochs and max_steps")
        if self.data.webdataset and (self.max_steps is None or self.model.path is None):
            raise ValueError("data.webdataset needs max_steps and model.path: neither epochs nor texts are known ahead")
        return self

    @model_validator(mode="after")
    def _parallel_fits(self) -> TrainConfig:
        layout = self.parallel
        if layout.attention == "flex" and self.device == "cpu":
            raise ValueError("parallel.attention=flex has no backward pass on a CPU; set parallel.attention=auto")
        if self.optimiser.moments == "8bit" and layout.mode == "fsdp":
            raise ValueError("optimiser.moments=8bit cannot be sharded; set parallel.mode=replicate, or moments=fp32")
        tuning = self.stage.tuning
        if tuning is not None and tuning.quantised != "none" and layout.mode == "fsdp":
            raise ValueError(
                f"stage.tuning.quantised={tuning.quantised} fits one GPU's memory and cannot be sharded; set "
                "parallel.mode=replicate, or quantised=none"
            )
        flex = layout.attention == "flex" or (layout.attention == "auto" and self.device == "cuda")
        if layout.activation_checkpointing == "selective" and flex and not layout.compile:
            raise ValueError(
                "parallel.activation_checkpointing=selective with flex attention needs parallel.compile=true: only the "
                "compiler sees into the kernel; set that, or activation_checkpointing=full"
            )
        return self

    @model_validator(mode="after")
    def _auxiliary_fits(self) -> TrainConfig:
        if self.auxiliary is not None and self.data.webdataset:
            raise ValueError("auxiliary needs the records of data.folders, and tars of others have none; leave it out")
        if self.auxiliary is not None and self.parallel.mode == "fsdp":
            raise ValueError("auxiliary heads cannot be sharded; set parallel.mode=replicate, or leave auxiliary out")
        return self

    @model_validator(mode="after")
    def _held_out_fits(self) -> TrainConfig:
        held_out, every_steps = self.held_out, self.checkpoint.every_steps
        if held_out is not None and bool(self.data.webdataset) != bool(held_out.webdataset):
            raise ValueError(
                "held_out needs tars of its own where data.webdataset is set, and a split where data.folders is: set "
                f"{'held_out.webdataset, or leave held_out out' if self.data.webdataset else 'held_out.webdataset=[]'}"
            )
        if held_out is not None and held_out.answers and held_out.webdataset:
            raise ValueError("held_out.answers needs questions of data.folders; set held_out.answers=0")
        if self.checkpoint.keep_best:
            if held_out is None:
                raise ValueError("checkpoint.keep_best needs a held-out loss: set held_out.split and held_out.packs")
            if held_out.every_steps % every_steps:
                raise ValueError(
                    "checkpoint.keep_best needs a checkpoint wherever the loss is measured; "
                    f"held_out.every_steps={held_out.every_steps} must be a multiple of "
                    f"checkpoint.every_steps={every_steps}"
                )
        if held_out is not None and held_out.answers and self.parallel.mode == "fsdp":
            raise ValueError("held_out.answers needs the whole model on one rank: set parallel.mode=replicate, or 0")
        return self

    def to_yaml(self) -> str:
        """The resolved configuration, every default included."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def load_config(path: Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a YAML file and apply `a.b=c` overrides, whose values are YAML too.

    Raises:
        UserError: no such file, no YAML, an unknown key (with the nearest known one) or a value out of range.
    """
    return validated(TrainConfig, load_yaml(path, tuple(overrides)), str(path))


def resume_bound_fields(config: TrainConfig) -> dict[str, Any]:
    """Dotted names and values of the fields that must not change when a run is resumed.

    The length of a run shapes the schedule, so `max_steps` and `epochs` may change only where `schedule.total_steps`
    is set. The folder `model.path` may move: the checkpoint knows the model by its digest.
    """
    values = dict(resume_bound_values(config, config.model_dump(mode="json")))
    if config.schedule.total_steps is not None:
        del values["epochs"], values["max_steps"]
    return values


def check_resume_bound_fields(saved: dict[str, Any], config: TrainConfig, beginning: str = "") -> None:
    """Refuse to resume with another configuration.

    Args:
        saved: `resume_bound_fields` of the configuration that the checkpoint was written with.
        beginning: of the names of the fields that are compared.

    Raises:
        UserError: names the first field that differs and both values.
    """
    now = resume_bound_fields(config)
    for name in sorted(saved.keys() | now.keys()):
        if name.startswith(beginning) and saved.get(name) != now.get(name):
            raise UserError(
                f"cannot resume in {config.out}: {name} was {saved.get(name)!r} and is now {now.get(name)!r}, which "
                f"changes the result. Set it back, or start a new run with another `out`."
                + (
                    " To lengthen a run, start it with schedule.total_steps set."
                    if name in ("epochs", "max_steps")
                    else ""
                )
            )
