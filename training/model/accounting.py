"""What a training step costs, by formula: floating-point operations, and memory of the state and the activations.

Counted are matrix products, convolutions and attention, a multiplication and an addition as two operations; norms,
activations and resizing are left out. A linear layer with N weights costs 2N operations per token forward, 2N for the
gradient of its input and 2N for that of its weight: 6N where it trains, 4N where gradients only pass through, 2N where
none do. Each part's own formula lies beside the part, in `vision`, `fusion` and `language`. Work that a kernel or
checkpointing does twice is counted once, so the figures fit model FLOP utilisation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from training.model.configuration import EarthGPTConfig
from training.model.modeling.generation import EarthGPTForConditionalGeneration
from training.model.operations import Operation, linear_operations, rms_norm_memory, trains
from training.model.vision.encoder import EncoderEntry


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
    parts = {entry.name: _encoder(model, entry, images) for entry in model.config.entries}
    parts["projector"] = _projector(model, images)
    parts["language_model"] = _sum(
        model.config.decoder_kind.operations(model.language_model, tokens, pairs, _reaches_language_model(model))
    )
    parts["lm_head"] = _head(model, tokens if targets is None else targets)
    return Flops(
        forward={part: forward for part, (forward, _) in parts.items()},
        backward={part: backward for part, (_, backward) in parts.items()},
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

    Counted is what each operation of the decoder saves, with an attention kernel that keeps queries, keys, values and
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
    if trains(model.vision.parameters()):
        raise ValueError("an encoder trains; the formula is for frozen ones")
    config, language_model = model.config, model.language_model
    size, width = dtype.itemsize, config.text.hidden_size
    flows = _reaches_language_model(model)
    blocks = []
    for block in language_model.layers:
        kept = config.decoder_kind.block_memory(block, config.text, size, flows)
        flows = flows or trains(block.parameters())
        blocks.append((kept, size * width * flows))
    head = 4 * config.text.vocab_size * (flows or trains(language_model.norm.parameters()))
    memory = {
        "projector": model.projector.memory(config.grid, config.visual_tokens, size) * images,
        "language_model": sum(kept for kept, _ in blocks) * tokens,
        "final_norm": rms_norm_memory(language_model.norm, size, flows) * tokens,
        "lm_head": (head + size * width * model.lm_head.weight.requires_grad) * targets,
    }
    if checkpointing:
        memory["recomputed"] = max(kept for kept, _ in blocks) * tokens
        memory["language_model"] = sum(passed for _, passed in blocks) * tokens
    return memory


def cache_bytes(config: EarthGPTConfig, positions: int, dtype: torch.dtype = torch.bfloat16) -> int:
    """Bytes of keys and values that generation keeps for `positions` positions of one sequence."""
    return 2 * config.text.num_hidden_layers * config.decoder_kind.cache_width(config.text) * positions * dtype.itemsize


def _sum(pieces: Iterable[Operation]) -> Operation:
    forward, backward = zip(*pieces, strict=True)
    return sum(forward), sum(backward)


def _encoder(model: EarthGPTForConditionalGeneration, entry: EncoderEntry, images: int) -> Operation:
    encoder = model.vision.get_submodule(entry.name)
    forward, backward = _sum(entry.encoder.operations(encoder, entry.image_size, entry.layers))
    return forward * images, backward * images


def _projector(model: EarthGPTForConditionalGeneration, images: int) -> Operation:
    config = model.config
    learn = [trains(model.vision.get_submodule(entry.name).parameters()) for entry in config.entries]
    forward, backward = _sum(model.projector.operations(config.grid, config.visual_tokens, learn))
    return forward * images, backward * images


def _head(model: EarthGPTForConditionalGeneration, targets: int) -> Operation:
    below = _reaches_language_model(model) or trains(model.language_model.parameters())
    return linear_operations(model.lm_head, targets, below)


def _reaches_language_model(model: EarthGPTForConditionalGeneration) -> bool:
    """Whether a gradient is wanted at the input of the first block."""
    parts: tuple[Any, ...] = (model.vision, model.projector, model.language_model.embed_tokens)
    return any(trains(part.parameters()) for part in parts)
