"""Attention masks and positions of packed sequences.

A pack holds several images; each image has a prefix (its visual slots) and several dialogues that all read this prefix
and do not see each other.

Shape suffixes: B batch, L sequence.
"""

from __future__ import annotations

import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask

PADDING = -1
PREFIX = 0


def build_block_mask(
    image_segment_BL: torch.Tensor,
    dialogue_segment_BL: torch.Tensor,
    dtype: torch.dtype | None = None,
    window: int | None = None,
) -> torch.Tensor:
    """Mask of a pack: query sees key iff causal, same image, and key in the image's prefix or in the same dialogue.

    Args:
        image_segment_BL: integers (B, L), one number per image within a row, `PADDING` for padding.
        dialogue_segment_BL: integers (B, L), `PREFIX` for an image's shared prefix, 1.. for its dialogues.
        dtype: None for a boolean mask (True = visible), or a floating type for an additive one (0 or its minimum).
        window: positions that a query sees, itself included, of a decoder with sliding windows; None: all before it.

    Returns:
        (B, 1, L, L), queries before keys. Every query sees at least itself, padding sees only itself.
    """
    length = image_segment_BL.shape[1]
    image_q, image_k = image_segment_BL[:, :, None], image_segment_BL[:, None, :]
    dialogue_q, dialogue_k = dialogue_segment_BL[:, :, None], dialogue_segment_BL[:, None, :]
    index_L = torch.arange(length, device=image_segment_BL.device)
    causal_LL = index_L[:, None] >= index_L[None, :]
    same_image = (image_q == image_k) & (image_q != PADDING)
    readable = (dialogue_k == PREFIX) | (dialogue_q == dialogue_k)
    itself_LL = index_L[:, None] == index_L[None, :]
    visible_BLL = (causal_LL & same_image & readable) | itself_LL
    if window is not None:
        positions_BL = visible_BLL.sum(-1)
        visible_BLL = visible_BLL & (positions_BL[:, :, None] - positions_BL[:, None, :] < window)
    visible = visible_BLL[:, None]
    if dtype is None:
        return visible
    return torch.zeros_like(visible, dtype=dtype).masked_fill(~visible, torch.finfo(dtype).min)


def build_flex_mask(
    image_segment_BL: torch.Tensor, dialogue_segment_BL: torch.Tensor, window: int | None = None
) -> BlockMask:
    """The mask of `build_block_mask` for `flex_attention`, which computes only the blocks that it leaves visible."""
    batch, length = image_segment_BL.shape
    position_BL = None if window is None else build_position_ids(image_segment_BL, dialogue_segment_BL)

    def visible(row: torch.Tensor, head: torch.Tensor, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        image = image_segment_BL[row, q]
        dialogue_k = dialogue_segment_BL[row, k]
        same_image = (image == image_segment_BL[row, k]) & (image != PADDING)
        readable = (dialogue_k == PREFIX) | (dialogue_segment_BL[row, q] == dialogue_k)
        seen = ((q >= k) & same_image & readable) | (q == k)
        return (
            seen
            if position_BL is None or window is None
            else seen & (position_BL[row, q] - position_BL[row, k] < window)
        )

    return create_block_mask(visible, batch, None, length, length, device=image_segment_BL.device)


def build_position_ids(image_segment_BL: torch.Tensor, dialogue_segment_BL: torch.Tensor) -> torch.Tensor:
    """Positions of a pack: each token counts the earlier tokens that it sees, so a dialogue goes on from its prefix.

    Args:
        image_segment_BL, dialogue_segment_BL: as in `build_block_mask`.

    Returns:
        Integers (B, L); 0 for padding.
    """
    return build_block_mask(image_segment_BL, dialogue_segment_BL)[:, 0].sum(-1) - 1
