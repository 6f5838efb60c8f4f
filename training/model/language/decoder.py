"""What the model needs of a causal decoder, and the decoders that are known, by their transformers `model_type`.

Everything about one decoder lies in one file: a subclass of `Decoder` without state, and its registration. Adding one
edits no other file. The classes of transformers that it names must have the usual form: the causal model holds `model`
and `lm_head`, and `model` holds `embed_tokens`, `layers` and `norm`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from transformers import PreTrainedConfig

from training.model.operations import Operation


@dataclass(frozen=True)
class BlockLinears:
    """Names of the linear layers of one block, from the block on: what tuning vectors and adapters are added to.

    `attention_inputs` make queries, keys and values, `attention_output` mixes the heads, `mlp` are all others. Names
    end in ``_proj`` and begin with ``self_attn.`` or ``mlp.``, which the parameter sets of a recipe rely on.
    """

    attention_inputs: tuple[str, ...]
    attention_output: str
    mlp: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        """Every one of them, in the order of the block."""
        return (*self.attention_inputs, self.attention_output, *self.mlp)


class Decoder(ABC):
    """One kind of language model."""

    model_type: ClassVar[str]
    """As transformers names the configuration."""
    model_class: ClassVar[type]
    """The transformers class without head."""
    causal_class: ClassVar[type]
    """The transformers class with head, which reads a Hugging Face folder."""
    linears: ClassVar[BlockLinears]
    dense_kernel: ClassVar[str] = "sdpa"
    """The dense attention kernel that computes what it does, by the library's name."""
    reads_gguf: ClassVar[bool] = False
    """Whether transformers reads it from a GGUF file."""

    def build(self, config: Any) -> nn.Module:
        """The decoder without head, with the library's random weights."""
        return self.model_class(config)

    def windows(self, config: Any) -> list[tuple[str, int | None]]:
        """Each kind of mask that the blocks take, by the library's name, and how many positions a query sees by it;
        None: all before it. One kind without a name where all blocks take the same."""
        if "sliding_attention" not in (getattr(config, "layer_types", None) or ()):
            return [("", None)]
        return [("full_attention", None), ("sliding_attention", config.sliding_window)]

    def limits(self, config: Any) -> dict[str, Any]:
        """Fields to replace in a loaded configuration, so that the model keeps what packs rely on: a position means the
        same whatever else is in the sequence."""
        rope = getattr(config, "rope_parameters", None) or {}
        original = rope.get("original_max_position_embeddings") or getattr(
            config, "original_max_position_embeddings", None
        )
        if rope.get("rope_type") != "longrope" or not original:
            return {}
        # Beyond, the longest sequence of a batch decides how all of its positions are rotated.
        return {"max_position_embeddings": min(int(original), config.max_position_embeddings)}

    def final_logits(self, config: Any, logits: torch.Tensor) -> torch.Tensor:
        """What becomes of the output head's results (..., K)."""
        return logits

    def embedding_scale(self, embeddings: Any) -> float:
        """What the embedding multiplies its table's rows with."""
        return float(getattr(embeddings, "embed_scale", 1.0))

    @abstractmethod
    def check(self, config: Any) -> None:
        """Raise ValueError where fields of the configuration contradict each other or are not supported."""

    @abstractmethod
    def plain_form(self, config: Any, with_biases: bool) -> tuple[type, PreTrainedConfig]:
        """The causal class of transformers, and its configuration, that loads the weights as they are.

        Args:
            with_biases: every one of `linears` has a bias, as folding leaves them.

        Raises:
            ValueError: no class of transformers has such biases.
        """

    @abstractmethod
    def cache_width(self, config: Any) -> int:
        """Numbers of keys, and as many of values, that one block keeps for one position."""

    @abstractmethod
    def block_costs(self, config: Any) -> tuple[int, int]:
        """Operations of one block, forward: per token, and per pair of a query and a key."""

    @abstractmethod
    def operations(self, model: Any, tokens: int, pairs: int, flows: bool) -> Iterator[Operation]:
        """Of all blocks, for `training.model.accounting`.

        Args:
            flows: whether a gradient is wanted at the input of the first block.
        """

    @abstractmethod
    def block_memory(self, block: Any, config: Any, size: int, flows: bool) -> int:
        """Bytes per token that autograd keeps of one block, `size` bytes a number, with an attention kernel that keeps
        queries, keys, values and result but no scores.

        Args:
            flows: whether a gradient is wanted at its input.
        """

    @abstractmethod
    def scale_random(self, model: Any) -> None:
        """Redraw all weights but the embeddings in place, see `training.model.random_weights`."""

    def paths(self, config: Any) -> list[str]:
        """Names of all linear layers of all blocks, as they are in an `EarthGPTModel`."""
        blocks = range(config.num_hidden_layers)
        return [f"language_model.layers.{number}.{name}" for number in blocks for name in self.linears.all]


_DECODERS: dict[str, Decoder] = {}


def register_decoder(decoder: Decoder) -> None:
    """Make a decoder known under its `model_type`; a later one of the same type takes its place."""
    _DECODERS[decoder.model_type] = decoder


def decoder_of(config: PreTrainedConfig) -> Decoder:
    """What is known of the decoder that a configuration is of. Raises ValueError where nothing is."""
    return decoder_of_type(config.model_type)


def decoder_of_type(model_type: str) -> Decoder:
    """What is known of decoders of a transformers `model_type`. Raises ValueError where nothing is."""
    if model_type not in _DECODERS:
        raise ValueError(f"there is no decoder for a {model_type!r} model; give one of {', '.join(decoder_types())}")
    return _DECODERS[model_type]


def decoder_types() -> tuple[str, ...]:
    """The `model_type`s that are known."""
    return tuple(_DECODERS)


def refuse_biases(causal_class: type, with_biases: bool) -> None:
    """Raise ValueError where folded vectors would need biases that a class of transformers has not."""
    if with_biases:
        raise ValueError(
            f"{causal_class.__name__} has no biases in its MLP, where folding leaves some; keep the whole model, or "
            "tune with stage.tuning.kind=lora"
        )


def decoder_config(fields: Mapping[str, Any]) -> PreTrainedConfig:
    """The configuration of plain data with a `model_type`.

    Raises:
        ValueError: no decoder of the type is known, or a field is wrong.
    """
    values = dict(fields)
    model_type = values.pop("model_type", None)
    if model_type is None:
        raise ValueError(f"text_config has no model_type; set one of {', '.join(decoder_types())}")
    return decoder_of_type(model_type).model_class.config_class(**values)  # type: ignore[attr-defined]
