"""Where a run starts: the model folder of a preset with random weights and a tokenizer of the run's own texts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mmrs.errors import UserError
from mmrs.storage.atomic import atomic_folder
from training.config import ModelConfig
from training.data.planning.selection import Selection
from training.model import (
    EarthGPTConfig,
    EarthGPTImageProcessor,
    EarthGPTProcessor,
    initialise,
    preset,
    train_tokenizer,
)
from training.model.folder import check_model_folder, check_processor, sound_model
from training.model.language.dialogue_form import PLAIN_FORM
from training.model.origin.notes import note_parts
from training.model.tokenizer import IMAGE

TOKENIZER_SAMPLES = 50_000


@dataclass(frozen=True)
class StartModel:
    """The model folder that a run starts from, without its weights; `max_positions` is its longest sequence."""

    folder: Path
    processor: EarthGPTProcessor
    max_positions: int


def read_start_model(folder: Path, dialogue: str | None = None) -> StartModel:
    """What `model.path` names.

    Args:
        dialogue: the form of dialogues, `model.dialogue`; None for that of the folder.

    Raises:
        UserError: it is no model folder, or processor, model and form do not match.
    """
    check_model_folder(folder, "model.path")
    with sound_model(folder):
        config = EarthGPTConfig.from_pretrained(folder)
    processor = EarthGPTProcessor.from_pretrained(folder)
    check_processor(processor, config, f"model.path {folder}")
    if dialogue is not None:
        try:
            processor.speak(dialogue)
        except ValueError as error:
            raise UserError(f"model.dialogue, model.path {folder}: {error}.") from error
    return StartModel(folder, processor, _max_positions(config))


def make_start_model(folder: Path, config: ModelConfig, selection: Selection) -> StartModel:
    """What `model.path` names, or the model of a preset, made in `folder` unless it is there.

    A resumed run finds the very same weights and vocabulary.

    Raises:
        UserError: there is no such model folder or preset, or the vocabulary is too small.
    """
    if config.path is not None:
        return read_start_model(config.path, config.dialogue)
    if not folder.is_dir():
        model_config, processor = initial_processor(config, selection)
        model = initialise(model_config, config.seed)
        note_parts(model.config, model.parts(), {}, config.seed)
        with atomic_folder(folder) as temporary:
            model.save_pretrained(temporary)
            processor.save_pretrained(temporary)
    return read_start_model(folder, config.dialogue)


def preview_start_model(folder: Path, config: ModelConfig, selection: Selection) -> StartModel:
    """`make_start_model` without a file written: what a preset has no folder for yet is made in memory alone."""
    if config.path is not None or folder.is_dir():
        return read_start_model(config.path or folder, config.dialogue)
    model_config, processor = initial_processor(config, selection)
    return StartModel(folder, processor, _max_positions(model_config))


def initial_processor(config: ModelConfig, selection: Selection) -> tuple[EarthGPTConfig, EarthGPTProcessor]:
    """The configuration of a preset and its processor, the tokenizer trained on the selection; no weights are made.

    Raises:
        UserError: there is no such preset, a change does not fit it, or the vocabulary is too small.
    """
    try:
        tokenizer = train_tokenizer(training_texts(selection), config.vocab_size, config.coordinates == "hundredths")
        model_config = preset(
            str(config.preset),
            vocab_size=len(tokenizer),
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            image_token_id=tokenizer.get_vocab()[IMAGE],
            changes=config.changes,
        )
    except ValueError as error:
        raise UserError(f"model: {error}") from error
    image_processor = EarthGPTImageProcessor(model_config.image_size)
    return model_config, EarthGPTProcessor(image_processor, tokenizer, model_config.image_slots)


def training_texts(selection: Selection) -> Iterator[str]:
    """Turns of the selected samples as the model will read them, evenly thinned to at most 50,000 samples."""
    stride = -(-len(selection) // TOKENIZER_SAMPLES)
    for row in range(0, len(selection), stride):
        for dialogue in selection.record(row).dialogues:
            for turn in dialogue.turns:
                if turn.sender == "gpt":
                    yield PLAIN_FORM.answer(turn.value)
                else:
                    yield from (text for text, _ in PLAIN_FORM.question(turn.value, first=True))


def _max_positions(config: EarthGPTConfig) -> int:
    return config.get_text_config().max_position_embeddings
