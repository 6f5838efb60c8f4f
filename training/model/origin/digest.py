"""Digest of a model's weights, by which a part or the base of a delta is known again."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import torch
from torch import nn

from training.model.language.bias_scale import tuned_vectors


def weights_digest(model: nn.Module, without: Collection[str] = ()) -> str:
    """sha256 over names, dtypes, shapes and bytes of a model's parameters and saved buffers.

    Tuning vectors do not count, so a base has the same digest before and after `add_tuning`. A tied tensor counts
    under each of its names.

    Args:
        without: further names to leave out.
    """
    skipped = {*without, *tuned_vectors(model)}
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if name not in skipped:
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
