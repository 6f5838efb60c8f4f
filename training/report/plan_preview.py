"""What a run would read, without a model: `mmrs train RECIPE --plan`."""

from __future__ import annotations

from mmrs.errors import UserError
from mmrs.progress import Progress
from training.config import TrainConfig
from training.data.open import open_training_selection, plan_stream
from training.stages.initial_model import preview_start_model


def preview(config: TrainConfig, progress: Progress | None = None) -> str:
    """The first epoch's plan for a person. Reads indexes, records and the tokenizer; writes nothing but the cache.

    Raises:
        UserError: data, tokenizer and configuration do not fit together.
    """
    if config.data.webdataset:
        raise UserError("data.webdataset is streamed without a plan; give data.folders to plan.")
    selection = open_training_selection(config)
    start_model = preview_start_model(config.out / "model-init", config.model, selection)
    stream = plan_stream(config, selection, start_model.processor, start_model.max_positions, progress)
    return "\n".join(stream.describe())
