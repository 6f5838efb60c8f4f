"""What a training step costs, by formula: floating-point operations, and memory of the state and the activations.

Counted are matrix products, convolutions and attention, a multiplication and an addition as two operations; norms,
activations and resizing are left out. A linear layer with N weights costs 2N operations per token forward, 2N for the
gradient of its input and 2N for that of its weight: 6N where it trains, 4N where gradients only pass through, 2N where
none do. Work that a kernel or checkpointing does twice is counted once, so the figures fit model FLOP utilisation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from training.model.configuration import EarthGPTConfig
from training.model.modeling import EarthGPTForConditionalGeneration
from training.model.tuning.lora import ADAPTER


@dataclass(frozen=True)
class Flops:
    """Floating-point operations of a step, forward and backward, per part of the model."""

    forward: dict[str, int]
    backward: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.forward.values()) + sum(self.backward.values())


@dataclass(frozen=True)
class StateMemory:
    """Bytes of a training run that do not depend on the batch: weights, gradients and AdamW's two moments."""

    weights: int
    gradients: int
    moments: int

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.moments


def step_flops(
    model: EarthGPTForConditionalGeneration, tokens: int, pairs: int, images: int, targets: int | None = None
) -> Flops:
    """Operations of one step, with the gradients that the parameters' `requires_grad` asks for.

    An encoder of which any parameter trains is counted as trained up to its last tapped block.

    Args:
        tokens: positions of the language model, image slots and padding included.
        pairs: (query, key) pairs that its attention works on: the square of the length for each row of dense
            attention, the number of visible pairs where a kernel skips the rest.
        images: images encoded.
        targets: positions that the output head runs on; all by default.

    Raises:
        ValueError: a count is negative.
    """
    counts = {"tokens": tokens, "pairs": pairs, "images": images, "targets": targets or 0}
    for name, value in counts.items():
        if value < 0:
            raise ValueError(f"{name} is {value}; give a count of zero or more")
    operations = {
        "vit": list(_vit(model, images)),
        "cnn": list(_cnn(model, images)),
        "projector": list(_projector(model, images)),
        "language_model": list(_language_model(model, tokens, pairs)),
        "lm_head": [_head(model, tokens if targets is None else targets)],
    }
    return Flops(
        forward={part: sum(forward for forward, _ in pieces) for part, pieces in operations.items()},
        backward={part: sum(backward for _, backward in pieces) for part, pieces in operations.items()},
    )


def state_memory(model: nn.Module) -> StateMemory:
    """Bytes that weights, gradients and AdamW's moments take; a tied matrix counts once.

    Activations come on top, see `activation_memory`.
    """
    trained = sum(value.numel() * value.element_size() for value in model.parameters() if value.requires_grad)
    weights = sum(value.numel() * value.element_size() for value in model.parameters())
    return StateMemory(weights=weights, gradients=trained, moments=2 * trained)


def activation_memory(
    model: EarthGPTForConditionalGeneration,
    tokens: int,
    images: int,
    targets: int,
    dtype: torch.dtype = torch.bfloat16,
    checkpointing: bool = False,
) -> dict[str, int]:
    """Bytes that autograd keeps between forward and backward, per part, for frozen encoders, which keep nothing.

    Counted is what each operation of `LlamaModel` saves, with an attention kernel that keeps queries, keys, values and
    result but no scores. Cosines, masks and one number per token and norm are left out; so is what the allocator adds.

    Args:
        tokens: positions of the language model.
        images: images encoded.
        targets: positions that the output head runs on, all in one piece.
        dtype: that of the activations.
        checkpointing: every block keeps its input alone and is run again when its turn comes; `recomputed` is then
            what the block that is being run again keeps.

    Raises:
        ValueError: an encoder trains.
    """
    if _trains(model.vision.parameters()):
        raise ValueError("an encoder trains; the formula is for frozen ones")
    size, width = dtype.itemsize, model.config.text_config.hidden_size
    flows = _reaches_language_model(model)
    blocks = []
    for layer in model.language_model.layers:
        kept = _block_memory(layer, model.config, size, flows)
        flows = flows or _trains(layer.parameters())
        blocks.append((kept, size * width * flows))
    norm = model.language_model.norm
    memory = {
        "projector": _projector_memory(model, size) * images,
        "language_model": sum(kept for kept, _ in blocks) * tokens,
        "final_norm": _norm_memory(norm, size, flows) * tokens,
        "lm_head": (
            4 * model.config.text_config.vocab_size * (flows or norm.weight.requires_grad)
            + size * width * model.lm_head.weight.requires_grad
        )
        * targets,
    }
    if checkpointing:
        memory["recomputed"] = max(kept for kept, _ in blocks) * tokens
        memory["language_model"] = sum(passed for _, passed in blocks) * tokens
    return memory


def cache_bytes(config: EarthGPTConfig, positions: int, dtype: torch.dtype = torch.bfloat16) -> int:
    """Bytes of keys and values that generation keeps for `positions` positions of one sequence."""
    text = config.text_config
    width = text.num_key_value_heads * text.head_dim
    return 2 * text.num_hidden_layers * width * positions * dtype.itemsize


_Operation = tuple[int, int]


def _linear(layer: nn.Linear | nn.Conv2d, positions: int, input_gradient: bool) -> _Operation:
    forward = 2 * layer.weight.numel() * positions
    backward = forward * (input_gradient + layer.weight.requires_grad)
    if hasattr(layer, "lora_A"):
        down, up = (2 * part[ADAPTER].weight.numel() * positions for part in (layer.lora_A, layer.lora_B))
        trains = _trains(layer.lora_A.parameters())
        forward += down + up
        backward += down * (input_gradient + trains) + up * ((input_gradient or trains) + trains)
    return forward, backward


def _trains(parameters: Iterable[nn.Parameter]) -> bool:
    return any(parameter.requires_grad for parameter in parameters)


def _vit(model: EarthGPTForConditionalGeneration, images: int) -> Iterator[_Operation]:
    config, vit = model.config, model.vision.vit
    cells = config.grid**2
    trains = _trains(vit.parameters())
    forward = 2 * vit.embeddings.patch_embeddings.projection.weight.numel() * cells * images
    yield forward, forward * trains
    for number, block in enumerate(vit.encoder.layer, start=1):
        linears = sum(layer.weight.numel() for layer in block.modules() if isinstance(layer, nn.Linear))
        attention = 4 * (cells + 1) ** 2 * config.vit_config.hidden_size
        forward = (2 * linears * (cells + 1) + attention) * images
        yield forward, 2 * forward * (trains and number <= config.vit_layers[-1])


def _cnn(model: EarthGPTForConditionalGeneration, images: int) -> Iterator[_Operation]:
    config, cnn = model.config, model.vision.cnn
    side = config.cnn_image_size // config.cnn_config.patch_size
    trains = _trains(cnn.parameters())
    forward = 2 * cnn.embeddings.patch_embeddings.weight.numel() * side**2 * images
    yield forward, forward * trains
    for number, stage in enumerate(cnn.encoder.stages, start=1):
        side = side if number == 1 else side // 2
        layers = [layer for layer in stage.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
        forward = 2 * sum(layer.weight.numel() for layer in layers) * side**2 * images
        yield forward, 2 * forward * (trains and number <= config.cnn_stages[-1])


def _projector(model: EarthGPTForConditionalGeneration, images: int) -> Iterator[_Operation]:
    projector, trains = model.projector, _trains(model.vision.parameters())
    if projector.align is not None:
        yield _linear(projector.align, model.config.grid**2 * images, _trains(model.vision.cnn.parameters()))
        trains = trains or projector.align.weight.requires_grad
    yield _linear(projector.linear, model.config.visual_tokens * images, trains)


def _language_model(model: EarthGPTForConditionalGeneration, tokens: int, pairs: int) -> Iterator[_Operation]:
    text = model.config.text_config
    product = 2 * pairs * text.num_attention_heads * text.head_dim
    flows = _reaches_language_model(model)
    for layer in model.language_model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        inner = flows or _trains(layer.input_layernorm.parameters())
        for name in ("q_proj", "k_proj", "v_proj"):
            yield _linear(getattr(attention, name), tokens, inner)
        q, k, v = (inner or _trains(getattr(attention, f"{name}_proj").parameters()) for name in "qkv")
        # Forward: scores and weighted sum. Backward: one product each for q, k, v and, below q or k, for the scores.
        yield 2 * product, product * (q + k + v + (q or k))
        mixed = q or k or v
        yield _linear(attention.o_proj, tokens, mixed)
        flows = flows or mixed or _trains(attention.o_proj.parameters())
        inner = flows or _trains(layer.post_attention_layernorm.parameters())
        yield _linear(mlp.gate_proj, tokens, inner)
        yield _linear(mlp.up_proj, tokens, inner)
        gated = inner or _trains(mlp.gate_proj.parameters()) or _trains(mlp.up_proj.parameters())
        yield _linear(mlp.down_proj, tokens, gated)
        flows = flows or gated or _trains(mlp.down_proj.parameters())


def _block_memory(layer: nn.Module, config: EarthGPTConfig, size: int, flows: bool) -> int:
    """Bytes per token that one block keeps. `flows`: a gradient is wanted at its input."""
    text, attention, mlp = config.text_config, layer.self_attn, layer.mlp
    queries, keys = text.num_attention_heads * text.head_dim, text.num_key_value_heads * text.head_dim
    total = _norm_memory(layer.input_layernorm, size, flows)
    inner = flows or _trains(layer.input_layernorm.parameters())
    linears = [attention.q_proj, attention.k_proj, attention.v_proj]
    total += _linears_memory(linears, size)
    if inner or any(_trains(linear.parameters()) for linear in linears):
        total += size * (2 * queries + 2 * keys)
        flows = True
    # The kernel's result is the output layer's input, and already counted where any of this learns.
    shared = size * attention.o_proj.in_features * (flows and _keeps_input([attention.o_proj]))
    total += _linears_memory([attention.o_proj], size) - shared
    flows = flows or _trains(attention.o_proj.parameters())
    total += _norm_memory(layer.post_attention_layernorm, size, flows)
    inner = flows or _trains(layer.post_attention_layernorm.parameters())
    total += _linears_memory([mlp.gate_proj, mlp.up_proj], size)
    if inner or _trains(mlp.gate_proj.parameters()) or _trains(mlp.up_proj.parameters()):
        # The gate before and after its activation, and what it is multiplied with.
        total += 3 * size * text.intermediate_size
    return total + _linears_memory([mlp.down_proj], size)


def _norm_memory(norm: nn.Module, size: int, flows: bool) -> int:
    """LlamaRMSNorm works on an fp32 copy of its input, and keeps its result where its weight trains."""
    return len(norm.weight) * (4 * flows + size * norm.weight.requires_grad)


def _linears_memory(layers: list[nn.Linear], size: int) -> int:
    """Layers of one input: it is kept once if any weight trains; tuned layers keep their own results besides, adapted
    ones the narrow product."""
    kept = layers[0].in_features * _keeps_input(layers)
    kept += sum(layer.out_features for layer in layers if getattr(layer, "scale_tune", None) is not None)
    kept += sum(layer.r[ADAPTER] for layer in layers if hasattr(layer, "lora_A"))
    return size * kept


def _keeps_input(layers: list[nn.Linear]) -> bool:
    adapters = [layer.lora_A for layer in layers if hasattr(layer, "lora_A")]
    return any(layer.weight.requires_grad for layer in layers) or any(_trains(each.parameters()) for each in adapters)


def _projector_memory(model: EarthGPTForConditionalGeneration, size: int) -> int:
    """Bytes per image: the input of each trained linear layer, and of the norm."""
    projector, config = model.projector, model.config
    total = 0
    if projector.align is not None and projector.align.weight.requires_grad:
        total += size * config.grid**2 * projector.align.in_features
    if projector.linear.weight.requires_grad:
        total += size * config.visual_tokens * projector.linear.in_features
    if isinstance(projector.norm, nn.LayerNorm) and _trains(projector.parameters()):
        total += size * config.visual_tokens * projector.linear.out_features
    return total


def _head(model: EarthGPTForConditionalGeneration, targets: int) -> _Operation:
    below = _reaches_language_model(model) or _trains(model.language_model.parameters())
    return _linear(model.lm_head, targets, below)


def _reaches_language_model(model: EarthGPTForConditionalGeneration) -> bool:
    """Whether a gradient is wanted at the input of the first block."""
    parts = (model.vision, model.projector, model.language_model.embed_tokens)
    return any(_trains(part.parameters()) for part in parts)
