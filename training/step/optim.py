"""Optimiser and learning-rate schedule."""

from __future__ import annotations

import importlib.util
import math
from typing import Any

import torch

from mmrs.errors import UserError
from mmrs.installation import install_command
from training.config import OptimiserConfig, ScheduleConfig
from training.stages.stage import FreezeRow
from training.step.adamw import MasterAdamW


def build_optimiser(rows: list[FreezeRow], config: OptimiserConfig) -> torch.optim.AdamW:
    """AdamW over the trainable parameters, one group per learning rate and use of weight decay.

    With parameters of bf16 or moments of 8 bits it is that of `training.step.adamw`; else one fused kernel updates a
    group: on a CPU in a third of the time. Each group carries `peak_learning_rate` and `names`, in the order of its
    parameters.

    Raises:
        UserError: bitsandbytes is not installed.
    """
    groups: dict[tuple[float, bool], list[FreezeRow]] = {}
    for row in rows:
        if row.learning_rate is not None:
            groups.setdefault((row.learning_rate, row.decays), []).append(row)
    param_groups = [
        {
            "params": [row.parameter for row in members],
            "names": [row.name for row in members],
            "lr": learning_rate,
            "peak_learning_rate": learning_rate,
            "weight_decay": config.weight_decay if decays else 0.0,
        }
        for (learning_rate, decays), members in groups.items()
    ]
    options: dict[str, Any] = {"betas": config.betas, "eps": config.epsilon}
    if config.moments == "8bit" or config.weights == "bf16":
        if config.moments == "8bit" and importlib.util.find_spec("bitsandbytes") is None:
            raise UserError(
                f"optimiser.moments=8bit needs bitsandbytes: {install_command('bitsandbytes')}. Without, set "
                "optimiser.moments=fp32."
            )
        return MasterAdamW(param_groups, eight_bit=config.moments == "8bit", **options)
    devices = {row.parameter.device.type for row in rows}
    return torch.optim.AdamW(param_groups, fused=True if devices in ({"cpu"}, {"cuda"}) else None, **options)


def learning_rate_factor(step: int, total_steps: int, config: ScheduleConfig) -> float:
    """Factor on the peak learning rate for optimiser step `step`, counted from 0.

    Warm-up rises linearly over ``warmup_share * total_steps`` steps and never starts at 0. After `total_steps` the
    factor stays at `min_ratio` ("inverse-sqrt" falls on towards it, "constant" stays at 1).
    """
    warmup = round(config.warmup_share * total_steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if config.kind == "constant":
        return 1.0
    if config.kind == "inverse-sqrt":
        return max(config.min_ratio, math.sqrt((warmup + 1) / (step + 1)))
    start = total_steps - round(config.decay_share * total_steps) if config.kind == "wsd" else warmup
    progress = min(1.0, max(0, step - start) / max(1, total_steps - start))
    fall = 0.5 * (1 + math.cos(math.pi * progress)) if config.kind == "cosine" else 1 - progress
    return config.min_ratio + (1 - config.min_ratio) * fall


def set_learning_rate(optimiser: torch.optim.Optimizer, factor: float) -> None:
    """Set every group to `factor` of its peak."""
    for group in optimiser.param_groups:
        group["lr"] = group["peak_learning_rate"] * factor
