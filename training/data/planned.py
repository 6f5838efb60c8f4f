"""The stream of data sets of mmrs: packs in the order of a plan, resumed exactly with any number of ranks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch.utils.data import DataLoader

from training.config import AugmentConfig, TrainConfig
from training.data.kept import KeptSquares
from training.data.loader import PackDataset, PackSampler, pack_loader
from training.data.planning.pointer import Pointer, Position
from training.data.planning.selection import Selection
from training.data.planning.sequence import PackSequence
from training.data.planning.summary import plan_lines, summarise
from training.data.stream import RankOf
from training.model.processing import EarthGPTProcessor


@dataclass(frozen=True)
class PlannedStream:
    """The packs of `sequence`, read from `selection`. A `training.data.stream.Stream`."""

    sequence: PackSequence
    selection: Selection
    processor: EarthGPTProcessor
    config: TrainConfig

    @property
    def tasks(self) -> tuple[str, ...]:
        return self.selection.tasks

    @cached_property
    def sensors(self) -> dict[str, str]:
        return {
            name: source.sensor
            for shards in self.selection.sets
            for name, source in shards.manifest.sources.items()
            if name in self.selection.sources
        }

    @cached_property
    def total_steps(self) -> int:
        config = self.config
        return config.max_steps or self.sequence.steps(config.epochs or 1, config.packs_per_step)

    @cached_property
    def dataset(self) -> PackDataset:
        """Reads any pack of the sequence."""
        data = self.config.data
        return PackDataset(
            selection=self.selection,
            lengths=self.sequence.lengths,
            processor=self.processor,
            tokens_per_pack=self.config.tokens_per_pack,
            verify_images=data.verify_images,
            augment=data.augment,
            box_order=data.box_order,
            with_objects=self.config.auxiliary is not None,
            seed=data.seed,
            kept=KeptSquares(0 if _shades(data.augment) else data.kept_images_mb * 10**6),
        )

    def start(self) -> Pointer:
        return self.sequence.start()

    def check(self, pointer: Pointer) -> None:
        self.sequence.check(pointer)

    def advance(self, pointer: Pointer, packs: int, samples: int = 0, skipped: int = 0) -> Pointer:
        return self.sequence.advance(pointer, packs, samples, skipped)

    def loader(self, start: Position, ranks: RankOf) -> DataLoader:
        config = self.config
        steps = max(0, self.total_steps - start.step)
        sampler = PackSampler(self.sequence, start.pointer, steps, config.packs_per_step, ranks.rank, ranks.size)
        return pack_loader(self.dataset, sampler, config.workers, pin_memory=config.device == "cuda")

    def summary(self) -> dict[str, Any]:
        return self._plan | {
            "steps": self.total_steps,
            "packs_per_step": self.config.packs_per_step,
            "stream": self.start().to_dict(),
            "dialects": sorted({data.manifest.dialect_name for data in self.selection.sets}),
        }

    def describe(self) -> list[str]:
        return plan_lines(self._plan, self.sequence.settings, self.total_steps, self.config.packs_per_step)

    @cached_property
    def _plan(self) -> dict[str, Any]:
        """Figures of the first epoch."""
        sequence = self.sequence
        return summarise(sequence.plan(0), sequence.lengths, sequence.settings, self.selection)


def _shades(augment: AugmentConfig | None) -> bool:
    """Whether an image is changed before it becomes a square."""
    return augment is not None and bool(augment.brightness or augment.contrast)
