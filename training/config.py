"""The configuration of a training run: YAML file, `--set a.b=c` overrides, checks at construction.

Two rules decide what may differ when a run is resumed: a field marked `HARMLESS` may; every other one changes the
mathematics and is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    field_validator,
    model_validator,
)
from pydantic.config import JsonDict

from mmrs.config import StrictModel, as_list, load_yaml, validated
from mmrs.errors import UserError
from mmrs.storage.urls import parse_location
from training.model.tuning.parameter_sets import SETS

HARMLESS: JsonDict = {"harmless": True}
Share = Annotated[float, Field(ge=0, le=1)]
Names = Annotated[tuple[str, ...], Field(min_length=1)]


def _location(value: Any) -> Any:
    try:
        return parse_location(value)
    except UserError as error:
        raise UserError(f"data.folders: {error}") from error


Location = Annotated[Path | str, PlainValidator(_location), PlainSerializer(str)]


class ModelConfig(StrictModel):
    """Either `preset` (random weights, a tokenizer of its own) or `path` (a folder that `save_pretrained` wrote)."""

    preset: str | None = None
    path: Path | None = Field(default=None, json_schema_extra=HARMLESS)
    vocab_size: int = Field(default=1024, ge=1)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _one_origin(self) -> ModelConfig:
        if (self.preset is None) == (self.path is None):
            raise ValueError("set exactly one of model.preset (for instance tiny) and model.path (a model folder)")
        return self


class MixtureRule(StrictModel):
    """How much of one source, one task, or one task of one source an epoch holds; see `training.data.planning.mixture`.

    `epochs` is the number of passes over it (2.5: each sample five times in two epochs), `weight` its share of the
    epoch's samples relative to the other weights.
    """

    source: str | None = None
    task: str | None = None
    epochs: float | None = Field(default=None, gt=0, le=1000)
    weight: float | None = Field(default=None, gt=0)

    @property
    def name(self) -> str:
        return f"{self.source or '*'}/{self.task or '*'}"

    @model_validator(mode="after")
    def _complete(self) -> MixtureRule:
        if self.source is None and self.task is None:
            raise ValueError("name a source, a task or both")
        if (self.epochs is None) == (self.weight is None):
            raise ValueError("set exactly one of epochs and weight")
        return self


class AugmentConfig(StrictModel):
    """Changes of training images that keep their text true; see `training.data.augment`.

    `brightness` and `contrast` are the largest relative changes, `noise` the largest change of a pixel in grey levels,
    `dihedral` allows turns and mirror images where the text can follow.
    """

    brightness: float = Field(default=0.0, ge=0, le=0.9)
    contrast: float = Field(default=0.0, ge=0, le=0.9)
    noise: int = Field(default=0, ge=0, le=64)
    dihedral: bool = False


class DataConfig(StrictModel):
    """What is read and in which order.

    Either `folders`, which may be URLs of http(s), s3 or hf (see `mmrs.storage.urls`), or `webdataset`: tars of
    others, with a shuffle buffer of `webdataset_shuffle` samples (see `training.data.webdataset`). `splits` are by
    default those that each source was built to train on: ``train`` where the build's recipe says nothing else
    (`train_splits`).
    Named ones are taken of all sources alike. `mixture` says how often an epoch shows which part: the first rule that
    matches a dialogue decides; without rules every dialogue is seen once. `cache` is the folder for token counts and
    for at most `cache_gb` of fetched shards, by default ``mmrs`` in the user's cache folder.
    `shuffle_block_samples` neighbours of one tar stay together while blocks are permuted; samples are then permuted
    within windows of `shuffle_window_blocks` blocks; packs are filled from windows of `packing_window_units` images.
    A run ends when more than `max_skipped_samples` and more than `max_skipped_share` of its samples are unreadable.
    """

    folders: Annotated[tuple[Location, ...], BeforeValidator(as_list)] = Field(default=(), json_schema_extra=HARMLESS)
    webdataset: Annotated[tuple[str, ...], BeforeValidator(as_list)] = ()
    webdataset_shuffle: int = Field(default=1000, ge=1, json_schema_extra=HARMLESS)
    splits: Annotated[Names | None, BeforeValidator(as_list)] = None
    sources: Names | None = None
    tasks: Names | None = None
    mixture: tuple[MixtureRule, ...] = ()
    cache: Path | None = Field(default=None, json_schema_extra=HARMLESS)
    cache_gb: float = Field(default=100.0, gt=0, json_schema_extra=HARMLESS)
    seed: int = Field(default=0, ge=0)
    shuffle_block_samples: int = Field(default=256, ge=1)
    shuffle_window_blocks: int = Field(default=64, ge=1)
    packing_window_units: int = Field(default=4096, ge=1)
    augment: AugmentConfig | None = None
    verify_images: bool = Field(default=False, json_schema_extra=HARMLESS)
    max_skipped_samples: int = Field(default=10, ge=0, json_schema_extra=HARMLESS)
    max_skipped_share: Share = Field(default=0.005, json_schema_extra=HARMLESS)

    @model_validator(mode="after")
    def _one_origin(self) -> DataConfig:
        if bool(self.folders) == bool(self.webdataset):
            raise ValueError(
                "set exactly one of data.folders (data sets of mmrs) and data.webdataset (tars of others); "
                "--set data.folders=[] drops those of a recipe"
            )
        planned = [name for name in ("sources", "tasks", "mixture") if self.webdataset and getattr(self, name)]
        if planned:
            raise ValueError(f"data.{planned[0]} needs the index of a data set of mmrs; data.webdataset has none")
        return self

    @model_validator(mode="after")
    def _one_kind_of_mixture(self) -> DataConfig:
        if len({rule.weight is None for rule in self.mixture}) > 1:
            raise ValueError("data.mixture: give either epochs or weight, the same in all rules")
        return self


class TrainableRule(StrictModel):
    """Parameters whose full name matches `pattern` train with `learning_rate`.

    A recipe may write ``set: NAME``, a name of `training.model.tuning.parameter_sets.SETS`, in place of the pattern.
    """

    pattern: str
    learning_rate: float = Field(gt=0)

    @model_validator(mode="before")
    @classmethod
    def _named_set(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "set" not in values:
            return values
        name = values["set"]
        if "pattern" in values:
            raise ValueError("give either `set` or `pattern`, not both")
        if name not in SETS:
            raise ValueError(f"there is no set {name!r}; choose one of {', '.join(SETS)}, or give a `pattern`")
        return {key: value for key, value in values.items() if key != "set"} | {"pattern": SETS[name]}

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
        return pattern


class TuningConfig(StrictModel):
    """What is added to the language model's linear layers before training.

    "bias" and "bias-scale" are vectors, with `head` on the output head too, see `training.model.tuning.vectors`. "lora"
    is a pair of low-rank matrices, see `training.model.tuning.lora`: only there do `rank`, `alpha` and `dropout` count.
    """

    kind: Literal["bias", "bias-scale", "lora"] = "bias-scale"
    head: bool = False
    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=32.0, gt=0)
    dropout: Share = 0.0

    @model_validator(mode="after")
    def _head_has_vectors(self) -> TuningConfig:
        if self.kind == "lora" and self.head:
            raise ValueError("tuning.head is for vectors; with kind lora leave it out")
        return self


class StageConfig(StrictModel):
    """Which parameters train. The first rule that matches a name decides; what no rule matches is frozen."""

    name: str = Field(default="full", json_schema_extra=HARMLESS)
    tuning: TuningConfig | None = None
    trainable: Annotated[tuple[TrainableRule, ...], Field(min_length=1)]


class OptimiserConfig(StrictModel):
    """AdamW. Weight decay applies to tensors with at least two dimensions: no norms, no biases, no scales."""

    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.95)
    epsilon: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)


class ScheduleConfig(StrictModel):
    """Learning rate over the run: linear warm-up over `warmup_share` of it, then `kind`, never below `min_ratio`.

    "cosine" and "linear" fall to `min_ratio` of the peak at `total_steps`; "wsd" stays at the peak and falls linearly
    over the last `decay_share`; "inverse-sqrt" falls with the root of the steps done; "constant" stays. `total_steps`
    is by default the length of the run; set it to train a run in parts of growing `max_steps`.
    """

    kind: Literal["cosine", "linear", "wsd", "inverse-sqrt", "constant"] = "cosine"
    warmup_share: Share = 0.05
    decay_share: Share = 0.1
    min_ratio: Share = 0.1
    total_steps: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> ScheduleConfig:
        if self.kind == "wsd" and self.warmup_share + self.decay_share > 1:
            raise ValueError(
                f"schedule: warmup_share={self.warmup_share:g} and decay_share={self.decay_share:g} exceed the run; "
                "their sum must be at most 1"
            )
        return self


class ParallelConfig(StrictModel):
    """How the model is laid out over devices, see `training.step.sharding`. It changes rounding, never the mathematics.

    `mode` "fsdp" spreads weights over ranks; `shard_ranks` of them hold one copy (all by default), the other ranks
    further copies. `attention` "auto" is flex on a GPU and sdpa on a CPU. `activation_checkpointing` "full" keeps the
    input of each layer and computes the rest again, "selective" also keeps matrix products and attention.
    """

    mode: Literal["replicate", "fsdp"] = Field(default="replicate", json_schema_extra=HARMLESS)
    shard_ranks: int | None = Field(default=None, ge=2, json_schema_extra=HARMLESS)
    attention: Literal["auto", "flex", "sdpa"] = Field(default="auto", json_schema_extra=HARMLESS)
    activation_checkpointing: Literal["none", "selective", "full"] = Field(default="none", json_schema_extra=HARMLESS)
    compile: bool = Field(default=False, json_schema_extra=HARMLESS)

    @model_validator(mode="after")
    def _consistent(self) -> ParallelConfig:
        if self.shard_ranks is not None and self.mode != "fsdp":
            raise ValueError("parallel.shard_ranks is for parallel.mode=fsdp; set that, or leave shard_ranks out")
        return self


class CheckpointConfig(StrictModel):
    """A checkpoint every `every_steps`. The newest `keep_last` stay, and the `keep_best` of lowest held-out loss."""

    every_steps: int = Field(default=100, ge=1, json_schema_extra=HARMLESS)
    keep_last: int = Field(default=2, ge=1, json_schema_extra=HARMLESS)
    keep_best: int = Field(default=0, ge=0, json_schema_extra=HARMLESS)


class HeldOutConfig(StrictModel):
    """Loss on the same first `packs` packs of another split, every `every_steps` steps and at the end.

    With `answers`, the model also answers that many questions on images of the split, and a picture shows its boxes.
    """

    split: str = Field(default="val", json_schema_extra=HARMLESS)
    every_steps: int = Field(default=100, ge=1, json_schema_extra=HARMLESS)
    packs: int = Field(default=16, ge=1, json_schema_extra=HARMLESS)
    answers: int = Field(default=0, ge=0, json_schema_extra=HARMLESS)
    max_new_tokens: int = Field(default=128, ge=1, json_schema_extra=HARMLESS)


class LogConfig(StrictModel):
    """`peak_tflops` is what one device computes at most, in 10^12 operations per second in the dtype that trains.

    Known GPUs need none; without it no utilisation is reported.
    """

    every_steps: int = Field(default=10, ge=1, json_schema_extra=HARMLESS)
    tensorboard: bool = Field(default=True, json_schema_extra=HARMLESS)
    peak_tflops: float | None = Field(default=None, gt=0, json_schema_extra=HARMLESS)


class TrainConfig(StrictModel):
    """One training run. Exactly one of `epochs` and `max_steps` gives its length."""

    model: ModelConfig
    data: DataConfig
    stage: StageConfig
    optimiser: OptimiserConfig = OptimiserConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    parallel: ParallelConfig = ParallelConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    held_out: HeldOutConfig | None = Field(default=None, json_schema_extra=HARMLESS)
    log: LogConfig = LogConfig()
    tokens_per_pack: int = Field(default=2048, ge=8)
    tokens_per_step: int = Field(default=8192, ge=8)
    epochs: int | None = Field(default=None, ge=1)
    max_steps: int | None = Field(default=None, ge=1)
    device: Literal["cpu", "cuda"] = Field(default="cpu", json_schema_extra=HARMLESS)
    threads: int = Field(default=2, ge=1, json_schema_extra=HARMLESS)
    workers: int = Field(default=0, ge=0, json_schema_extra=HARMLESS)
    out: Path = Field(json_schema_extra=HARMLESS)

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
        flex = layout.attention == "flex" or (layout.attention == "auto" and self.device == "cuda")
        if layout.activation_checkpointing == "selective" and flex and not layout.compile:
            raise ValueError(
                "parallel.activation_checkpointing=selective with flex attention needs parallel.compile=true: only the "
                "compiler sees into the kernel; set that, or activation_checkpointing=full"
            )
        return self

    @model_validator(mode="after")
    def _held_out_fits(self) -> TrainConfig:
        held_out, every_steps = self.held_out, self.checkpoint.every_steps
        if held_out is not None and self.data.webdataset:
            raise ValueError("held_out needs a split of data.folders; data.webdataset has none")
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
    values = dict(_flatten(config, config.model_dump(mode="json")))
    if config.schedule.total_steps is not None:
        del values["epochs"], values["max_steps"]
    return values


def _flatten(part: BaseModel, values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, info in type(part).model_fields.items():
        inner = getattr(part, name)
        if isinstance(inner, BaseModel):
            yield from _flatten(inner, values[name], f"{prefix}{name}.")
        elif info.json_schema_extra != HARMLESS:
            yield f"{prefix}{name}", values[name]


def check_resume_bound_fields(saved: dict[str, Any], config: TrainConfig) -> None:
    """Refuse to resume with another configuration.

    Args:
        saved: `resume_bound_fields` of the configuration that the checkpoint was written with.

    Raises:
        UserError: names the first field that differs and both values.
    """
    now = resume_bound_fields(config)
    for name in sorted(saved.keys() | now.keys()):
        if saved.get(name) != now.get(name):
            raise UserError(
                f"cannot resume in {config.out}: {name} was {saved.get(name)!r} and is now {now.get(name)!r}, which "
                f"changes the result. Set it back, or start a new run with another `out`."
                + (
                    " To lengthen a run, start it with schedule.total_steps set."
                    if name in ("epochs", "max_steps")
                    else ""
                )
            )
