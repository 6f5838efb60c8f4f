"""What prompts of one batch share is read once: images, and beginnings of prompts that ask about the same image.

Shape suffixes: N images, T nodes of an image's tree, B prompts, P positions that a prompt shares, S positions that are
kept of an image and its tree, Q keys, H heads, E width of a head, L positions of a sequence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from training.evaluation.reading.prompt_tree import PromptTree, own_tokens
from training.model import EarthGPTForConditionalGeneration

# Positions that a batch has room for beside those that it surely needs.
_ROOM = 32

Layers = list[tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class SharedReading:
    """What `generate` takes for a batch whose shared beginnings are read: ids and mask (B, L), padded on the left, and
    the keys and values of all positions but the last ones, which are each prompt's own."""

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    past_key_values: DynamicCache


def read_prefixes(
    model: EarthGPTForConditionalGeneration, prefix: Sequence[int], pixels_NCHW: torch.Tensor, images: int = 1
) -> Layers:
    """Keys and values (N, H, S, E) of each layer for what all dialogues about each image begin with.

    Args:
        prefix: ids, the image's slots among them.
        images: so many form one prefix, where dialogues are about several; N then counts these.
    """
    read = model(
        input_ids=torch.tensor([list(prefix)] * (len(pixels_NCHW) // images), device=model.device),
        pixel_values=pixels_NCHW.to(model.device),
        past_key_values=DynamicCache(),
        use_cache=True,
        logits_to_keep=1,
    )
    return _layers(read.past_key_values)


def read_prompts(
    model: EarthGPTForConditionalGeneration,
    prefix: Sequence[int],
    prefixes: Layers,
    prompts: Sequence[tuple[int, Sequence[int]]],
    pad: int,
) -> SharedReading:
    """Read the beginnings that prompts have in common.

    Args:
        prefix: ids that stand before every prompt.
        prefixes: their keys and values for N images.
        prompts: which of the images each is about, and its ids.
        pad: the id of padding.
    """
    images = len(prefixes[0][0])
    own = own_tokens([[ids for about, ids in prompts if about == image] for image in range(images)])
    trees = [PromptTree() for _ in range(images)]
    paths = [trees[about].add(ids[:-own]) for about, ids in prompts]
    layers = _read_trees(model, len(prefix), prefixes, trees) if any(paths) else prefixes
    before = len(prefix)
    width = before + max(map(len, paths))
    place_BP = torch.zeros((len(prompts), width), dtype=torch.long)
    ids_BL = torch.full((len(prompts), width + own), pad)
    mask_BL = torch.ones_like(ids_BL)
    for row, ((_, ids), path) in enumerate(zip(prompts, paths, strict=True)):
        start = width - before - len(path)
        place_BP[row, start:] = torch.tensor([*range(before), *(before + node for node in path)])
        ids_BL[row, start:] = torch.tensor([*prefix, *ids])
        mask_BL[row, :start] = 0
    about_B1 = torch.tensor([[about] for about, _ in prompts], device=model.device)
    place_BP = place_BP.to(model.device)
    cache = DynamicCache()
    cache.layers = [
        _RoomyLayer(keys.transpose(1, 2)[about_B1, place_BP], values.transpose(1, 2)[about_B1, place_BP], own + _ROOM)
        for keys, values in layers
    ]
    return SharedReading(ids_BL.to(model.device), mask_BL.to(model.device), cache)


class _RoomyLayer(DynamicLayer):
    """Keys and values within tensors that have room for more, so that a step of decoding need not copy all of them.

    Args:
        keys, values: (B, P, H, E).
        room: positions to come.
    """

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, room: int):
        super().__init__()
        self.lazy_initialization(keys, values)
        self._held = self._with_room(keys, room), self._with_room(values, room)
        self._show(keys.shape[1])

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As of `DynamicLayer`: add (B, H, Q, E) and return all."""
        start = self.get_seq_length()
        stop = start + key_states.shape[2]
        if stop > self._held[0].shape[1]:
            keys, values = (held[:, :start] for held in self._held)
            self._held = self._with_room(keys, stop - start + _ROOM), self._with_room(values, stop - start + _ROOM)
        for held, states in zip(self._held, (key_states, value_states), strict=True):
            held[:, start:stop] = states.transpose(1, 2)
        return self._show(stop)

    @staticmethod
    def _with_room(states: torch.Tensor, room: int) -> torch.Tensor:
        batch, length, *rest = states.shape
        held = states.new_empty((batch, length + room, *rest))
        held[:, :length] = states
        return held

    def _show(self, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = (held[:, :length].transpose(1, 2) for held in self._held)
        self.keys, self.values = keys, values
        return keys, values


@contextmanager
def last_position_alone(model: EarthGPTForConditionalGeneration) -> Iterator[None]:
    """Let the last block's MLP see the last position only. What comes out at all others is of no use: of them the keys
    and values are wanted, which are made before."""

    def cut(module: torch.nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        states_BLD, *rest = inputs
        # What it returns is added to all positions alike, so that only the last one's result is right.
        return (states_BLD[:, -1:], *rest)

    handle = model.language_model.layers[-1].mlp.register_forward_pre_hook(cut)
    try:
        yield
    finally:
        handle.remove()


def _read_trees(
    model: EarthGPTForConditionalGeneration, before: int, prefixes: Layers, trees: Sequence[PromptTree]
) -> Layers:
    """Keys and values of prefixes and trees, in one call: a node sees the prefix, the nodes above it, and itself."""
    nodes, device = max(len(tree.tokens) for tree in trees), model.device
    ids_NT = torch.zeros((len(trees), nodes), dtype=torch.long)
    depth_NT = torch.zeros_like(ids_NT)
    above_NTT = torch.eye(nodes, dtype=torch.bool).repeat(len(trees), 1, 1)
    for ids_T, depth_T, above_TT, tree in zip(ids_NT, depth_NT, above_NTT, trees, strict=True):
        own = len(tree.tokens)
        ids_T[:own], depth_T[:own] = torch.tensor(tree.tokens), torch.tensor(tree.depths)
        for node, parent in enumerate(tree.parents):
            if parent >= 0:
                above_TT[node] |= above_TT[parent]
    position_NT = before + depth_NT
    key_position_NQ = torch.cat((torch.arange(before).expand(len(trees), -1), position_NT), dim=1)
    seen_NTQ = torch.cat((torch.ones((len(trees), nodes, before), dtype=torch.bool), above_NTT), dim=2)
    distance_NTQ = position_NT[:, :, None] - key_position_NQ[:, None, :]
    cache = _cache(prefixes)
    model.language_model(
        inputs_embeds=model.get_input_embeddings()(ids_NT.to(device)),
        attention_mask=_masks(model, seen_NTQ.to(device), distance_NTQ.to(device)),
        position_ids=position_NT.to(device),
        past_key_values=cache,
        use_cache=True,
    )
    return _layers(cache)


def _masks(
    model: EarthGPTForConditionalGeneration, seen_NTQ: torch.Tensor, distance_NTQ: torch.Tensor
) -> torch.Tensor | dict[str, torch.Tensor]:
    """The mask in the form that the decoder's attention takes; by kind where its blocks take several."""
    config = model.language_model.config

    def make(window: int | None) -> torch.Tensor:
        visible = (seen_NTQ if window is None else seen_NTQ & (distance_NTQ < window))[:, None]
        if config._attn_implementation != "eager":
            return visible
        # Added to the scores.
        return torch.zeros_like(visible, dtype=torch.float32).masked_fill(~visible, torch.finfo(torch.float32).min)

    masks = {kind: make(window) for kind, window in model.config.decoder_kind.windows(config)}
    return masks.get("", masks)


def _cache(layers: Layers) -> DynamicCache:
    """A cache that holds all positions, also where the decoder's windows are shorter."""
    cache = DynamicCache()
    for number, (keys, values) in enumerate(layers):
        cache.update(keys, values, number)
    return cache


def _layers(cache: Any) -> Layers:
    return [(layer.keys, layer.values) for layer in cache.layers]
