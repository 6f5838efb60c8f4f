"""Bias+scale tuning of a frozen LLaMA: the paper's unified instruction tuning (architecture figure, panel d).

The figure adds a bias and a "shift" to every linear layer of every block and trains nothing else. Its formula is not
published; a second additive vector would be redundant, so we read the shift as a scale, which is the form of
LLaMA-Adapter V2 (arXiv 2304.15010):

    y = s * (W x + b)        element-wise per output channel, s = 1 and b = 0 at the start

Shape suffixes: O output channels, I input channels, ... any leading dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from transformers import LlamaConfig

from training.model.configuration import TUNINGS

if TYPE_CHECKING:
    from training.model.modeling import EarthGPTForConditionalGeneration

ATTENTION_LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP_LINEARS = ("gate_proj", "up_proj", "down_proj")
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


def wrap_linears(model: EarthGPTForConditionalGeneration, tuning: str, head: bool) -> None:
    """Replace the seven linear layers of every LLaMA block, and the output head if asked, by `BiasScaleLinear`.

    The weights are shared with the layers that are replaced, not copied.

    Raises:
        ValueError: there is no such tuning.
    """
    if tuning not in TUNINGS:
        raise ValueError(f"tuning is {tuning!r}; set one of {', '.join(map(repr, TUNINGS))}")
    for part, name, _ in _sites(model, head):
        setattr(part, name, _wrapped(getattr(part, name), tuning == "bias-scale"))


def add_tuning(model: EarthGPTForConditionalGeneration, tuning: str, head: bool = False) -> None:
    """Give a model tuning vectors that leave its outputs bit-identical; a model that has them already is kept.

    The choice is written to `model.config`, so `save_pretrained` and `from_pretrained` keep it.

    Args:
        tuning: "bias" or "bias-scale".
        head: tune the output head too. The paper does not say so; such a model cannot be folded into a plain LLaMA.

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
    wrap_linears(model, tuning, head)
    config.tuning, config.tune_head = tuning, head


def tuned_vectors(model: nn.Module) -> dict[str, nn.Parameter]:
    """Name and value of every tuning vector."""
    return {name: value for name, value in model.named_parameters() if name.rpartition(".")[2] in VECTORS}


def vector_sizes(model: EarthGPTForConditionalGeneration, tuning: str, head: bool = False) -> dict[str, torch.Size]:
    """Names and shapes of the vectors that `add_tuning` gives the model."""
    kinds = VECTORS if tuning == "bias-scale" else VECTORS[:1]
    return {
        f"{path}.{kind}": torch.Size([getattr(part, name).out_features])
        for part, name, path in _sites(model, head)
        for kind in kinds
    }


def fold(model: EarthGPTForConditionalGeneration) -> EarthGPTForConditionalGeneration:
    """Fold the tuning vectors into weights and biases, layer by layer in place, and return the model.

    The result is an ordinary EarthGPT whose LLaMA has `attention_bias` and `mlp_bias`. In bf16 the folded weights are
    rounded to bf16; fold an fp32 copy where the scales must be kept exactly.

    Raises:
        ValueError: the head is tuned, or there is nothing to fold.
    """
    if model.config.tuning is None:
        raise ValueError("the model has no tuning vectors to fold; call add_tuning or load_delta first")
    if model.config.tune_head:
        raise ValueError(
            "the tuned output head has a bias, which LlamaForCausalLM's head does not; keep the model as it is, or "
            "tune without tune_head"
        )
    for part, name, _ in _sites(model, head=False):
        setattr(part, name, getattr(part, name).folded())
    model.config.tuning = None
    model.config.text_config.attention_bias = model.config.text_config.mlp_bias = True
    return model


def llama_state(model: EarthGPTForConditionalGeneration) -> tuple[LlamaConfig, dict[str, torch.Tensor]]:
    """The language model alone: configuration and state that `LlamaForCausalLM` loads as they are.

    Raises:
        ValueError: the model has tuning vectors, which `LlamaForCausalLM` does not know.
    """
    if model.config.tuning is not None:
        raise ValueError(f"the model is tuned with tuning={model.config.tuning!r}; call fold(model) first")
    state = {f"model.{name}": tensor for name, tensor in model.language_model.state_dict().items()}
    state["lm_head.weight"] = model.lm_head.weight.detach()
    return LlamaConfig.from_dict(model.config.text_config.to_dict()), state


def _sites(model: EarthGPTForConditionalGeneration, head: bool) -> Iterator[tuple[nn.Module, str, str]]:
    """Every tuned layer as its parent, its name there and its full name."""
    for number, layer in enumerate(model.language_model.layers):
        for part, names in (("self_attn", ATTENTION_LINEARS), ("mlp", MLP_LINEARS)):
            for name in names:
                yield getattr(layer, part), name, f"language_model.layers.{number}.{part}.{name}"
    if head:
        yield model, "lm_head", "lm_head"


def _wrapped(linear: nn.Linear, scale: bool) -> BiasScaleLinear:
    # The placeholder has one row, so that no second weight matrix is ever allocated.
    wrapped = BiasScaleLinear(1, linear.out_features, scale=scale, device=linear.weight.device)
    wrapped.in_features = linear.in_features
    wrapped.weight, wrapped.bias = linear.weight, linear.bias
    return wrapped
