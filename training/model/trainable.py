"""Which parameters each training stage of the paper trains, as regular expressions over full parameter names.

Run A is the paper's cross-modal mutual comprehension: the projection, the attention and the RMSNorms learn. Run B is
its unified instruction tuning: only the added vectors learn. Whether the attention's output layer learns in run A and
the projection in run B cannot be read from the figures; both are flags.
"""

from __future__ import annotations

_LAYER = r"language_model\.layers\.\d+\."
PROJECTOR = r"projector\..*"
NORMS = r"language_model\.(norm|.*layernorm)\.weight"
VECTORS = _LAYER + r"(self_attn|mlp)\.\w+_proj\.(bias|scale)_tune"
HEAD_VECTORS = r"lm_head\.(bias|scale)_tune"
EVERYTHING = ".*"


def run_a(output_projection: bool = True) -> tuple[str, ...]:
    """Patterns of run A: projector, the attention's q, k, v (and o), all RMSNorms."""
    linears = "qkvo" if output_projection else "qkv"
    return PROJECTOR, rf"{_LAYER}self_attn\.[{linears}]_proj\.weight", NORMS


def run_b(norms: bool = False, projector: bool = False, head: bool = False) -> tuple[str, ...]:
    """Patterns of run B: the vectors that `add_tuning` adds, and more by choice.

    Args:
        norms: all RMSNorms too, as LLaMA-Adapter V2 does; the paper's figure freezes them.
        projector: the projection too.
        head: the vectors of the output head; the model needs `add_tuning(..., head=True)`.
    """
    chosen = ((True, VECTORS), (norms, NORMS), (projector, PROJECTOR), (head, HEAD_VECTORS))
    return tuple(pattern for wanted, pattern in chosen if wanted)
