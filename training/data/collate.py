"""From encoded units to the tensors of one pack.

Shape legend: L tokens per pack, N images, C channels, H W pixels, T target tokens.

Layout of a pack: ``prefix image 0 | its dialogues | prefix image 1 | its dialogues | ... | padding``. A dialogue's
positions go on from its prefix, as if it were alone. The token at position i is predicted by the output at i - 1 of the
same dialogue, so the first token of a dialogue is never a target.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch.utils.data import get_worker_info

from training.model.masks import PADDING, PREFIX

_SMALL_BYTES = 2**16


@dataclass(frozen=True, slots=True)
class EncodedDialogue:
    """Token ids of one dialogue, which of them are targets, and the number of its task."""

    ids: list[int]
    is_target: list[bool]
    task: int


@dataclass(frozen=True, slots=True)
class SeenObjects:
    """The objects of an image as it is shown: boxes (B, 4), left, top, right, bottom as fractions of the square, and
    the token ids of each one's category."""

    boxes_B4: np.ndarray
    names: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class EncodedUnit:
    """One image, uint8 (3, H, W), with its dialogues; None for text alone. `augmented` says which kinds of augmentation
    changed it; `further_CHW` are the images after the first, where dialogues are about several. `objects` is None where
    nobody asked for them, or not all of the image's are known."""

    sample_id: str
    pixels_CHW: np.ndarray | None
    dialogues: tuple[EncodedDialogue, ...]
    augmented: tuple[bool, ...] = ()
    further_CHW: tuple[np.ndarray, ...] = ()
    objects: SeenObjects | None = None

    @property
    def images(self) -> tuple[np.ndarray, ...]:
        """All images, in the order in which the dialogues' prefix shows them."""
        return (() if self.pixels_CHW is None else (self.pixels_CHW,)) + self.further_CHW


@dataclass(frozen=True)
class Pack:
    """Tensors of one pack.

    `target_positions_T` are the positions whose output predicts `target_ids_T`; `target_tasks_T` and `target_units_T`
    say of which task and which unit each target is; `unit_images_U` is the number of the image of each unit, -1 where
    it has none or several. The B objects of the images `known_N` have their box, the number of their image, and the K
    token ids of their category at most, -1 where there are fewer. `skipped` lists (sample id, reason) of units that
    could not be read; `substitutes` names the samples that took their places, in any order, maybe fewer. `augmented`
    counts the images that each kind of augmentation changed; it is empty where nothing is varied.
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
    unit_images_U: torch.Tensor
    object_boxes_B4: torch.Tensor
    object_images_B: torch.Tensor
    object_names_BK: torch.Tensor
    known_N: torch.Tensor
    sample_ids: tuple[str, ...]
    real_tokens: int
    skipped: tuple[tuple[str, str], ...] = ()
    substitutes: tuple[str, ...] = ()
    augmented: tuple[int, ...] = ()

    @property
    def samples(self) -> int:
        """Number of planned images, unreadable ones included."""
        return len(self.sample_ids) + len(self.skipped) - len(self.substitutes)

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

    def __reduce__(self) -> tuple[Any, ...]:
        # Of what a worker process hands over, each tensor costs a file descriptor and a handshake, 0.7 ms; small ones
        # travel with the rest. Pixels stay in the memory that both share.
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        small = [name for name, tensor in self._tensors() if tensor.nbytes <= _SMALL_BYTES and not tensor.is_cuda]
        return _handed_over, (values | {name: values[name].numpy() for name in small}, small)

    def _tensors(self) -> list[tuple[str, torch.Tensor]]:
        pairs = [(item.name, getattr(self, item.name)) for item in fields(self)]
        return [(name, value) for name, value in pairs if isinstance(value, torch.Tensor)]


def _handed_over(values: dict[str, Any], arrays: Sequence[str]) -> Pack:
    return Pack(**values | {name: torch.from_numpy(values[name]) for name in arrays})


def collate_packs(
    units: Sequence[EncodedUnit],
    prefix_ids: list[int],
    tokens_per_pack: int,
    pad_id: int,
    image_size: int,
    *,
    image_slots: int = 0,
    epoch: int = 0,
    number: int = 0,
    skipped: tuple[tuple[str, str], ...] = (),
    substitutes: tuple[str, ...] = (),
    pixels_NCHW: torch.Tensor | None = None,
) -> Pack:
    """Lay units out in one pack of exactly `tokens_per_pack` positions.

    Args:
        units: N images with their dialogues; may be empty.
        prefix_ids: what every unit of one image starts with, its slots at the end.
        image_slots: how many of them are slots; needed where a unit has no image, or several.
        image_size: side in pixels of the images, needed where there are none.
        pixels_NCHW: the images of the units, where they lie in one tensor already.

    Raises:
        ValueError: the units exceed the pack, there is another number of images, `image_slots` is needed and missing,
            or the first token of a dialogue is a target.
    """
    shown = sum(len(unit.images) for unit in units)
    if pixels_NCHW is not None and len(pixels_NCHW) != shown:
        raise ValueError(f"{len(pixels_NCHW)} images for units of {shown}; give each unit its own")
    layout = _lay_out(units, prefix_ids, image_slots)
    padding = tokens_per_pack - layout.length
    if padding < 0:
        raise ValueError(f"units of {layout.length} tokens do not fit a pack of {tokens_per_pack}")
    unit_images = _unit_images(units)
    where, what, task, image = torch.from_numpy(np.concatenate(layout.targets, axis=1))
    return Pack(
        epoch=epoch,
        number=number,
        input_ids_L=_joined(layout.ids, padding, pad_id),
        position_ids_L=_joined(layout.positions, padding, 0),
        image_segment_L=_joined(layout.images, padding, PADDING),
        dialogue_segment_L=_joined(layout.dialogues, padding, PREFIX),
        pixel_values_NCHW=stacked(units, image_size) if pixels_NCHW is None else pixels_NCHW,
        target_positions_T=where,
        target_ids_T=what,
        target_tasks_T=task,
        target_units_T=image,
        unit_images_U=torch.from_numpy(unit_images),
        **_pack_objects(units, unit_images),
        sample_ids=tuple(unit.sample_id for unit in units),
        real_tokens=layout.length,
        skipped=skipped,
        substitutes=substitutes,
        augmented=tuple(sum(changes) for changes in zip(*(unit.augmented for unit in units), strict=True)),
    )


def _unit_images(units: Sequence[EncodedUnit]) -> np.ndarray:
    shown = np.array([len(unit.images) for unit in units], np.int64)
    return np.where(shown == 1, shown.cumsum() - shown, -1)


def _pack_objects(units: Sequence[EncodedUnit], unit_images: np.ndarray) -> dict[str, torch.Tensor]:
    known = [
        (number, unit.objects)
        for number, unit in zip(unit_images.tolist(), units, strict=True)
        if unit.objects is not None and number >= 0
    ]
    names = [name for _, seen in known for name in seen.names]
    longest = max(map(len, names), default=0)
    padded = [[*name, *[-1] * (longest - len(name))] for name in names]
    boxes_B4 = np.concatenate([np.zeros((0, 4)), *(seen.boxes_B4 for _, seen in known)])
    return {
        "object_boxes_B4": torch.from_numpy(boxes_B4).float(),
        "object_images_B": torch.tensor([number for number, seen in known for _ in seen.names], dtype=torch.int64),
        "object_names_BK": torch.tensor(padded, dtype=torch.int64).reshape(len(names), longest),
        "known_N": torch.tensor([number for number, _ in known], dtype=torch.int64),
    }


def stacked(units: Sequence[EncodedUnit], image_size: int) -> torch.Tensor:
    """Copies of the images in one tensor (N, 3, H, W)."""
    images = [image_CHW for unit in units for image_CHW in unit.images]
    pixels_NCHW = empty_pixels(len(images), image_size)
    for place, image_CHW in enumerate(images):
        pixels_NCHW[place] = torch.from_numpy(image_CHW)
    return pixels_NCHW


def prefix_of(prefix_ids: list[int], image_slots: int, images: int) -> list[int]:
    """The prefix of a unit of so many images: what precedes the slots once, then the slots of each image.

    Args:
        prefix_ids: that of one image, its `image_slots` slots at the end.

    Raises:
        ValueError: not one image, and no slots that could be left out or repeated.
    """
    if images == 1:
        return prefix_ids
    if not image_slots:
        raise ValueError(f"a unit has {images} images; pass image_slots")
    return prefix_ids[:-image_slots] + prefix_ids[-image_slots:] * images


def empty_pixels(images: int, image_size: int) -> torch.Tensor:
    """Room for N images, uint8 (N, 3, H, W); in a loader's worker where the training process will read them."""
    shape = (images, 3, image_size, image_size)
    if not images or get_worker_info() is None:
        return torch.empty(shape, dtype=torch.uint8)
    # As torch's own collation does: `share_memory_` would copy what is not written yet.
    storage = torch.UntypedStorage._new_shared(math.prod(shape))
    stride = tuple(math.prod(shape[axis + 1 :]) for axis in range(4))
    return torch.empty(0, dtype=torch.uint8).set_(storage, 0, shape, stride)


def _joined(pieces: list[np.ndarray], padding: int, filler: int) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([*pieces, np.full(padding, filler)]))


@dataclass
class _Layout:
    """Pieces of one entry per token; `targets` has pieces (4, t): position that predicts, id, task, unit."""

    length: int = 0
    ids: list[np.ndarray] = field(default_factory=list)
    positions: list[np.ndarray] = field(default_factory=list)
    images: list[np.ndarray] = field(default_factory=list)
    dialogues: list[np.ndarray] = field(default_factory=list)
    targets: list[np.ndarray] = field(default_factory=lambda: [np.zeros((4, 0), np.int64)])

    def add(self, ids: np.ndarray, first_position: int, image: int, segment: int) -> None:
        self.ids.append(ids)
        self.positions.append(np.arange(first_position, first_position + len(ids)))
        self.images.append(np.full(len(ids), image))
        self.dialogues.append(np.full(len(ids), segment))
        self.length += len(ids)


def _lay_out(units: Sequence[EncodedUnit], prefix_ids: list[int], image_slots: int) -> _Layout:
    layout = _Layout()
    for image, unit in enumerate(units):
        prefix = np.array(prefix_of(prefix_ids, image_slots, len(unit.images)), np.int64)
        layout.add(prefix, 0, image, PREFIX)
        for segment, dialogue in enumerate(unit.dialogues, start=PREFIX + 1):
            if dialogue.is_target[0]:
                raise ValueError(f"{unit.sample_id}: the first token of a dialogue is a target; nothing predicts it")
            ids, places = np.array(dialogue.ids, np.int64), np.flatnonzero(dialogue.is_target)
            same = np.ones_like(places)
            before = layout.length - 1
            layout.targets.append(np.stack([before + places, ids[places], same * dialogue.task, same * image]))
            layout.add(ids, len(prefix), image, segment)
    return layout


def all_sample_ids(packs: Sequence[Pack]) -> list[str]:
    """Sample ids of several packs, each once, in order."""
    return list(dict.fromkeys(chain.from_iterable(pack.sample_ids for pack in packs)))
