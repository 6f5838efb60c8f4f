"""A stage is data: what is added to the model, which parameters train, and with which learning rate."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from mmrs.errors import UserError
from mmrs.text import table
from training.config import StageConfig
from training.model.language.bias_scale import VECTORS
from training.model.modeling.generation import EarthGPTForConditionalGeneration
from training.model.tuning.lora import LoraOptions, add_lora
from training.model.tuning.vectors import add_tuning


@dataclass(frozen=True, eq=False)
class FreezeRow:
    """One parameter of the model; `learning_rate` is None where it is frozen.

    `decays` says whether weight decay applies: to the weights of products, which a norm or the next layer makes up for.
    A vector of an embedding that no batch uses, or of a position, would only shrink.
    """

    name: str
    parameter: nn.Parameter
    learning_rate: float | None
    decays: bool = False


def add_tuned_parameters(model: EarthGPTForConditionalGeneration, stage: StageConfig, seed: int) -> None:
    """Add the vectors or adapters that the stage trains; the model's outputs do not change.

    Raises:
        UserError: the model is tuned in another way, or peft is not installed.
    """
    tuning = stage.tuning
    try:
        if tuning is not None and tuning.kind == "lora":
            options = LoraOptions(
                tuning.rank, tuning.alpha, tuning.dropout, tuning.targets, tuning.dora, tuning.rank_stabilised
            )
            add_lora(model, options, seed)
        elif tuning is not None:
            add_tuning(model, tuning.kind, tuning.head)
    except ValueError as error:
        raise UserError(f"stage.tuning: {error}") from error


def apply_stage(
    model: nn.Module,
    stage: StageConfig,
    frozen_dtype: torch.dtype | None = None,
    trained_dtype: torch.dtype = torch.float32,
) -> list[FreezeRow]:
    """Mark the parameters that train, freeze the rest, and say which is which.

    Trainable tensors become fp32: a bf16 value cannot take up the small updates that tuning makes, unless an optimiser
    keeps a master of it. A pattern must match
    a parameter's full name; the first rule that matches decides.

    Args:
        frozen_dtype: dtype of frozen floating tensors; None leaves them as they are.
        trained_dtype: that of trainable ones, tuning vectors apart, which stay fp32.

    Raises:
        UserError: a rule trains nothing, either because its pattern matches no name or because earlier rules took all.
    """
    rules = [(re.compile(rule.pattern), rule.learning_rate) for rule in stage.trainable]
    used = [0] * len(rules)
    rows = []
    products = _product_weights(model)
    for name, parameter in model.named_parameters():
        number = next((number for number, (pattern, _) in enumerate(rules) if pattern.fullmatch(name)), None)
        parameter.requires_grad_(number is not None)
        if number is not None:
            used[number] += 1
            is_vector = name.rpartition(".")[2] in VECTORS
            parameter.data = parameter.data.to(torch.float32 if is_vector else trained_dtype)
        elif frozen_dtype is not None and parameter.is_floating_point():
            parameter.data = parameter.data.to(frozen_dtype)
        rows.append(FreezeRow(name, parameter, None if number is None else rules[number][1], name in products))
    for rule, count in zip(stage.trainable, used, strict=True):
        if count == 0:
            raise _useless(rule.pattern, stage.name, [row.name for row in rows])
    return rows


def _product_weights(model: nn.Module) -> set[str]:
    """Names of the weights of linear layers and convolutions; one that is tied to an embedding is the embedding's."""
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    return {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, kinds)}


def _useless(pattern: str, stage: str, names: list[str]) -> UserError:
    taken = [name for name in names if re.fullmatch(pattern, name)]
    if taken:
        return UserError(
            f"stage {stage!r}: pattern {pattern!r} only matches parameters of earlier rules, such as {taken[0]}. "
            "Move it up in stage.trainable, or remove it."
        )
    near = [name for name in names if re.search(pattern, name)] or difflib.get_close_matches(pattern, names, 3, 0.0)
    return UserError(
        f"stage {stage!r}: pattern {pattern!r} matches no parameter by its full name. Near it are "
        f"{', '.join(near[:3])}; a pattern such as '.*{pattern}.*' matches a part of a name."
    )


def freeze_report(rows: Sequence[FreezeRow], depth: int = 2) -> str:
    """Table of modules (names cut to `depth` parts): parameters, trainable ones, dtypes, learning rates."""
    modules: dict[str, list[FreezeRow]] = {}
    for row in rows:
        modules.setdefault(".".join(row.name.split(".")[:depth]), []).append(row)
    lines = []
    for module, members in [*modules.items(), ("total", list(rows))]:
        trained = [row for row in members if row.learning_rate is not None]
        lines.append(
            (
                module,
                f"{sum(row.parameter.numel() for row in members):,}",
                f"{sum(row.parameter.numel() for row in trained):,}",
                ", ".join(sorted({str(row.parameter.dtype).removeprefix("torch.") for row in members})),
                ", ".join(f"{rate:g}" for rate in sorted({row.learning_rate for row in trained if row.learning_rate})),
            )
        )
    return table(("module", "parameters", "trainable", "dtype", "learning rate"), lines, align="<>><<")
