"""What is trained, and by which steps: the model that a run starts from, its stage, optimiser and schedule."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from mmrs.config import as_list
from training.config.parameter_sets import SETS
from training.config.section import LocalPath, NonEmptyNames, ResumeFree, Section, UnitShare


class EncoderConfig(Section):
    """What differs from the preset in one image encoder. None: as in the preset."""

    image_size: PositiveInt | None = None
    """Side in pixels of the square that it sees."""

    layers: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] | None = None
    """The layers whose maps are used, counted from 1."""

    fusion: Literal["mean", "sum", "concat"] | None = None
    """How its layers join."""


class ModelConfig(Section):
    """The model that a run starts from: either `preset`, maybe with changes, or `path`."""

    preset: str | None = None
    """Name of a size (for instance tiny): random weights, and a tokenizer trained on the run's own texts."""

    path: ResumeFree[LocalPath | None] = None
    """A model folder, of `mmrs init` or of an earlier run. It may move; the checkpoint knows it by its digest."""

    dialogue: Literal["plain", "chat"] | None = None
    """How dialogues are written: "plain" is ``Human: ... Assistant: ...``, for base models; "chat" is the language
    model's own chat template, for instruct models. The trained model keeps it. None: as the model's folder says, which
    is plain at first."""

    vocab_size: PositiveInt = 1024
    """Entries of the tokenizer that a preset trains."""

    coordinates: Literal["digits", "hundredths"] = "digits"
    """preset only: how the tokenizer that it trains cuts coordinates. "digits": every digit is a token, as in LLaMA-2;
    "hundredths": ``0.00`` to ``1.00`` are one token each, and a third decimal another. Fewer, and each says a place."""

    seed: NonNegativeInt = 0
    """Of random weights."""

    encoders: Mapping[str, EncoderConfig] = Field(default_factory=dict)
    """preset only: what differs from it, by the name of the encoder (``vit``, ``cnn``)."""

    token_merge: PositiveInt | None = None
    """preset only: side of the square of cells that join into one visual token, 1 or 2. It and the image size of the
    first encoder decide how many positions an image takes."""

    fusion: Literal["concat", "sum", "mean"] | None = None
    """preset only: how the encoders join."""

    visual_positions: bool | None = None
    """preset only: add a learned vector to each visual token, one for each place of the grid."""

    @property
    def changes(self) -> dict[str, Any]:
        """What differs from the preset, by the names of `training.model.configuration.changed`."""
        own = {name: getattr(self, name) for name in ("token_merge", "fusion", "visual_positions")}
        for name, encoder in self.encoders.items():
            own |= {f"{name}.{field}": value for field, value in encoder.model_dump().items()}
        return {name: value for name, value in own.items() if value is not None}

    @model_validator(mode="after")
    def _one_origin(self) -> ModelConfig:
        if (self.preset is None) == (self.path is None):
            raise ValueError("set exactly one of model.preset (for instance tiny) and model.path (a model folder)")
        if self.path is not None and self.changes:
            name, value = next(iter(self.changes.items()))
            raise ValueError(
                f"model.{'encoders.' * ('.' in name)}{name} changes a preset, and model.path names a made model; "
                f"leave it out, or make the model again with `mmrs init` and its option --set {name}={value}"
            )
        return self


class TrainableRule(Section):
    """Some parameters and their learning rate.

    A recipe may write ``set: NAME``, a name of `training.config.parameter_sets.SETS`, in place of the pattern.
    """

    pattern: str
    """Regular expression for the full names of the parameters."""

    learning_rate: PositiveFloat
    """The peak of their learning rate."""

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


class TuningConfig(Section):
    """What is added to the language model's linear layers before training; see `training.model.tuning`."""

    kind: Literal["bias", "bias-scale", "lora"] = "bias-scale"
    """Vectors that are added to outputs, such vectors and others that scale them, or pairs of low-rank matrices."""

    head: bool = False
    """Vectors on the output head too."""

    rank: PositiveInt = 16
    """lora only: rank of the matrices."""

    alpha: PositiveFloat = 32.0
    """lora only: their product is scaled by alpha / rank."""

    dropout: UnitShare = 0.0
    """lora only: share of their inputs that is dropped in training."""

    targets: Annotated[NonEmptyNames, BeforeValidator(as_list)] = ("all",)
    """lora only: the layers that get them: "all", "attention", "attention-inputs", "mlp", or ends of layers' names such
    as q_proj."""

    dora: bool = False
    """lora only: learn the length of each row of a weight apart from its direction (DoRA, arXiv 2402.09353)."""

    rank_stabilised: bool = False
    """lora only: scale by alpha / sqrt(rank), so that higher ranks learn as fast (rsLoRA, arXiv 2312.03732)."""

    quantised: Literal["none", "nf4"] = "none"
    """lora only: keep the frozen linear layers of the language model in 4 bits (QLoRA, arXiv 2305.14314), through
    bitsandbytes. The trained model has them in its own precision again."""

    @model_validator(mode="after")
    def _fits_its_kind(self) -> TuningConfig:
        if self.kind == "lora" and self.head:
            raise ValueError("tuning.head is for vectors; with kind lora leave it out")
        fields = type(self).model_fields
        names = ("targets", "dora", "rank_stabilised", "quantised")
        of_lora = [name for name in names if getattr(self, name) != fields[name].default]
        if self.kind != "lora" and of_lora:
            raise ValueError(f"tuning.{of_lora[0]} is for low-rank adapters; set tuning.kind=lora, or leave it out")
        return self


class StageConfig(Section):
    """Which parameters train."""

    name: ResumeFree[str] = "full"
    """What the stage is called in reports and in the trained model's card."""

    tuning: TuningConfig | None = None
    """What is added to the model before training. None: nothing."""

    trainable: Annotated[tuple[TrainableRule, ...], Field(min_length=1)]
    """The first rule that matches a parameter's name decides; what no rule matches is frozen."""


class OptimiserConfig(Section):
    """AdamW."""

    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.95)
    """Decay of the running means of gradients and of their squares."""

    epsilon: PositiveFloat = 1e-8
    """Added to the root of the mean square."""

    weight_decay: NonNegativeFloat = 0.05
    """On the weights of linear layers and convolutions: no norms, biases and scales, no embeddings, no positions."""

    weights: Literal["fp32", "bf16"] = "fp32"
    """What trained parameters are kept in. "bf16" halves them, their gradients and what ranks exchange, beside an fp32
    copy that the updates go to; for full tuning. Tuning vectors stay fp32."""

    moments: Literal["fp32", "8bit"] = "fp32"
    """What the running means are kept in: "8bit" through bitsandbytes, in a quarter of the memory; not for sharded
    parameters."""

    clip_norm: PositiveFloat = 1.0
    """Largest norm of the gradient of all trained parameters together."""


class ScheduleConfig(Section):
    """The learning rate over the run, as a factor on its peak: linear warm-up, then `kind`."""

    kind: Literal["cosine", "linear", "wsd", "inverse-sqrt", "constant"] = "cosine"
    """"cosine" and "linear" fall to `min_ratio` at `total_steps`; "wsd" stays at the peak and falls linearly over the
    last `decay_share`; "inverse-sqrt" falls with the root of the steps done; "constant" stays."""

    warmup_share: UnitShare = 0.05
    """Share of the run in which the learning rate rises."""

    decay_share: UnitShare = 0.1
    """wsd only: share of the run in which it falls."""

    min_ratio: UnitShare = 0.1
    """The factor never falls below this."""

    total_steps: PositiveInt | None = None
    """Steps that the schedule is laid out for. None: the length of the run. Set it to train a run in parts of growing
    `max_steps`."""

    @model_validator(mode="after")
    def _consistent(self) -> ScheduleConfig:
        if self.kind == "wsd" and self.warmup_share + self.decay_share > 1:
            raise ValueError(
                f"schedule: warmup_share={self.warmup_share:g} and decay_share={self.decay_share:g} exceed the run; "
                "their sum must be at most 1"
            )
        return self
