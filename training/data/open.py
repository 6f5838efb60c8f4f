"""From a configuration to a planned stream: selection, mixture, token lengths, plan settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mmrs.errors import UserError
from mmrs.progress import Progress
from mmrs.shards.files import Downloads
from mmrs.shards.reader import ShardSet
from mmrs.storage.cache import FileCache, default_cache_folder
from training.config import DataConfig, TrainConfig
from training.data.planned import PlannedStream
from training.data.planning.lengths import length_table, tokenizer_digest
from training.data.planning.mixture import group_dialogues
from training.data.planning.plan import PlanSettings
from training.data.planning.selection import Selection, select_from
from training.data.planning.sequence import PackSequence
from training.model.processing import EarthGPTProcessor


def cache_folder(data: DataConfig) -> Path:
    """`data.cache`, or ``mmrs`` in the user's cache folder."""
    return data.cache if data.cache is not None else default_cache_folder()


def open_selection(data: DataConfig) -> Selection:
    """The samples and dialogues that a configuration names. Raises as `select_from` does."""
    downloads = Downloads(FileCache(cache_folder(data) / "shards", int(data.cache_gb * 1e9)))
    sets = [ShardSet(location, downloads) for location in data.folders]
    return select_from(sets, data.splits, data.sources, data.tasks)


def open_training_selection(config: TrainConfig) -> Selection:
    """`open_selection` of what a run trains on.

    Raises:
        UserError: as `select_from`, a source that its data set has for evaluation only, or a held-out split among it.
    """
    selection = open_selection(config.data)
    held_out = config.held_out.split if config.held_out is not None else None
    trained = [part for part in selection.parts if part.rpartition("/")[2] == held_out]
    if trained:
        raise UserError(
            f"held_out.split={held_out}: the run trains on {', '.join(trained)}. Name another split, or the splits to "
            "train on with `--set data.splits=[...]`."
        )
    for shards in selection.sets:
        for name, source in shards.manifest.sources.items():
            if name in selection.sources and not source.train_splits:
                mine = [split for split in source.splits if f"{name}/{split}" in selection.parts]
                raise UserError(
                    f"{shards.location} has {name} for evaluation, no split of it to train on. Choose others with "
                    f"`--set data.sources=[...]`; where {name} is not for evaluation only (`mmrs sources {name}`), "
                    f"build it with `--set train_splits=[{', '.join(mine)}]`."
                )
    return selection


def plan_stream(
    config: TrainConfig,
    selection: Selection,
    processor: EarthGPTProcessor,
    max_positions: int,
    progress: Progress | None = None,
) -> PlannedStream:
    """The stream of a selection's packs. Token lengths come from the cache where they were counted before.

    Args:
        max_positions: the longest sequence that the language model takes.

    Raises:
        UserError: the mixture does not fit the selection.
        RunFailure: a record cannot be read.
    """
    data = config.data
    group, mixture = group_dialogues(selection, data.mixture)
    digest = tokenizer_digest(processor)
    settings = PlanSettings(
        data_set_id=selection.data_set_id,
        tokenizer_digest=digest,
        seed=data.seed,
        tokens_per_pack=config.tokens_per_pack,
        prefix_tokens=len(processor.encode_prefix(True)),
        max_positions=max_positions,
        shuffle_block_samples=data.shuffle_block_samples,
        shuffle_window_blocks=data.shuffle_window_blocks,
        packing_window_units=data.packing_window_units,
        mixture=mixture,
    )
    lengths = length_table(selection, processor, digest, cache_folder(data) / "lengths", progress)
    further = (selection.images - 1) * processor.image_slots if (selection.images > 1).any() else None
    sequence = PackSequence(replace(lengths, group=group if mixture else None, further=further), settings)
    return PlannedStream(sequence, selection, processor, config)
