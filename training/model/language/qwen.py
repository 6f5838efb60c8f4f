"""Qwen2 and Qwen3: LLaMA's blocks with biases on queries, keys and values, or with norms on queries and keys."""

from __future__ import annotations

from typing import Any, ClassVar

from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Model,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
)

from training.model.language.decoder import register_decoder
from training.model.language.llama import Llama, head_width
from training.model.operations import rms_norm_memory, trains


class Qwen2(Llama):
    """Qwen2 and Qwen2.5 (arXiv 2407.10671)."""

    model_type = "qwen2"
    model_class: ClassVar[type] = Qwen2Model
    causal_class: ClassVar[type] = Qwen2ForCausalLM

    def check(self, config: Any) -> None:
        """The masks of packs know no sliding window."""
        if config.sliding_window is not None:
            raise ValueError(
                f"use_sliding_window is set ({config.sliding_window} positions), which packs do not know; set "
                "use_sliding_window to false and max_position_embeddings to the window"
            )

    def plain_form(self, config: Any, with_biases: bool) -> tuple[type, PreTrainedConfig]:
        """With all biases it is a LLaMA: the same operations, and Qwen2's own class has biases on q, k and v alone."""
        if not with_biases:
            return Qwen2ForCausalLM, Qwen2Config.from_dict(config.to_dict())
        own = ("model_type", "use_sliding_window", "sliding_window", "max_window_layers", "layer_types")
        fields = {key: value for key, value in config.to_dict().items() if key not in own}
        biases = {"attention_bias": True, "mlp_bias": True, "head_dim": head_width(config)}
        return LlamaForCausalLM, LlamaConfig.from_dict(fields | biases)


class Qwen3(Qwen2):
    """Qwen3 (arXiv 2505.09388), without mixtures of experts."""

    model_type = "qwen3"
    model_class = Qwen3Model
    causal_class = Qwen3ForCausalLM

    def plain_form(self, config: Any, with_biases: bool) -> tuple[type, PreTrainedConfig]:
        """Its own class, which has no biases in the MLP, and no other class has its norms."""
        if with_biases:
            raise ValueError(
                "Qwen3ForCausalLM has no biases in its MLP, where folding leaves some; keep the whole model, or tune "
                "with stage.tuning.kind=lora"
            )
        return Qwen3ForCausalLM, Qwen3Config.from_dict(config.to_dict())

    def _learns(self, attention: Any, name: str) -> bool:
        norm = getattr(attention, f"{name}_norm", None)
        return super()._learns(attention, name) or (norm is not None and trains(norm.parameters()))

    def _head_norms_memory(self, attention: Any, queries: int, keys: int, size: int, flows: bool) -> int:
        total = 0
        for name, width in (("q", queries), ("k", keys)):
            norm, projection = getattr(attention, f"{name}_norm"), getattr(attention, f"{name}_proj")
            reached = flows or trains(projection.parameters())
            total += rms_norm_memory(norm, size, reached) * (width // len(norm.weight))
        return total


register_decoder(Qwen2())
register_decoder(Qwen3())
