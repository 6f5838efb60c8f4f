"""Reads packs: members by offset, decode, tokens, tensors. Content depends on the plan alone, not on the workers.

A sample that cannot be read (broken image, broken record, digest mismatch) is replaced by another one of the same
shard, hence of the same source, with dialogues that are together no longer than the planned ones, so that all else
stays as planned. Which one is drawn from seed, epoch and sample. Where none of a few fits, its tokens become padding.
It is listed in `Pack.skipped`; the loop counts it and stops the run beyond a ceiling.
"""

from __future__ import annotations

import hashlib
import math
import signal
import struct
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from mmrs.errors import RunFailure, UserError
from mmrs.geometry import SquareFrame
from mmrs.imaging.probe import open_stored
from mmrs.instructions.symmetry import IDENTITY, Symmetry
from mmrs.record import Record
from mmrs.seeding import random_words
from training.config import AugmentConfig
from training.data.augment import Augmentation, Turns, draw, shade, turn_dialogues, turn_square
from training.data.box_order import DETECTION_TASKS, BoxOrder, by_rows, left_to_right, ordered_turns
from training.data.collate import EncodedDialogue, EncodedUnit, Pack, SeenObjects, collate_packs, empty_pixels
from training.data.kept import KeptSquares
from training.data.planning.lengths import turns_of
from training.data.planning.plan import Lengths
from training.data.planning.pointer import Pointer
from training.data.planning.selection import Selection
from training.data.planning.sequence import PackReference, PackSequence, rank_share
from training.model.inputs.image_processor import pad_and_resize
from training.model.processing import EarthGPTProcessor

if TYPE_CHECKING:
    from mmrs.instructions.dialects import Dialect

# What Pillow, the record schema and the file system raise for broken content.
BROKEN = (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError)
SUBSTITUTE_TRIES = 8


@dataclass
class PackDataset(Dataset):
    """Map-style over `PackReference`: ``dataset[reference]`` is a `Pack`. Holds no plan and no random state; what it
    keeps of decoded images changes no pack.

    Args:
        verify_images: compare each image with its sha256 in the index.
        augment: how images are varied; None for as they are.
        box_order: in which order detections are told, in the turned image; `DataConfig.box_order`.
        with_objects: give units the objects of their record too.
        seed: of augmentation and substitutes.
        kept: squares that are not decoded again; only for an `augment` without brightness and contrast.
    """

    selection: Selection
    lengths: Lengths
    processor: EarthGPTProcessor
    tokens_per_pack: int
    verify_images: bool = False
    augment: AugmentConfig | None = None
    box_order: str = "stored"
    with_objects: bool = False
    seed: int = 0
    kept: KeptSquares = field(default_factory=lambda: KeptSquares(0))

    def __getitem__(self, reference: PackReference) -> Pack:
        self.selection.fetch([row for row, _ in reference.units])
        size = self.processor.image_processor.image_size
        pixels_NCHW = empty_pixels(sum(int(self.selection.images[row]) for row, _ in reference.units), size)
        used = 0
        units: list[EncodedUnit] = []
        skipped: list[tuple[str, str]] = []
        substitutes: list[str] = []
        for row, entries in reference.units:
            room_NCHW = pixels_NCHW[used : used + int(self.selection.images[row])].numpy()
            try:
                units.append(self._unit(row, entries, reference, room_NCHW))
                used += len(room_NCHW)
            except BROKEN as error:
                skipped.append((self.selection.sample_id(row), f"{type(error).__name__}: {error}"))
                substitute = self._substitute(row, entries, reference, room_NCHW)
                if substitute is not None:
                    units.append(substitute)
                    used += len(room_NCHW)
                    substitutes.append(substitute.sample_id)
        return collate_packs(
            units,
            self.processor.encode_prefix(True),
            self.tokens_per_pack,
            self.processor.tokenizer.pad_token_id,
            size,
            image_slots=self.processor.image_slots,
            epoch=reference.epoch,
            number=reference.number,
            skipped=tuple(skipped),
            substitutes=tuple(substitutes),
            pixels_NCHW=pixels_NCHW[:used],
        )

    def _unit(self, row: int, entries: np.ndarray, reference: PackReference, room_NCHW: np.ndarray) -> EncodedUnit:
        """The sample with its images decoded into `room_NCHW`, all of them changed alike."""
        record = self.selection.record(row)
        if len(record.images) != len(room_NCHW):
            raise ValueError(f"the record has {len(record.images)} images, its index row {len(room_NCHW)}")
        dialogues = record.dialogues
        tasks = [self.selection.tasks[self.selection.dialogue_task[entry]] for entry in entries]
        turns = [turns_of(dialogues[self.selection.dialogue_number[entry]]) for entry in entries]
        order = self._order(row)
        if order is not None:
            turns = [ordered_turns(*each, order) for each in zip(tasks, turns, strict=True)]
        encoded = self._encode(row, entries, turns)
        if self.augment is None:
            self._decode(row, Augmentation(), room_NCHW)
            objects = self._objects(record, entries, IDENTITY)
            return EncodedUnit(record.id, room_NCHW[0], encoded, (), tuple(room_NCHW[1:]), objects)
        key = (self.seed, reference.epoch, self.selection.sample_id(row), reference.number)
        augmentation = draw(self.augment, *key)
        self._decode(row, augmentation, room_NCHW)
        if augmentation.symmetry.moves:
            encoded, augmentation = self._turned(row, entries, turns, encoded, augmentation)
        for room_CHW in room_NCHW:
            room_CHW[...] = turn_square(room_CHW, augmentation)
        objects = self._objects(record, entries, augmentation.symmetry)
        return EncodedUnit(record.id, room_NCHW[0], encoded, augmentation.kinds, tuple(room_NCHW[1:]), objects)

    def _decode(self, row: int, augmentation: Augmentation, room_NCHW: np.ndarray) -> None:
        """The images of a sample as padded squares, not turned yet."""
        if self.kept.fill(row, room_NCHW):
            return
        images = self.selection.images_of(row)
        digests = [hashlib.sha256(data).hexdigest() for data in images] if self.verify_images else []
        if self.verify_images and digests != self.selection.digests_of(row):
            raise ValueError("image bytes differ from the index's sha256")
        for data, room_CHW in zip(images, room_NCHW, strict=True):
            with open_stored(data) as image:
                shaded = shade(image, augmentation)
                pad_and_resize(shaded, self.processor.image_processor.image_size, room_CHW)
        self.kept.keep(row, room_NCHW)

    def _objects(self, record: Record, entries: np.ndarray, symmetry: Symmetry) -> SeenObjects | None:
        """The objects of a turned image whose dialogues are asked to find them; None for any other, and for several."""
        tasks = {self.selection.tasks[self.selection.dialogue_task[entry]] for entry in entries}
        if not self.with_objects or not tasks & DETECTION_TASKS or record.unread_rows or record.further_images:
            return None
        shown = [item for item in record.objects if not item.ignore]
        frame = SquareFrame(record.image.width, record.image.height)
        corners_B22 = frame.to_fractions(np.array([item.extent() for item in shown]).reshape(-1, 2, 2)).clip(0, 1)
        if symmetry.swap:
            corners_B22 = corners_B22[..., ::-1]
        mirrored_B22 = np.where([symmetry.mirror_x, symmetry.mirror_y], 1 - corners_B22, corners_B22)
        encode = self.processor.tokenizer.encode
        names = tuple(tuple(encode(item.category, add_special_tokens=False)) for item in shown)
        return SeenObjects(np.concatenate([mirrored_B22.min(1), mirrored_B22.max(1)], 1), names)

    def _encode(self, row: int, entries: np.ndarray, turns: list[Turns]) -> tuple[EncodedDialogue, ...]:
        encoded = []
        for entry, dialogue in zip(entries, turns, strict=True):
            ids, is_target = self.processor.encode_dialogue(dialogue)
            if len(ids) != self.lengths.tokens[entry]:
                raise RunFailure(
                    f"{self.selection.sample_id(row)}: a dialogue has {len(ids)} tokens, its entry in the length table "
                    f"says {self.lengths.tokens[entry]}. Delete the folder `lengths` in data.cache (by default "
                    "~/.cache/mmrs) and start again."
                )
            encoded.append(EncodedDialogue(ids, is_target, int(self.selection.dialogue_task[entry])))
        return tuple(encoded)

    def _turned(
        self,
        row: int,
        entries: np.ndarray,
        turns: list[Turns],
        encoded: tuple[EncodedDialogue, ...],
        augmentation: Augmentation,
    ) -> tuple[tuple[EncodedDialogue, ...], Augmentation]:
        """Dialogues for the turned image; the given ones and no turn where the text cannot follow in as many tokens."""
        tasks = [self.selection.tasks[self.selection.dialogue_task[entry]] for entry in entries]
        upright = replace(augmentation, symmetry=IDENTITY)
        moved = turn_dialogues(list(zip(tasks, turns, strict=True)), augmentation.symmetry, self._dialect(row))
        if moved is None:
            return encoded, upright
        turned = []
        order = self._order(row)
        for task, dialogue, upright_turns, old in zip(tasks, moved, turns, encoded, strict=True):
            told = dialogue if order is None else ordered_turns(task, dialogue, order)
            if told == upright_turns:
                turned.append(old)
                continue
            ids, is_target = self.processor.encode_dialogue(told)
            if len(ids) != len(old.ids):
                return encoded, upright
            turned.append(EncodedDialogue(ids, is_target, old.task))
        return tuple(turned), augmentation

    def _order(self, row: int) -> BoxOrder | None:
        """How the boxes of a sample are sorted; None: not at all."""
        if self.box_order == "rows":
            # An image's slots are the tokens of a square grid between its start and its end.
            return by_rows(self._dialect(row), math.isqrt(self.processor.image_slots - 2))
        return left_to_right if self.box_order == "left-to-right" else None

    def _dialect(self, row: int) -> Dialect:
        # Box geometry, which training without turned images and sorted boxes does without.
        from mmrs.instructions.dialects import dialect

        return dialect(self.selection.sets[self.selection.set_number[row]].manifest.dialect_name)

    def _substitute(
        self, row: int, entries: np.ndarray, reference: PackReference, room_NCHW: np.ndarray
    ) -> EncodedUnit | None:
        runs = self.selection.shard_run
        first, last = np.searchsorted(runs, [runs[row], runs[row] + 1])
        word = random_words(1, "substitute", self.seed, reference.epoch, self.selection.sample_id(row))[0]
        start = int(word) % int(last - first)
        for place in range(start, start + min(SUBSTITUTE_TRIES, int(last - first))):
            other = int(first) + place % int(last - first)
            # Of as many images, or its prefix would not be the planned one.
            if other == row or self.selection.images[other] != self.selection.images[row]:
                continue
            fitting = self._fitting(other, self.lengths.tokens[entries])
            if not len(fitting):
                continue
            try:
                return self._unit(other, fitting, reference, room_NCHW)
            except BROKEN:
                continue
        return None

    def _fitting(self, row: int, planned: np.ndarray) -> np.ndarray:
        """Dialogues of a sample, none longer than the longest planned one, together no longer than all of them."""
        first, last = np.searchsorted(self.lengths.row, [row, row + 1])
        room, chosen = int(planned.sum()), []
        for entry in range(first, last):
            tokens = int(self.lengths.tokens[entry])
            if tokens <= min(room, int(planned.max())):
                chosen.append(entry)
                room -= tokens
        return np.array(chosen, np.int64)


@dataclass
class PackSampler:
    """The references that one rank reads, step by step, from a pointer on."""

    stream: PackSequence
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


def pack_loader(dataset: Dataset, sampler: PackSampler | None, workers: int, pin_memory: bool = False) -> DataLoader:
    """DataLoader of single packs, in the sampler's order where there is one, for any number of worker processes."""
    return DataLoader(
        dataset,
        batch_size=None,
        sampler=sampler,
        num_workers=workers,
        collate_fn=_unchanged,
        pin_memory=pin_memory,
        worker_init_fn=quiet_worker,
        # Without one of its own the loader would draw its workers' seed from the global generator.
        generator=torch.Generator().manual_seed(0),
        prefetch_factor=4 if workers else None,
    )


def plain_failures(packs: Iterator[Pack]) -> Generator[Pack, None, None]:
    """The same packs; a failure in a worker process has its own message again, without the worker's traceback.

    The workers end with the iteration, however it ends: the interpreter would wait for one that is left for ever, as
    they are deaf to its SIGTERM (`quiet_worker`).
    """
    try:
        yield from packs
    except (RunFailure, UserError) as error:
        kind, text = type(error), str(error)
        if text.startswith("Caught "):
            raise kind(text.rpartition(f"{kind.__name__}: ")[2].strip()) from error
        raise
    finally:
        # torch has no public way; its own is to wait until nothing refers to the iterator, tracebacks included.
        end_workers = getattr(packs, "_shutdown_workers", None)
        if end_workers is not None:
            end_workers()


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


def quiet_worker(worker: int) -> None:
    """Make a loader's worker process deaf to the signals that stop a run."""
    # A signal to the process group must stop the loop between two steps, not the workers in the middle of one.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
