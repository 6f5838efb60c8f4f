"""A linear layer with tuning vectors: the paper's unified instruction tuning (architecture figure, panel d).

The figure adds a bias and a "shift" to every linear layer of every block and trains nothing else. Its formula is not
published; a second additive vector would be redundant, so we read the shift as a scale, which is the form of
LLaMA-Adapter V2 (arXiv 2304.15010):

    y = s * (W x + b)        element-wise per output channel, s = 1 and b = 0 at the start

Shape suffixes: O output channels, I input channels, ... any leading dimensions.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

TUNINGS = ("bias", "bias-scale")
VECTORS = ("bias_tune", "scale_tune")


class BiasScaleLinear(nn.Linear):
    """y = s * (W x + b): a linear layer with a vector added to its output, and one that multiplies the sum.

    `weight` (O, I) and `bias` keep the names that they have without tuning, so checkpoints of the base fit.
    `bias_tune` and `scale_tune` (O,) are fp32 whatever the dtype of the weight: near 1, bf16 has steps of 0.008.
    `scale_tune` is None where only the bias is tuned (the form of LLaMA2-Accessory).

    Args:
        in_features, out_features, bias: as in `nn.Linear`; `bias` is the base's own, frozen like its weight.
        scale: tune the scale too.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = False, scale: bool = True, device=None):
        super().__init__(in_features, out_features, bias=bias, device=device)
        form = {"dtype": torch.float32, "device": device}
        self.bias_tune = nn.Parameter(torch.zeros(out_features, **form))
        self.scale_tune = nn.Parameter(torch.ones(out_features, **form)) if scale else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., I) -> (..., O) in the dtype of the untuned layer's output."""
        y = functional.linear(x, self.weight, self.bias)
        if self.scale_tune is None:
            return (y + self.bias_tune).to(y.dtype)
        return _ShiftAndScale.apply(y, self.bias_tune, self.scale_tune)

    @torch.no_grad()
    def folded(self) -> nn.Linear:
        """The same function as a plain layer: W' = diag(s) W, b' = s * (b + the base's bias), computed in fp32."""
        scale_O = torch.ones_like(self.bias_tune) if self.scale_tune is None else self.scale_tune
        shift_O = self.bias_tune if self.bias is None else self.bias_tune + self.bias
        plain = nn.Linear(self.in_features, self.out_features, device="meta").train(self.training)
        plain.weight = nn.Parameter((scale_O[:, None] * self.weight.float()).to(self.weight.dtype))
        plain.bias = nn.Parameter((scale_O * shift_O).to(self.weight.dtype))
        return plain


class _ShiftAndScale(torch.autograd.Function):
    """s * (y + b) that keeps y in its own dtype for the backward pass, where autograd would keep an fp32 sum."""

    @staticmethod
    def forward(context: Any, y: torch.Tensor, bias_O: torch.Tensor, scale_O: torch.Tensor) -> torch.Tensor:
        context.save_for_backward(y, bias_O, scale_O)
        return ((y + bias_O) * scale_O).to(y.dtype)

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        y, bias_O, scale_O = context.saved_tensors
        channels = len(bias_O)
        flat = gradient.reshape(-1, channels).to(scale_O.dtype)
        total_O = flat.sum(0)
        # d/ds = sum of g * (y + b), split so that y + b is not formed again.
        scale_gradient = (flat * y.reshape(-1, channels)).sum(0) + bias_O * total_O
        y_gradient = (gradient * scale_O).to(y.dtype) if context.needs_input_grad[0] else None
        return y_gradient, scale_O * total_O, scale_gradient


def wrap_linears(model: nn.Module, paths: Iterable[str], tuning: str) -> None:
    """Replace linear layers by `BiasScaleLinear`. Their weights are shared with the new layers, not copied.

    Args:
        paths: names of the layers in `model`.

    Raises:
        ValueError: there is no such tuning, or a layer is quantised.
    """
    if tuning not in TUNINGS:
        raise ValueError(f"tuning is {tuning!r}; set one of {', '.join(map(repr, TUNINGS))}")
    paths = list(paths)
    for path in paths:
        layer: Any = model.get_submodule(path)
        if not layer.weight.is_floating_point():
            raise ValueError(
                f"{path} is quantised ({layer.weight.dtype}), and a tuning vector cannot be folded into it; tune with "
                "kind=lora, or load the model without quantisation"
            )
    for path in paths:
        model.set_submodule(path, _wrapped(model.get_submodule(path), tuning == "bias-scale"))


def fold_linears(model: nn.Module, paths: Iterable[str]) -> None:
    """Replace each `BiasScaleLinear` by the plain layer with a bias that it folds into, one after the other."""
    for path in paths:
        layer = model.get_submodule(path)
        if isinstance(layer, BiasScaleLinear):
            model.set_submodule(path, layer.folded())


def add_biases(model: nn.Module, paths: Iterable[str]) -> None:
    """Give linear layers a bias of zeros where they have none."""
    for path in paths:
        layer: Any = model.get_submodule(path)
        if layer.bias is None:
            layer.bias = nn.Parameter(layer.weight.new_zeros(layer.out_features))


def tuned_vectors(model: nn.Module) -> dict[str, nn.Parameter]:
    """Name and value of every tuning vector."""
    return {name: value for name, value in model.named_parameters() if name.rpartition(".")[2] in VECTORS}


def _wrapped(linear: Any, scale: bool) -> BiasScaleLinear:
    # The placeholder has one row, so that no second weight matrix is ever allocated.
    wrapped = BiasScaleLinear(1, linear.out_features, scale=scale, device=linear.weight.device)
    wrapped.in_features = linear.in_features
    wrapped.weight, wrapped.bias = linear.weight, linear.bias
    return wrapped
