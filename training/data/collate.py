"""From encoded units to the tensors of one pack.

Shape legend: L tokens per pack, N images, C channels, H W pixels, T target tokens.

Layout of a pack: ``prefix image 0 | its dialogues | prefix image 1 | its dialogues | ... | padding``. A dialogue's
positions go on from its prefix, as if it were alone. The token at position i is predicted by the output at i - 1 of the
same dialogue, so the first token of a dialogue is never a target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import chain
from typing import Any

import numpy as np
import torch

from training.model.masks import PADDING, PREFIX


@dataclass(frozen=True, slots=True)
class EncodedDialogue:
    """Token ids of one dialogue, which of them are targets, and the number of its task."""

    ids: list[int]
    is_target: list[bool]
    task: int


@dataclass(frozen=True, slots=True)
class EncodedUnit:
    """One image, uint8 (3, H, W), with its dialogues."""

    sample_id: str
    pixels_CHW: np.ndarray
    dialogues: tuple[EncodedDialogue, ...]


@dataclass(frozen=True)
class Pack:
    """Tensors of one pack.

    `target_positions_T` are the positions whose output predicts `target_ids_T`; `target_tasks_T` and `target_units_T`
    say of which task and which image each target is. `skipped` lists (sample id, reason) of units that could not be
    read and are left out.
    """

    epoch: int
    number: int
    input_ids_L: torch.Tensor
    position_ids_L: torch.Tensor
    image_segment_L: torch.Tensor
    dialogue_segment_L: torch.Tensor
    pixel_values_NCHW: torch.Tensor
    target_positions_T: torch.Tensor
    target_ids_T: torch.Tensor
    target_tasks_T: torch.Tensor
    target_units_T: torch.Tensor
    sample_ids: tuple[str, ...]
    real_tokens: int
    skipped: tuple[tuple[str, str], ...] = ()

    @property
    def targets(self) -> int:
        """Number of target tokens."""
        return len(self.target_ids_T)

    def to(self, device: torch.device) -> Pack:
        """The same pack with its tensors on `device`."""
        moved: dict[str, Any] = {name: tensor.to(device, non_blocking=True) for name, tensor in self._tensors()}
        return replace(self, **moved)

    def pin_memory(self) -> Pack:
        """The same pack in page-locked memory; called by DataLoader."""
        pinned: dict[str, Any] = {name: tensor.pin_memory() for name, tensor in self._tensors()}
        return replace(self, **pinned)

    def _tensors(self) -> list[tuple[str, torch.Tensor]]:
        pairs = [(item.name, getattr(self, item.name)) for item in fields(self)]
        return [(name, value) for name, value in pairs if isinstance(value, torch.Tensor)]


def assemble(
    units: Sequence[EncodedUnit],
    prefix_ids: list[int],
    tokens_per_pack: int,
    pad_id: int,
    image_size: int,
    *,
    epoch: int = 0,
    number: int = 0,
    skipped: tuple[tuple[str, str], ...] = (),
) -> Pack:
    """Lay units out in one pack of exactly `tokens_per_pack` positions.

    Args:
        units: N images with their dialogues; may be empty.
        prefix_ids: what every image starts with, image slots included.
        image_size: side in pixels of the images, needed where there are none.

    Raises:
        ValueError: the units exceed the pack, or the first token of a dialogue is a target.
    """
    layout = _lay_out(units, prefix_ids)
    length = len(layout.ids)
    padding = tokens_per_pack - length
    if padding < 0:
        raise ValueError(f"units of {length} tokens do not fit a pack of {tokens_per_pack}")
    where, what, task, image = torch.tensor(layout.targets, dtype=torch.int64).reshape(-1, 4).T.contiguous()
    no_pixels = np.zeros((0, 3, image_size, image_size), np.uint8)
    return Pack(
        epoch=epoch,
        number=number,
        input_ids_L=torch.tensor(layout.ids + [pad_id] * padding),
        position_ids_L=torch.tensor(layout.positions + [0] * padding),
        image_segment_L=torch.tensor(layout.images + [PADDING] * padding),
        dialogue_segment_L=torch.tensor(layout.dialogues + [PREFIX] * padding),
        pixel_values_NCHW=torch.from_numpy(np.stack([unit.pixels_CHW for unit in units]) if units else no_pixels),
        target_positions_T=where,
        target_ids_T=what,
        target_tasks_T=task,
        target_units_T=image,
        sample_ids=tuple(unit.sample_id for unit in units),
        real_tokens=length,
        skipped=skipped,
    )


@dataclass
class _Layout:
    """One entry per token; `targets` has (position that predicts, id, task, unit) per target token."""

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    images: list[int] = field(default_factory=list)
    dialogues: list[int] = field(default_factory=list)
    targets: list[tuple[int, int, int, int]] = field(default_factory=list)

    def add(self, ids: list[int], first_position: int, image: int, segment: int) -> None:
        self.ids += ids
        self.positions += range(first_position, first_position + len(ids))
        self.images += [image] * len(ids)
        self.dialogues += [segment] * len(ids)


def _lay_out(units: Sequence[EncodedUnit], prefix_ids: list[int]) -> _Layout:
    layout = _Layout()
    for image, unit in enumerate(units):
        layout.add(prefix_ids, 0, image, PREFIX)
        for segment, dialogue in enumerate(unit.dialogues, start=PREFIX + 1):
            if dialogue.is_target[0]:
                raise ValueError(f"{unit.sample_id}: the first token of a dialogue is a target; nothing predicts it")
            before = len(layout.ids) - 1
            layout.add(dialogue.ids, len(prefix_ids), image, segment)
            layout.targets += [
                (before + place, token, dialogue.task, image)
                for place, (token, is_target) in enumerate(zip(dialogue.ids, dialogue.is_target, strict=True))
                if is_target
            ]
    return layout


def all_sample_ids(packs: Sequence[Pack]) -> list[str]:
    """Sample ids of several packs, each once, in order."""
    return list(dict.fromkeys(chain.from_iterable(pack.sample_ids for pack in packs)))
