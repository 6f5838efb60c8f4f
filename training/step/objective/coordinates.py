"""Coordinates as targets: tokens of neighbouring values share what one would have alone.

The cross-entropy of a coordinate's token does not know that 0.41 is nearer to 0.42 than to 0.97. With targets spread
over neighbours, as in label distribution learning (Geng, arXiv 1408.6027), near misses cost less, and what a picture
teaches of one value it teaches of those beside it.

Shape suffixes: T targets, K vocabulary, V values.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from mmrs.errors import UserError
from training.config import LossConfig
from training.model.tokenizer import HUNDREDTHS, hundredths_ids


@dataclass(frozen=True)
class CoordinateTargets:
    """`ids_V` are the tokens of equally spaced values in order, `place_K` the place of each token among them, -1 for
    others; `spread` is in places."""

    ids_V: torch.Tensor
    place_K: torch.Tensor
    spread: float

    def losses(self, logits_TK: torch.Tensor, ids_T: torch.Tensor, exact_T: torch.Tensor) -> torch.Tensor:
        """Losses (T,) whose values are `exact_T` and whose gradients are those of the spread targets.

        Args:
            exact_T: the cross-entropy of each target.
        """
        place_T1 = self.place_K[ids_T][:, None]
        away_TV = torch.arange(len(self.ids_V), device=logits_TK.device) - place_T1
        share_TV = (-0.5 * (away_TV / self.spread) ** 2).softmax(-1)
        spread_T = -(share_TV * logits_TK.log_softmax(-1)[:, self.ids_V]).sum(-1)
        taught_T = torch.where(place_T1[:, 0] >= 0, spread_T, exact_T)
        return exact_T.detach() + taught_T - taught_T.detach()


def coordinate_targets(
    config: LossConfig, tokenizer: PreTrainedTokenizerBase, vocab_size: int, device: torch.device
) -> CoordinateTargets | None:
    """What `loss.coordinate_spread` asks for, None where that is 0.

    Raises:
        UserError: the tokenizer has no tokens for them.
    """
    if not config.coordinate_spread:
        return None
    ids = hundredths_ids(tokenizer)
    if ids is None:
        raise UserError(
            "loss.coordinate_spread needs a token for each of 0.00 to 1.00, and this tokenizer has none: set "
            "model.coordinates=hundredths with a preset, or leave it out"
        )
    ids_V = torch.tensor(ids, device=device)
    place_K = torch.full((vocab_size,), -1, device=device)
    place_K[ids_V] = torch.arange(len(ids), device=device)
    return CoordinateTargets(ids_V, place_K, config.coordinate_spread * (len(HUNDREDTHS) - 1))
