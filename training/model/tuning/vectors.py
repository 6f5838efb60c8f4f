"""Tuning vectors of a model: put on, listed, folded away. The layer that holds them is `language.bias_scale`."""

from __future__ import annotations

from typing import Any

import torch

from training.model.language.bias_scale import TUNINGS, VECTORS, fold_linears, wrap_linears
from training.model.modeling.generation import EarthGPTForConditionalGeneration


def add_tuning(model: EarthGPTForConditionalGeneration, tuning: str, head: bool = False) -> None:
    """Give a model tuning vectors that leave its outputs bit-identical; a model that has them already is kept.

    The choice is written to `model.config`, so `save_pretrained` and `from_pretrained` keep it.

    Args:
        tuning: "bias" or "bias-scale".
        head: tune the output head too. The paper does not say so; such a model cannot be folded into a plain one.

    Raises:
        ValueError: there is no such tuning, or the model is tuned in another way.
    """
    config = model.config
    if config.tuning is not None:
        if (config.tuning, config.tune_head) != (tuning, head):
            raise ValueError(
                f"the model is tuned with tuning={config.tuning!r}, tune_head={config.tune_head}, not {tuning!r}, "
                f"{head}; call fold(model) first"
            )
        return
    wrap_linears(model, config.tuned_layers(head), tuning)
    config.tuning, config.tune_head = tuning, head


def vector_sizes(model: EarthGPTForConditionalGeneration, tuning: str, head: bool = False) -> dict[str, torch.Size]:
    """Names and shapes of the vectors that `add_tuning` gives the model."""
    kinds = VECTORS if tuning == TUNINGS[1] else VECTORS[:1]
    layers: dict[str, Any] = {path: model.get_submodule(path) for path in model.config.tuned_layers(head)}
    return {f"{path}.{kind}": torch.Size([layer.out_features]) for path, layer in layers.items() for kind in kinds}


def fold(model: EarthGPTForConditionalGeneration) -> EarthGPTForConditionalGeneration:
    """Fold the tuning vectors into weights and biases, layer by layer in place, and return the model.

    The result is an ordinary EarthGPT whose blocks have a bias on every linear layer, `config.linear_biases`. In bf16
    the folded weights are rounded to bf16; fold an fp32 copy where the scales must be kept exactly.

    Raises:
        ValueError: the head is tuned, or there is nothing to fold.
    """
    if model.config.tuning is None:
        raise ValueError("the model has no tuning vectors to fold; call add_tuning or load_delta first")
    if model.config.tune_head:
        raise ValueError(
            "the tuned output head has a bias, which no plain model's head has; keep the model as it is, or tune "
            "without tune_head"
        )
    fold_linears(model, model.config.tuned_layers(head=False))
    model.config.tuning = None
    model.config.linear_biases = True
    return model
