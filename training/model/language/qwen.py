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

from training.model.language.decoder import refuse_biases, register_decoder
from training.model.language.llama import Llama, head_width


class Qwen2(Llama):
    """Qwen2 and Qwen2.5 (arXiv 2407.10671)."""

    model_type = "qwen2"
    model_class: ClassVar[type] = Qwen2Model
    causal_class: ClassVar[type] = Qwen2ForCausalLM

    def plain_form(self, config: Any, with_biases: bool) -> tuple[type, PreTrainedConfig]:
        """With all biases it is a LLaMA: the same operations, and Qwen2's own class has biases on q, k and v alone."""
        if with_biases and self.windows(config) != [("", None)]:
            raise ValueError(
                "LlamaForCausalLM, the class with biases everywhere, has no sliding windows; keep the whole model, or "
                "tune with stage.tuning.kind=lora"
            )
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
        refuse_biases(Qwen3ForCausalLM, with_biases)
        return Qwen3ForCausalLM, Qwen3Config.from_dict(config.to_dict())


register_decoder(Qwen2())
register_decoder(Qwen3())
