"""Phi-3, Phi-3.5 and Phi-4: LLaMA's blocks with one matrix for queries, keys and values, and one for both gates.

Phi-1 and Phi-2 have blocks of another form, and are none of these.
"""

from __future__ import annotations

from typing import Any

from transformers import Phi3Config, Phi3ForCausalLM, Phi3Model, PreTrainedConfig

from training.model.language.decoder import BlockLinears, refuse_biases, register_decoder
from training.model.language.llama import Llama


class Phi3(Llama):
    """Phi-3 (arXiv 2404.14219)."""

    model_type = "phi3"
    model_class = Phi3Model
    causal_class = Phi3ForCausalLM
    linears = BlockLinears(
        attention_inputs=("self_attn.qkv_proj",),
        attention_output="self_attn.o_proj",
        mlp=("mlp.gate_up_proj", "mlp.down_proj"),
    )
    reads_gguf = False

    def check(self, config: Any) -> None:
        """What the library drops at random between the blocks must be nothing: rows and packs would differ."""
        for name in ("resid_pdrop", "embd_pdrop", "attention_dropout"):
            if getattr(config, name, 0.0):
                raise ValueError(f"{name} is {getattr(config, name)}; set 0")

    def windows(self, config: Any) -> list[tuple[str, int | None]]:
        """The same for all blocks."""
        return [("", config.sliding_window)]

    def _kept_beside(self, queries: int, keys: int) -> int:
        return queries + keys

    def plain_form(self, config: Any, with_biases: bool) -> tuple[type, PreTrainedConfig]:
        """Its own class, which has no biases."""
        refuse_biases(Phi3ForCausalLM, with_biases)
        return Phi3ForCausalLM, Phi3Config.from_dict(config.to_dict())


register_decoder(Phi3())
