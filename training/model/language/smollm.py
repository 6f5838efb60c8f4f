"""SmolLM3: LLaMA's blocks, of which every fourth rotates nothing. SmolLM and SmolLM2 are LLaMAs."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig, SmolLM3Config, SmolLM3ForCausalLM, SmolLM3Model

from training.model.language.decoder import register_decoder
from training.model.language.llama import Llama


class SmolLm3(Llama):
    """SmolLM3."""

    model_type = "smollm3"
    model_class = SmolLM3Model
    causal_class = SmolLM3ForCausalLM

    def plain_form(self, config: Any, with_biases: bool) -> tuple[type, PreTrainedConfig]:
        """Its own class, which has all biases by choice."""
        biases = {"attention_bias": True, "mlp_bias": True} if with_biases else {}
        return SmolLM3ForCausalLM, SmolLM3Config.from_dict(config.to_dict() | biases)


register_decoder(SmolLm3())
