"""Mistral (arXiv 2310.06825): LLaMA's blocks without biases, and in some versions a sliding window in every block."""

from __future__ import annotations

from typing import Any

from transformers import MistralConfig, MistralForCausalLM, MistralModel, PreTrainedConfig

from training.model.language.decoder import refuse_biases, register_decoder
from training.model.language.llama import Llama


class Mistral(Llama):
    """Mistral 7B and what has its form."""

    model_type = "mistral"
    model_class = MistralModel
    causal_class = MistralForCausalLM

    def windows(self, config: Any) -> list[tuple[str, int | None]]:
        """The same for all blocks."""
        return [("", config.sliding_window)]

    def plain_form(self, config: Any, with_biases: bool) -> tuple[type, PreTrainedConfig]:
        """Its own class, which has no biases."""
        refuse_biases(MistralForCausalLM, with_biases)
        return MistralForCausalLM, MistralConfig.from_dict(config.to_dict())


register_decoder(Mistral())
