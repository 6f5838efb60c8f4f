"""Gemma, Gemma 2 and the text models of Gemma 3: scaled embeddings, and from the second on norms behind each branch,
sliding windows in some blocks, and caps on scores and logits."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma2Model,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    Gemma3TextModel,
    GemmaConfig,
    GemmaForCausalLM,
    GemmaModel,
    PreTrainedConfig,
)

from training.model.language.decoder import refuse_biases, register_decoder
from training.model.language.llama import Llama


class Gemma(Llama):
    """Gemma (arXiv 2403.08295)."""

    model_type = "gemma"
    model_class: ClassVar[type] = GemmaModel
    causal_class: ClassVar[type] = GemmaForCausalLM
    config_class: ClassVar[type[PreTrainedConfig]] = GemmaConfig
    reads_gguf = False

    def check(self, config: Any) -> None:
        """Packs are causal."""
        if getattr(config, "use_bidirectional_attention", None):
            raise ValueError("use_bidirectional_attention is set, which no text generator has; set false")

    def plain_form(self, config: Any, with_biases: bool) -> tuple[type, PreTrainedConfig]:
        """Its own class, which has no biases in its MLP."""
        refuse_biases(self.causal_class, with_biases)
        return self.causal_class, self.config_class.from_dict(config.to_dict())


class Gemma2(Gemma):
    """Gemma 2 (arXiv 2408.00118)."""

    model_type = "gemma2"
    model_class: ClassVar[type] = Gemma2Model
    causal_class: ClassVar[type] = Gemma2ForCausalLM
    config_class: ClassVar[type[PreTrainedConfig]] = Gemma2Config
    # The library's other dense kernel cannot cap scores, and refuses to.
    dense_kernel = "eager"

    def build(self, config: Any) -> Any:
        """With the kernel that caps scores, whichever the whole model was asked for."""
        config._attn_implementation = self.dense_kernel
        return super().build(config)

    def final_logits(self, config: Any, logits: torch.Tensor) -> torch.Tensor:
        """Capped, where the configuration says so."""
        cap = config.final_logit_softcapping
        return logits if cap is None else cap * torch.tanh(logits / cap)

    def _branch_norms(self, block: Any) -> tuple[list[Any], list[Any], list[Any]]:
        return [block.post_attention_layernorm], [block.pre_feedforward_layernorm], [block.post_feedforward_layernorm]


class Gemma3(Gemma2):
    """The text models of Gemma 3 (arXiv 2503.19786), which norm queries and keys and cap nothing."""

    model_type = "gemma3_text"
    model_class = Gemma3TextModel
    causal_class = Gemma3ForCausalLM
    config_class = Gemma3TextConfig
    dense_kernel = "sdpa"

    def build(self, config: Any) -> Any:
        """As it was asked for."""
        return self.model_class(config)

    def check(self, config: Any) -> None:
        """Packs are causal, and scores are not capped."""
        super().check(config)
        if config.attn_logit_softcapping is not None:
            raise ValueError(f"attn_logit_softcapping is {config.attn_logit_softcapping}; set null")


register_decoder(Gemma())
register_decoder(Gemma2())
register_decoder(Gemma3())
