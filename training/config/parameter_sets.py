"""Which parameters each training run of the paper trains, as regular expressions over full parameter names.

Run A is the paper's cross-modal mutual comprehension: the projection, the attention and the RMSNorms learn. Run B is
its unified instruction tuning: only the added vectors learn. Whether the attention's output layer learns in run A and
the projection in run B cannot be read from the figures; both are a matter of the sets that a recipe names.

The patterns hold for every decoder whose layers are named as `training.model.language.decoder` asks; a test compares
them with the layers that each decoder names.
"""

from __future__ import annotations

_LAYER = r"model\.language_model\.layers\.\d+\."
_LINEARS = _LAYER + r"(self_attn|mlp)\.\w+_proj\."

PROJECTOR = r"model\.projector\..*"
NORMS = r"model\.language_model\.(.*\.)?\w*norm\.weight"
_VECTOR_PATTERN = _LINEARS + r"(bias|scale)_tune"
HEAD_VECTORS = r"lm_head\.(bias|scale)_tune"
ADAPTERS = _LINEARS + r"lora_(A|B|magnitude_vector)\..*"
EVERYTHING = ".*"

# What a recipe may name instead of a pattern of its own.
SETS = {
    "everything": EVERYTHING,
    "encoders": r"model\.vision\..*",
    "projector": PROJECTOR,
    "language-model": r"(model\.language_model|lm_head)\..*",
    "attention": _LAYER + r"self_attn\.(q|k|v|qkv|o)_proj\.weight",
    "attention-qkv": _LAYER + r"self_attn\.(q|k|v|qkv)_proj\.weight",
    "norms": NORMS,
    "vectors": _VECTOR_PATTERN,
    "head-vectors": HEAD_VECTORS,
    "adapters": ADAPTERS,
}


def run_a(output_projection: bool = True) -> tuple[str, ...]:
    """Patterns of run A: projector, the attention's q, k, v (and o), all RMSNorms."""
    return PROJECTOR, SETS["attention" if output_projection else "attention-qkv"], NORMS


def run_b(norms: bool = False, projector: bool = False, head: bool = False) -> tuple[str, ...]:
    """Patterns of run B: the vectors that `add_tuning` adds, and more by choice.

    Args:
        norms: all RMSNorms too, as LLaMA-Adapter V2 does; the paper's figure freezes them.
        projector: the projection too.
        head: the vectors of the output head; the model needs `add_tuning(..., head=True)`.
    """
    chosen = ((True, _VECTOR_PATTERN), (norms, NORMS), (projector, PROJECTOR), (head, HEAD_VECTORS))
    return tuple(pattern for wanted, pattern in chosen if wanted)
