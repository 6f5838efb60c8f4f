"""Mistral (arXiv 2310.06825) without its sliding window as a decoder: all that adding one takes."""

from __future__ import annotations

from typing import Any

from transformers import MistralConfig, MistralForCausalLM, MistralModel, PreTrainedConfig

from training.model.language.decoder import register_decoder
from training.model.language.llama import Llama


class Mistral(Llama):
    model_type = "mistral"
    model_class = MistralModel
    causal_class = MistralForCausalLM

    def check(self, config: Any) -> None:
        if config.sliding_window is not None:
            raise ValueError(f"sliding_window is {config.sliding_window}; set null")

    def plain_form(self, config: Any, with_biases: bool) -> tuple[type, PreTrainedConfig]:
        if with_biases:
            raise ValueError("MistralForCausalLM has no biases")
        return MistralForCausalLM, MistralConfig.from_dict(config.to_dict())


register_decoder(Mistral())
