"""The rows of a batch that runs: their keys and values beside each other, padded on the left to one length.

Rows join with prompts of any lengths, read together, and leave at any step; what comes of one is the same whoever is
beside it. transformers' own cache copies keys and values in each step; buffers with room for further steps in its place
gave 3 % for sixteen rows of a tiny model on a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import torch
from transformers.cache_utils import DynamicCache

from training.model import EarthGPTForConditionalGeneration

Key = TypeVar("Key")


@dataclass(frozen=True)
class Newcomer(Generic[Key]):
    """A row to be: `key` stands for it; `ids` of its prompt, and features (N, S, D) of its images."""

    key: Key
    ids: Sequence[int]
    features_NSD: torch.Tensor | None


class RunningRows(Generic[Key]):
    """Rows by whatever stands for them, in the order of a step's logits.

    Args:
        model: on its device.
    """

    def __init__(self, model: EarthGPTForConditionalGeneration):
        self.keys: list[Key] = []
        self._model = model
        self._cache: DynamicCache | None = None
        # 1 where a row has a token, 0 where it is padded.
        self._mask_BL = torch.ones((0, 0), dtype=torch.long, device=model.device)

    def join(self, newcomers: Sequence[Newcomer[Key]]) -> torch.Tensor:
        """Read prompts and the features of their images; logits (R, K) of what follows each."""
        lengths = [len(each.ids) for each in newcomers]
        longest = max(lengths)
        device = self._model.device
        flat_1T = torch.tensor([[number for each in newcomers for number in each.ids]], device=device)
        features = [each.features_NSD for each in newcomers if each.features_NSD is not None]
        embedded_TD = self._model.embed(flat_1T, None, torch.cat(features) if features else None)[0]
        embedded_RLD = torch.stack([_left_padded(own_LD, longest, 0) for own_LD in embedded_TD.split(lengths)])
        mask_RL = torch.stack(
            [_left_padded(torch.ones(own, dtype=torch.long, device=device), longest, 0) for own in lengths]
        )
        cache = DynamicCache()
        outputs = self._model.language_model(
            inputs_embeds=embedded_RLD,
            # None where nothing is padded: causal attention without a mask is faster.
            attention_mask=mask_RL if min(lengths) < longest else None,
            position_ids=(mask_RL.cumsum(1) - 1).clamp(min=0),
            past_key_values=cache,
            use_cache=True,
        )
        logits_RK = self._model.logits(outputs.last_hidden_state[:, -1])
        self._add(cache, mask_RL)
        self.keys += [each.key for each in newcomers]
        return logits_RK

    def step(self, tokens: Sequence[int]) -> torch.Tensor:
        """Give every row its next token; logits (B, K) of what follows."""
        ids_B1 = torch.tensor(tokens, device=self._model.device)[:, None]
        self._mask_BL = torch.cat((self._mask_BL, torch.ones_like(ids_B1)), dim=1)
        outputs = self._model.language_model(
            inputs_embeds=self._model.get_input_embeddings()(ids_B1),
            attention_mask=self._mask_BL,
            position_ids=self._mask_BL.sum(1, keepdim=True) - 1,
            past_key_values=self._cache,
            use_cache=True,
        )
        return self._model.logits(outputs.last_hidden_state[:, -1])

    def leave(self, gone: Sequence[Key]) -> None:
        """Take out those rows that are there, and the padding that no row needs any more."""
        kept = [index for index, key in enumerate(self.keys) if key not in gone]
        if len(kept) == len(self.keys) or self._cache is None:
            return
        self.keys = [self.keys[index] for index in kept]
        if not kept:
            self._cache, self._mask_BL = None, self._mask_BL[:0, :0]
            return
        self._mask_BL = self._mask_BL[kept]
        start = int(self._mask_BL.any(0).int().argmax())
        self._mask_BL = self._mask_BL[:, start:]
        for layer in cast(list[Any], self._cache.layers):
            layer.keys, layer.values = layer.keys[kept][:, :, start:], layer.values[kept][:, :, start:]

    def _add(self, cache: DynamicCache, mask_RL: torch.Tensor) -> None:
        """Rows that were read, behind those that run."""
        if self._cache is None:
            self._cache, self._mask_BL = cache, mask_RL
            return
        length = max(self._mask_BL.shape[1], mask_RL.shape[1])
        for layer, own in zip(cast(list[Any], self._cache.layers), cast(list[Any], cache.layers), strict=True):
            for name in ("keys", "values"):
                both = [_left_padded(getattr(each, name), length, 2) for each in (layer, own)]
                setattr(layer, name, torch.cat(both))
        self._mask_BL = torch.cat([_left_padded(each, length, 1) for each in (self._mask_BL, mask_RL)])


def _left_padded(tensor: torch.Tensor, length: int, dim: int) -> torch.Tensor:
    missing = length - tensor.shape[dim]
    if not missing:
        return tensor
    shape = list(tensor.shape)
    shape[dim] = missing
    return torch.cat((tensor.new_zeros(shape), tensor), dim=dim)
