"""LLaMA and all that has its form: LLaMA-2 and -3, SmolLM, TinyLlama. Blocks of attention and a gated MLP, RMSNorms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from transformers import LlamaConfig, LlamaForCausalLM, LlamaModel, PreTrainedConfig

from training.model.language.decoder import BlockLinears, Decoder, register_decoder
from training.model.operations import (
    Operation,
    keeps_input,
    linear_operations,
    linears_memory,
    rms_norm_memory,
    trains,
)
from training.model.random_weights import scale_by_inputs


class Llama(Decoder):
    """LLaMA (arXiv 2302.13971). Decoders of the same blocks are subclasses that hold what differs."""

    model_type = "llama"
    model_class: ClassVar[type] = LlamaModel
    causal_class: ClassVar[type] = LlamaForCausalLM
    linears = BlockLinears(
        attention_inputs=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        attention_output="self_attn.o_proj",
        mlp=("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
    )
    reads_gguf = True

    def check(self, config: Any) -> None:
        """All of them are supported."""

    def plain_form(self, config: Any, with_biases: bool) -> tuple[type, PreTrainedConfig]:
        """Its own class, which has all biases by choice."""
        biases = {"attention_bias": True, "mlp_bias": True} if with_biases else {}
        return LlamaForCausalLM, LlamaConfig.from_dict(config.to_dict() | biases)

    def cache_width(self, config: Any) -> int:
        """Of the key heads, which several query heads may share."""
        return config.num_key_value_heads * head_width(config)

    def block_costs(self, config: Any) -> tuple[int, int]:
        """Two operations for each weight; two products of the width of all heads for each pair."""
        queries, keys = config.num_attention_heads * head_width(config), self.cache_width(config)
        weights = config.hidden_size * (2 * queries + 2 * keys + 3 * config.intermediate_size)
        return 2 * weights, 4 * queries

    def operations(self, model: Any, tokens: int, pairs: int, flows: bool) -> Iterator[Operation]:
        """Linear layers of each block, and the two products of its attention."""
        product = 2 * pairs * model.config.num_attention_heads * head_width(model.config)
        for block in model.layers:
            attention, mlp = block.self_attn, block.mlp
            inner = flows or trains(block.input_layernorm.parameters())
            for name in "qkv":
                yield linear_operations(getattr(attention, f"{name}_proj"), tokens, inner)
            q, k, v = (inner or self._learns(attention, name) for name in "qkv")
            # Forward: scores and weighted sum. Backward: one product each for q, k, v, and below q or k for the scores.
            yield 2 * product, product * (q + k + v + (q or k))
            mixed = q or k or v
            yield linear_operations(attention.o_proj, tokens, mixed)
            flows = flows or mixed or trains(attention.o_proj.parameters())
            inner = flows or trains(block.post_attention_layernorm.parameters())
            yield linear_operations(mlp.gate_proj, tokens, inner)
            yield linear_operations(mlp.up_proj, tokens, inner)
            gated = inner or trains(mlp.gate_proj.parameters()) or trains(mlp.up_proj.parameters())
            yield linear_operations(mlp.down_proj, tokens, gated)
            flows = flows or gated or trains(mlp.down_proj.parameters())

    def block_memory(self, block: Any, config: Any, size: int, flows: bool) -> int:
        """The input of what trains, what attention and the gate multiply, and the norms' fp32 copies."""
        attention, mlp = block.self_attn, block.mlp
        queries, keys = config.num_attention_heads * head_width(config), self.cache_width(config)
        total = rms_norm_memory(block.input_layernorm, size, flows)
        inner = flows or trains(block.input_layernorm.parameters())
        total += linears_memory([attention.q_proj, attention.k_proj, attention.v_proj], size)
        total += self._head_norms_memory(attention, queries, keys, size, inner)
        if inner or any(self._learns(attention, name) for name in "qkv"):
            total += size * (2 * queries + 2 * keys)
            flows = True
        # The kernel's result is the output layer's input, and already counted where any of this learns.
        shared = size * attention.o_proj.in_features * (flows and keeps_input([attention.o_proj]))
        total += linears_memory([attention.o_proj], size) - shared
        flows = flows or trains(attention.o_proj.parameters())
        total += rms_norm_memory(block.post_attention_layernorm, size, flows)
        inner = flows or trains(block.post_attention_layernorm.parameters())
        total += linears_memory([mlp.gate_proj, mlp.up_proj], size)
        if inner or trains(mlp.gate_proj.parameters()) or trains(mlp.up_proj.parameters()):
            # The gate before and after its activation, and what it is multiplied with.
            total += 3 * size * config.intermediate_size
        return total + linears_memory([mlp.down_proj], size)

    def scale_random(self, model: Any) -> None:
        """The output layers of attention and MLP end the residual branches."""
        scale_by_inputs(model, model.config.num_hidden_layers, ("o_proj", "down_proj"))

    def _learns(self, attention: Any, name: str) -> bool:
        """Whether anything trains that makes queries ("q"), keys ("k") or values ("v")."""
        return trains(getattr(attention, f"{name}_proj").parameters())

    def _head_norms_memory(self, attention: Any, queries: int, keys: int, size: int, flows: bool) -> int:
        """Bytes per token of norms on queries and keys, of which there are none."""
        return 0


def head_width(config: Any) -> int:
    """Width of one attention head."""
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


register_decoder(Llama())
