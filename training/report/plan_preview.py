"""What a run would read, without a model: `mmrs train RECIPE --plan`."""

from __future__ import annotations

from transformers import AutoConfig

from mmrs.errors import UserError
from mmrs.progress import Progress
from training.config import TrainConfig
from training.data.open import open_training_selection, prepare_stream
from training.data.planning.selection import Selection
from training.data.planning.summary import plan_lines, summarise
from training.model import EarthGPTProcessor
from training.model.folder import check_model_folder
from training.stages.initial_model import initial_processor


def preview(config: TrainConfig, progress: Progress | None = None) -> str:
    """The first epoch's plan for a person. Reads indexes, records and the tokenizer; writes nothing but the cache.

    Raises:
        UserError: data, tokenizer and configuration do not fit together.
    """
    if config.data.webdataset:
        raise UserError("data.webdataset is streamed without a plan; give data.folders to plan.")
    selection = open_training_selection(config)
    processor, max_positions = _processor(config, selection)
    stream = prepare_stream(config, selection, processor, max_positions, progress)
    total_steps = config.max_steps or stream.steps(config.epochs or 1, config.packs_per_step)
    summary = summarise(stream.plan(0), stream.lengths, stream.settings, selection)
    return "\n".join(plan_lines(summary, stream.settings, total_steps, config.packs_per_step))


def _processor(config: TrainConfig, selection: Selection) -> tuple[EarthGPTProcessor, int]:
    """The run's processor and the positions of its language model, from files where there are some."""
    made = config.out / "model-init"
    folder = config.model.path or (made if made.is_dir() else None)
    if folder is None:
        model_config, processor = initial_processor(config.model, selection)
    else:
        check_model_folder(folder, "model.path")
        model_config, processor = AutoConfig.from_pretrained(folder), EarthGPTProcessor.from_pretrained(folder)
    return processor, model_config.get_text_config().max_position_embeddings
