"""Reads packs: members by offset, decode, tokens, tensors. Content depends on the plan alone, not on the workers.

A sample that cannot be read (broken image, broken record, digest mismatch) is left out of its pack: its tokens become
padding and no other sample takes its place, so all else stays as planned. It is listed in `Pack.skipped`; the loop
counts it and stops the run beyond a ceiling.
"""

from __future__ import annotations

import hashlib
import io
import signal
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from mmrs.errors import RunFailure
from training.data.collate import EncodedDialogue, EncodedUnit, Pack, assemble
from training.data.lengths import turns_of
from training.data.plan import Lengths
from training.data.pointer import Pointer
from training.data.selection import Selection
from training.data.stream import PackReference, PackStream, rank_share
from training.model.processing import EarthGPTProcessor, pad_and_resize

# What Pillow, the record schema and the file system raise for broken content.
BROKEN = (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError)


@dataclass
class PackDataset(Dataset):
    """Map-style over `PackReference`: ``dataset[reference]`` is a `Pack`. Holds no plan and no random state."""

    selection: Selection
    lengths: Lengths
    processor: EarthGPTProcessor
    tokens_per_pack: int
    verify_images: bool = False

    def __getitem__(self, reference: PackReference) -> Pack:
        self.selection.fetch([row for row, _ in reference.units])
        units, skipped = [], []
        for row, entries in reference.units:
            try:
                units.append(self._unit(row, entries))
            except BROKEN as error:
                skipped.append((self.selection.sample_id(row), f"{type(error).__name__}: {error}"))
        return assemble(
            units,
            self.processor.encode_prefix(True),
            self.tokens_per_pack,
            self.processor.tokenizer.pad_token_id,
            self.processor.image_processor.image_size,
            epoch=reference.epoch,
            number=reference.number,
            skipped=tuple(skipped),
        )

    def _unit(self, row: int, entries: np.ndarray) -> EncodedUnit:
        data = self.selection.image(row)
        if self.verify_images and hashlib.sha256(data).hexdigest() != self.selection.sha256[row].as_py():
            raise ValueError("image bytes differ from the index's sha256")
        with Image.open(io.BytesIO(data)) as image:
            pixels_CHW = pad_and_resize(image, self.processor.image_processor.image_size)
        dialogues = self.selection.record(row).dialogues
        encoded = []
        for entry in entries:
            dialogue = dialogues[self.selection.dialogue_number[entry]]
            ids, is_target = self.processor.encode_dialogue(turns_of(dialogue))
            if len(ids) != self.lengths.tokens[entry]:
                raise RunFailure(
                    f"{self.selection.sample_id(row)}: a dialogue has {len(ids)} tokens, its entry in the length table "
                    f"says {self.lengths.tokens[entry]}. Delete the folder `lengths` in data.cache (by default "
                    "~/.cache/mmrs) and start again."
                )
            encoded.append(EncodedDialogue(ids, is_target, int(self.selection.dialogue_task[entry])))
        return EncodedUnit(self.selection.sample_id(row), pixels_CHW, tuple(encoded))


@dataclass
class PackSampler:
    """The references that one rank reads, step by step, from a pointer on."""

    stream: PackStream
    pointer: Pointer
    steps: int
    packs_per_step: int
    rank: int = 0
    world_size: int = 1

    def __len__(self) -> int:
        return self.steps * self.packs_per_step // self.world_size

    def __iter__(self) -> Iterator[PackReference]:
        walk = self.stream.walk(self.pointer)
        for _ in range(self.steps):
            yield from rank_share(list(islice(walk, self.packs_per_step)), self.rank, self.world_size)


def pack_loader(dataset: PackDataset, sampler: PackSampler, workers: int, pin_memory: bool = False) -> DataLoader:
    """DataLoader of single packs in the sampler's order, equal for any number of worker processes."""
    return DataLoader(
        dataset,
        batch_size=None,
        sampler=sampler,
        num_workers=workers,
        collate_fn=_unchanged,
        pin_memory=pin_memory,
        worker_init_fn=_quiet_worker,
        # Without one of its own the loader would draw its workers' seed from the global generator.
        generator=torch.Generator().manual_seed(0),
        prefetch_factor=4 if workers else None,
    )


def check_skipped(samples: int, skipped: int, max_samples: int, max_share: float) -> None:
    """Stop a run whose data is broken: fatal when both the count and the share are passed.

    Raises:
        RunFailure: names counts and ceilings.
    """
    if skipped > max_samples and skipped > max_share * samples:
        raise RunFailure(
            f"{skipped} of {samples} samples could not be read (ceilings: data.max_skipped_samples={max_samples}, "
            f"data.max_skipped_share={max_share}). Build the data set again with `mmrs build`, or raise the ceilings."
        )


def _unchanged(pack: Any) -> Pack:
    return pack


def _quiet_worker(worker: int) -> None:
    # A signal to the process group must stop the loop between two steps, not the workers in the middle of one.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
