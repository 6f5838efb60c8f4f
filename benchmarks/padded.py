"""The trainers that ours is measured against: one dialogue per sequence, padded to the longest of its batch.

Both get the same model object, the same samples and the same hook that counts. They pad on the right and pass no mask,
since causal attention never looks at what follows: that lets them use the fastest attention kernel.

Shape legend: B sequences, L tokens of the longest.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from training.data.collate import EncodedUnit

IGNORED = -100


@dataclass(frozen=True)
class Sequences:
    """Map-style data set of single dialogues: (unit, number of its dialogue). Items are dicts of plain values."""

    units: Sequence[EncodedUnit]
    prefix_ids: list[int]
    pairs: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, number: int) -> dict:
        unit = self.units[self.pairs[number][0]]
        dialogue = unit.dialogues[self.pairs[number][1]]
        answer = [token if wanted else IGNORED for token, wanted in zip(dialogue.ids, dialogue.is_target, strict=True)]
        return {
            "input_ids": self.prefix_ids + dialogue.ids,
            "labels": [IGNORED] * len(self.prefix_ids) + answer,
            "pixel_values": unit.pixels_CHW,
        }

    def lengths(self) -> list[int]:
        """Tokens of every sequence."""
        return [len(self.prefix_ids) + len(self.units[unit].dialogues[number].ids) for unit, number in self.pairs]


def sequences(units: Sequence[EncodedUnit], prefix_ids: list[int], max_positions: int) -> Sequences:
    """All dialogues that fit the model."""
    pairs = [
        (place, number)
        for place, unit in enumerate(units)
        for number, dialogue in enumerate(unit.dialogues)
        if len(prefix_ids) + len(dialogue.ids) <= max_positions
    ]
    return Sequences(units, prefix_ids, tuple(pairs))


@dataclass(frozen=True)
class Collator:
    """Pads on the right: `input_ids`, `labels` (B, L), `pixel_values` (B, 3, H, W)."""

    pad_id: int

    def __call__(self, items: list[dict]) -> dict[str, torch.Tensor]:
        longest = max(len(item["input_ids"]) for item in items)
        return {
            "input_ids": _padded([item["input_ids"] for item in items], longest, self.pad_id),
            "labels": _padded([item["labels"] for item in items], longest, IGNORED),
            "pixel_values": torch.from_numpy(np.stack([item["pixel_values"] for item in items])),
        }


def _padded(rows: list[list[int]], length: int, filler: int) -> torch.Tensor:
    return torch.tensor([row + [filler] * (length - len(row)) for row in rows])


@dataclass
class Counts:
    """What went through a model: tokens by kind, sequences and seconds of the timed steps, by the wall and of all of
    the process's threads."""

    steps: int = 0
    seconds: float = 0.0
    processor_seconds: float = 0.0
    targets: int = 0
    real: int = 0
    positions: int = 0
    images: int = 0
    dialogues: int = 0
    pairs: int = 0
    loss: float | None = None


class Clock:
    """Wall and processor time in seconds from `start` to `stop`."""

    seconds = processor_seconds = 0.0

    def start(self) -> None:
        self._wall, self._processor = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        self.seconds = time.perf_counter() - self._wall
        self.processor_seconds = time.process_time() - self._processor


class Counter:
    """Forward hook of the model that counts what a padded trainer feeds it, without waiting for the device."""

    def __init__(self, pad_id: int):
        self.pad_id = pad_id
        self.rows: list[tuple[torch.Tensor, torch.Tensor, int]] = []

    def __call__(self, module, arguments, given: dict) -> None:
        ids_BL, labels_BL = given["input_ids"], given["labels"]
        self.rows.append(((labels_BL[:, 1:] != IGNORED).sum(), (ids_BL != self.pad_id).sum(1), ids_BL.numel()))

    def counts(self, first: int, clock: Clock, steps: int) -> Counts:
        """Totals of the forward passes from number `first` on."""
        rows = self.rows[first:]
        lengths = [length for _, lengths_B, _ in rows for length in lengths_B.tolist()]
        return Counts(
            steps=steps,
            seconds=clock.seconds,
            processor_seconds=clock.processor_seconds,
            targets=sum(int(targets) for targets, _, _ in rows),
            real=sum(lengths),
            positions=sum(positions for _, _, positions in rows),
            images=len(lengths),
            dialogues=len(lengths),
            pairs=sum(length * (length + 1) // 2 for length in lengths),
        )


@contextlib.contextmanager
def counted(model: torch.nn.Module, pad_id: int) -> Iterator[Counter]:
    """Count the model's forward passes while the context lasts."""
    counter = Counter(pad_id)
    handle = model.register_forward_pre_hook(counter, with_kwargs=True)
    try:
        yield counter
    finally:
        handle.remove()


def plain_loop(
    model: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    data: Sequences,
    pad_id: int,
    batch: int,
    warmup: int,
    device: torch.device,
    synchronise: Callable[[], None],
    seed: int = 0,
) -> Counts:
    """A plain PyTorch loop over one epoch after `warmup` steps: random order, mean loss of the batch, clip, AdamW."""
    order = np.random.default_rng(seed).permutation(len(data))
    steps = len(data) // batch
    collate = Collator(pad_id)
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    clock = Clock()
    model.train()
    with counted(model, pad_id) as counter:
        for step in range(warmup + steps):
            if step == warmup:
                synchronise()
                clock.start()
            chosen = [order[(step * batch + place) % len(order)] for place in range(batch)]
            inputs = {name: value.to(device) for name, value in collate([data[number] for number in chosen]).items()}
            optimiser.zero_grad(set_to_none=True)
            with torch.autocast("cuda", torch.bfloat16, enabled=device.type == "cuda"):
                loss = model(**inputs).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
        synchronise()
        clock.stop()
        counts = counter.counts(warmup, clock, steps)
    counts.loss = float(loss)
    return counts


def hf_trainer(
    model: torch.nn.Module,
    data: Sequences,
    pad_id: int,
    batch: int,
    warmup: int,
    learning_rate: float,
    device: torch.device,
    synchronise: Callable[[], None],
) -> Counts:
    """`transformers.Trainer`: sequences grouped by length, fused AdamW, bf16 on a GPU, nothing logged or saved.

    Timed are as many steps as an epoch has: its sampler starts with the longest sequences, so fewer would not be fair.

    Raises:
        ImportError: accelerate, which Trainer needs, is not installed.
    """
    from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

    steps = len(data) // batch

    clock = Clock()

    class Timer(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step == warmup:
                synchronise()
                clock.start()

        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == warmup + steps:
                synchronise()
                clock.stop()

    with tempfile.TemporaryDirectory() as folder, counted(model, pad_id) as counter:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=batch,
            max_steps=warmup + steps,
            train_sampling_strategy="group_by_length",
            bf16=device.type == "cuda",
            use_cpu=device.type == "cpu",
            optim="adamw_torch_fused",
            learning_rate=learning_rate,
            max_grad_norm=1.0,
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            remove_unused_columns=False,
            dataloader_drop_last=True,
            dataloader_pin_memory=device.type == "cuda",
            disable_tqdm=True,
        )
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=data,
            data_collator=Collator(pad_id),
            callbacks=[Timer()],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        return counter.counts(warmup, clock, steps)
