"""The rows of a batch that runs: their keys and values beside each other, padded on the left to one length.

A row joins with a prompt of any length and leaves at any step; what comes of it is the same whoever is beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar, cast

import torch
from transformers.cache_utils import DynamicCache

from training.model import EarthGPTForConditionalGeneration

Key = TypeVar("Key")


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

    def join(self, key: Key, ids: Sequence[int], features_NSD: torch.Tensor | None) -> torch.Tensor:
        """Read a prompt and the features of its images; logits (K,) of what follows."""
        ids_BL = torch.tensor([ids], device=self._model.device)
        cache = DynamicCache()
        outputs = self._model.language_model(
            inputs_embeds=self._model.embed(ids_BL, None, features_NSD),
            past_key_values=cache,
            use_cache=True,
        )
        logits_K = self._model.logits(outputs.last_hidden_state[:, -1])[0]
        own_mask = torch.ones_like(ids_BL)
        if self._cache is None:
            self._cache, self._mask_BL = cache, own_mask
        else:
            length = max(self._mask_BL.shape[1], own_mask.shape[1])
            for layer, own in zip(self._cache.layers, cache.layers, strict=True):
                for name in ("keys", "values"):
                    both = [_left_padded(getattr(each, name), length, dim=2) for each in (layer, own)]
                    setattr(layer, name, torch.cat(both))
            self._mask_BL = torch.cat([_left_padded(each, length, dim=1) for each in (self._mask_BL, own_mask)])
        self.keys.append(key)
        return logits_K

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

    def leave(self, key: Key) -> None:
        """Take a row out if it is there, and the padding that no row needs any more."""
        if key not in self.keys or self._cache is None:
            return
        index = self.keys.index(key)
        del self.keys[index]
        if not self.keys:
            self._cache, self._mask_BL = None, self._mask_BL[:0, :0]
            return
        kept = [place for place in range(len(self.keys) + 1) if place != index]
        self._mask_BL = self._mask_BL[kept]
        start = int(self._mask_BL.any(0).int().argmax())
        self._mask_BL = self._mask_BL[:, start:]
        for layer in cast(list[Any], self._cache.layers):
            layer.keys, layer.values = layer.keys[kept][:, :, start:], layer.values[kept][:, :, start:]


def _left_padded(tensor: torch.Tensor, length: int, dim: int) -> torch.Tensor:
    missing = length - tensor.shape[dim]
    if not missing:
        return tensor
    shape = list(tensor.shape)
    shape[dim] = missing
    return torch.cat((tensor.new_zeros(shape), tensor), dim=dim)
