"""One EarthGPT model folder out of pre-trained parts: what `mmrs init` calls.

``OUT/`` holds what `from_pretrained` of model and processor read. Its `config.origin` says for each part where it came
from, the licence stated there, its parameters and the digest of its weights as they lie in the folder; the model card,
``OUT/README.md``, says the same for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from mmrs.errors import UserError
from mmrs.storage.atomic import atomic_folder
from mmrs.text import nearest, not_empty
from training.model.assembly.parts import LanguageModel, Part, read_encoder, read_language_model
from training.model.assembly.text_check import check_texts
from training.model.configuration import EarthGPTConfig, changed
from training.model.fusion import EarthGPTProjector
from training.model.inputs.image_processor import EarthGPTImageProcessor
from training.model.language.decoder import decoder_config, decoder_of
from training.model.language.dialogue_form import chat_form
from training.model.modeling.generation import EarthGPTForConditionalGeneration
from training.model.origin.card import NOT_STATED
from training.model.origin.notes import PartNote, note_parts
from training.model.presets import PRESETS, preset_fields
from training.model.processing import EarthGPTProcessor
from training.model.tokenizer import IMAGE, adapt_tokenizer
from training.model.vision.encoder import encoder_of

DTYPES = ("float32", "bfloat16", "float16")
LEFT_OUT = "none"
_FOREIGN_FIELDS = (
    "quantization_config",
    "architectures",
    "dtype",
    "torch_dtype",
    "transformers_version",
    "_name_or_path",
)


@dataclass(frozen=True)
class AssemblyRequest:
    """What to make of which parts.

    Attributes:
        out: new or empty folder.
        llm: language model: a Hugging Face folder, a GGUF file or a hub name.
        encoders: by name a Hugging Face folder, a checkpoint file of its authors, OpenCLIP or timm, a hub name, or the
            folder of an EarthGPT that has an encoder of this name. An encoder of the preset that is not named has
            random weights, one that is "none" is left out, and a name that the preset has not is one more.
        size: preset that gives image sizes, token merge and the shapes of random encoders. Of a given ViT with other
            depth the blocks at each quarter are used.
        seed: of all random weights.
        dtype: of the whole folder, one of `DTYPES`; "" is the language model's.
        changes: fields of the configuration to set, for instance {"vit.image_size": 336}, see
            `training.model.configuration.changed`.
    """

    out: Path
    llm: str
    encoders: Mapping[str, str] = field(default_factory=dict)
    size: str = "small"
    seed: int = 0
    dtype: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Assembled:
    """The finished folder, positions that an image takes in a sequence, its parts, and why it cannot speak by its
    language model's chat template, empty where it can."""

    folder: Path
    parameters: int
    image_slots: int
    parts: tuple[PartNote, ...]
    no_chat: str = ""


@dataclass(frozen=True, eq=False)
class Parts:
    """All that was read: the language model, and by name the encoders; those of random weights are not among them."""

    language_model: LanguageModel
    encoders: Mapping[str, Part]


def assemble(request: AssemblyRequest) -> Assembled:
    """Write a model folder with the given parts, a new projector, and encoders of random weights where none is given.

    Text without an image is answered exactly as by the language model alone: no weight of it changes, and no token is
    added to its vocabulary.

    Raises:
        UserError: the folder is taken, a part cannot be read, or the parts do not fit together.
    """
    _check_request(request)
    parts = _read(request)
    language_model, tokenizer = parts.language_model.part, parts.language_model.tokenizer
    chat, no_chat = _chat_form(tokenizer)
    try:
        adapt_tokenizer(tokenizer, language_model.model.config.vocab_size)
        config = _configuration(parts, request)
        processor = EarthGPTProcessor(
            EarthGPTImageProcessor(config.image_size), tokenizer, config.image_slots, chat=chat
        )
        check_texts(processor)
    except (ValueError, TypeError) as error:
        raise UserError(f"the parts do not make a model: {error}") from error
    model: Any = _joined(config, parts, request.seed)
    model.to(getattr(torch, request.dtype) if request.dtype else language_model.model.dtype)
    sources = {part.role: (part.origin, part.licence) for part in (language_model, *parts.encoders.values())}
    notes = note_parts(config, model.parts(), sources, request.seed)
    with atomic_folder(request.out) as temporary:
        model.save_pretrained(temporary)
        processor.save_pretrained(temporary)
    parameters = sum(value.numel() for value in model.parameters())
    return Assembled(request.out, parameters, config.image_slots, notes, no_chat)


def describe_assembly(result: Assembled) -> str:
    """The result for a person, with a note for every licence that is not stated."""
    lines = [f"{result.folder}: {result.parameters:,} parameters, {result.image_slots} positions per image"]
    for note in result.parts:
        lines.append(f"{note.role:3}  {note.parameters:>13,}  {note.origin}  licence: {note.licence}")
    lines.append(
        f"plain dialogues alone: {result.no_chat}."
        if result.no_chat
        else "dialogues are plain; model.dialogue=chat of a training recipe writes them by the model's chat template"
    )
    unknown = [note.role for note in result.parts if note.licence == NOT_STATED]
    if unknown:
        lines.append(f"Look up the licence of {', '.join(unknown)} before you publish the model.")
    return "\n".join(lines)


def _chat_form(tokenizer: PreTrainedTokenizerBase) -> tuple[dict[str, Any] | None, str]:
    """Fields of the form of the tokenizer's chat template, and if there is none, why."""
    try:
        form = chat_form(tokenizer)
    except ValueError as error:
        return None, str(error)
    return (None, "the language model has no chat template") if form is None else (asdict(form), "")


def _check_request(request: AssemblyRequest) -> None:
    out = request.out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(not_empty(out))
    if not request.llm:
        raise UserError("no language model is given. Give a folder, a GGUF file or a hub name as llm.")
    if request.size not in PRESETS:
        raise UserError(
            f"there is no preset {request.size!r}{nearest(request.size, PRESETS)}; choose one of {', '.join(PRESETS)}"
        )
    if request.dtype and request.dtype not in DTYPES:
        raise UserError(
            f"dtype {request.dtype!r} is not known{nearest(request.dtype, DTYPES)}; choose {', '.join(DTYPES)}"
        )


def _read(request: AssemblyRequest) -> Parts:
    """Encoders first: they are small, and a mistake in them shows before the language model is read."""
    encoders = {name: read_encoder(name, source) for name, source in request.encoders.items() if source != LEFT_OUT}
    return Parts(read_language_model(request.llm), encoders)


def _configuration(parts: Parts, request: AssemblyRequest) -> EarthGPTConfig:
    model, tokenizer = parts.language_model.part.model, parts.language_model.tokenizer
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    text = {key: value for key, value in model.config.to_dict().items() if key not in _FOREIGN_FIELDS}
    fields = preset_fields(request.size)
    entries = {entry["name"]: entry for entry in fields["encoders"]}
    for name, part in parts.encoders.items():
        entries[name] = _entry_fields(part, entries.get(name, {}))
    kept = [entry for name, entry in entries.items() if request.encoders.get(name) != LEFT_OUT]
    fields |= {
        "encoders": kept,
        "text_config": decoder_config(text | ids | decoder_of(model.config).limits(model.config)),
        "tie_word_embeddings": model.config.tie_word_embeddings,
        "image_token_id": tokenizer.get_vocab()[IMAGE],
    }
    return EarthGPTConfig(**changed(fields, request.changes))


def _entry_fields(part: Part, of_preset: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a given encoder's entry: the preset's image size if it is of the same kind, else the encoder's own.

    One that is taken from an EarthGPT goes on as it was trained there.
    """
    if part.entry is not None:
        return part.entry.fields()
    config = part.model.config
    encoder = encoder_of(config)
    if of_preset and of_preset["config"]["model_type"] == config.model_type:
        image_size = of_preset["image_size"]
    else:
        native = encoder.native_size(config)
        image_size = native - native % encoder.stride(config)
    fields = {"name": part.role, "config": config, "image_size": image_size}
    return fields if part.statistics is None else fields | {"statistics": part.statistics}


def _joined(config: EarthGPTConfig, parts: Parts, seed: int) -> EarthGPTForConditionalGeneration:
    """The model around the loaded parts, which are moved into it and not copied."""
    with torch.device("meta"):
        model = EarthGPTForConditionalGeneration(config)
    language_model = parts.language_model.part.model
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for entry in config.entries:
            if entry.name in parts.encoders:
                encoder = parts.encoders[entry.name].model
            else:
                encoder = entry.encoder.build(entry.config, "eager")
                entry.encoder.scale_random(encoder)
            model.vision.add_module(entry.name, encoder)
        model.model.projector = EarthGPTProjector(config)
        embeddings = language_model.get_input_embeddings()
        rms = embeddings.weight.float().square().mean().sqrt() * config.decoder_kind.embedding_scale(embeddings)
        model.projector.scale_random(float(rms))
    model.model.language_model = language_model.model
    model.lm_head = language_model.lm_head
    return model
