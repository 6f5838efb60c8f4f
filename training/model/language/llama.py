"""LLaMA and all that has its form: LLaMA-2 and -3, SmolLM, TinyLlama. Blocks of attention and a gated MLP, RMSNorms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
            for layer in self._layers(attention, self.linears.attention_inputs):
                yield linear_operations(layer, tokens, inner)
            q, k, v = (inner or self._learns(attention, name) for name in "qkv")
            # Forward: scores and weighted sum. Backward: one product each for q, k, v, and below q or k for the scores.
            yield 2 * product, product * (q + k + v + (q or k))
            mixed = q or k or v
            yield linear_operations(attention.o_proj, tokens, mixed)
            after_attention, before_mlp, after_mlp = self._branch_norms(block)
            flows = flows or mixed or trains(attention.o_proj.parameters()) or _any_trains(after_attention)
            inner = flows or _any_trains(before_mlp)
            gates = self._layers(mlp, self.linears.mlp[:-1])
            for layer in gates:
                yield linear_operations(layer, tokens, inner)
            gated = inner or _any_trains(gates)
            yield linear_operations(mlp.down_proj, tokens, gated)
            flows = flows or gated or trains(mlp.down_proj.parameters()) or _any_trains(after_mlp)

    def block_memory(self, block: Any, config: Any, size: int, flows: bool) -> int:
        """The input of what trains, what attention and the gate multiply, and the norms' fp32 copies."""
        attention, mlp = block.self_attn, block.mlp
        queries, keys = config.num_attention_heads * head_width(config), self.cache_width(config)
        total = rms_norm_memory(block.input_layernorm, size, flows)
        inner = flows or trains(block.input_layernorm.parameters())
        total += linears_memory(self._layers(attention, self.linears.attention_inputs), size)
        total += self._head_norms_memory(attention, queries, keys, size, inner)
        if inner or any(self._learns(attention, name) for name in "qkv"):
            total += size * (2 * queries + 2 * keys + self._kept_beside(queries, keys))
            flows = True
        # The kernel's result is the output layer's input, and already counted where any of this learns.
        shared = size * attention.o_proj.in_features * (flows and keeps_input([attention.o_proj]))
        total += linears_memory([attention.o_proj], size) - shared
        after_attention, before_mlp, after_mlp = self._branch_norms(block)
        flows = flows or trains(attention.o_proj.parameters())
        for norm in after_attention:
            total += rms_norm_memory(norm, size, flows)
            flows = flows or trains(norm.parameters())
        inner = flows
        for norm in before_mlp:
            total += rms_norm_memory(norm, size, inner)
            inner = inner or trains(norm.parameters())
        gates = self._layers(mlp, self.linears.mlp[:-1])
        total += linears_memory(gates, size)
        gated = inner or _any_trains(gates)
        if gated:
            # The gate before and after its activation, and what it is multiplied with.
            total += 3 * size * config.intermediate_size
        total += linears_memory([mlp.down_proj], size)
        gated = gated or trains(mlp.down_proj.parameters())
        return total + sum(rms_norm_memory(norm, size, gated) for norm in after_mlp)

    def scale_random(self, model: Any) -> None:
        """The output layers of attention and MLP end the residual branches."""
        scale_by_inputs(model, model.config.num_hidden_layers, ("o_proj", "down_proj"))

    def _layers(self, part: Any, names: Sequence[str]) -> list[Any]:
        """Linear layers of one part of a block, by their names from the block on."""
        return [part.get_submodule(name.partition(".")[2]) for name in names]

    def _kept_beside(self, queries: int, keys: int) -> int:
        """Numbers per token that stay in memory with the values, of whose buffer they are a part."""
        return 0

    def _branch_norms(self, block: Any) -> tuple[list[Any], list[Any], list[Any]]:
        """Norms at the end of the attention's branch, before the MLP, and at the end of its branch."""
        return [], [block.post_attention_layernorm], []

    def _learns(self, attention: Any, name: str) -> bool:
        """Whether anything trains that makes queries ("q"), keys ("k") or values ("v")."""
        makers = [getattr(attention, f"{name}_{kind}", None) for kind in ("proj", "norm")]
        return _any_trains(maker for maker in (*makers, getattr(attention, "qkv_proj", None)) if maker is not None)

    def _head_norms_memory(self, attention: Any, queries: int, keys: int, size: int, flows: bool) -> int:
        """Bytes per token of norms on queries and keys, where there are any."""
        total = 0
        for name, width in (("q", queries), ("k", keys)):
            norm = getattr(attention, f"{name}_norm", None)
            if norm is not None:
                reached = flows or trains(getattr(attention, f"{name}_proj").parameters())
                total += rms_norm_memory(norm, size, reached) * (width // len(norm.weight))
        return total


def _any_trains(modules: Iterable[Any]) -> bool:
    return any(trains(module.parameters()) for module in modules)


def head_width(config: Any) -> int:
    """Width of one attention head."""
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


register_decoder(Llama())
