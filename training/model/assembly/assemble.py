"""One EarthGPT model folder out of pre-trained parts: what `mmrs init` calls.

``OUT/`` holds what `from_pretrained` of model and processor read. Its `config.origin` says for each part where it came
from, the licence stated there, its parameters and the digest of its weights as they lie in the folder; the model card,
``OUT/README.md``, says the same for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import ConvNextModel, Dinov2Model, LlamaConfig, PreTrainedTokenizerBase

from mmrs.errors import UserError
from mmrs.storage.atomic import atomic_folder
from training.model.assembly.parts import Part, read_cnn, read_language_model, read_vit
from training.model.assembly.scratch import scale_cnn, scale_projector, scale_vit
from training.model.assembly.text_check import check_texts
from training.model.configuration import EarthGPTConfig
from training.model.fusion import EarthGPTProjector
from training.model.modeling import EarthGPTForConditionalGeneration
from training.model.origin.card import NOT_STATED
from training.model.origin.notes import PartNote, note_parts
from training.model.presets import PRESETS, preset
from training.model.processing import EarthGPTImageProcessor, EarthGPTProcessor
from training.model.tokenizer import IMAGE, adapt_tokenizer

CHANGEABLE = (
    "vit_image_size",
    "cnn_image_size",
    "vit_layers",
    "vit_fusion",
    "cnn_stages",
    "fusion",
    "token_merge",
    "projector_norm",
)
_FOREIGN_FIELDS = (
    "quantization_config",
    "architectures",
    "dtype",
    "torch_dtype",
    "transformers_version",
    "_name_or_path",
)


@dataclass(frozen=True)
class Assembled:
    """The finished folder, positions that an image takes in a sequence, and its parts."""

    folder: Path
    parameters: int
    image_slots: int
    parts: tuple[PartNote, ...]


def assemble(
    out: Path,
    vit: str | None = None,
    cnn: str | None = None,
    llm: str = "",
    *,
    size: str = "small",
    seed: int = 0,
    dtype: str | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Assembled:
    """Write a model folder with the given parts, a new projector, and encoders of random weights where none is given.

    Text without an image is answered exactly as by the language model alone: no weight of it changes, and no token is
    added to its vocabulary.

    Args:
        out: new or empty folder.
        vit, cnn, llm: a Hugging Face folder, a checkpoint file (original DINOv2, OpenCLIP or timm ConvNeXt, GGUF) or a
            hub name.
        size: preset that gives image sizes, token merge and the shapes of random encoders. Of a given ViT with other
            depth the blocks at each quarter are used.
        seed: of all random weights.
        dtype: of the whole folder, for instance "bfloat16"; by default the language model's.
        changes: fields of `EarthGPTConfig` to set, those in `CHANGEABLE`, for instance {"vit_image_size": 336}.

    Raises:
        UserError: the folder is taken, a part cannot be read, or the parts do not fit together.
    """
    _check_arguments(out, llm, size, dtype, changes or {})
    parts = {"llm": None, "vit": read_vit(vit) if vit else None, "cnn": read_cnn(cnn) if cnn else None}
    parts["llm"], tokenizer = read_language_model(llm)
    try:
        adapt_tokenizer(tokenizer, parts["llm"].model.config.vocab_size)
        config = _configuration(parts, tokenizer, size, changes or {})
        processor = EarthGPTProcessor(EarthGPTImageProcessor(config.image_size), tokenizer, config.image_slots)
        check_texts(processor)
    except (ValueError, TypeError) as error:
        raise UserError(f"the parts do not make a model: {error}") from error
    model = _joined(config, parts, seed)
    model.to(getattr(torch, dtype) if dtype else parts["llm"].model.dtype)
    sources = {role: (part.origin, part.licence) for role, part in parts.items() if part is not None}
    notes = note_parts(model, sources, seed)
    with atomic_folder(out) as temporary:
        model.save_pretrained(temporary)
        processor.save_pretrained(temporary)
    parameters = sum(value.numel() for value in model.parameters())
    return Assembled(out, parameters, config.image_slots, notes)


def describe_assembly(result: Assembled) -> str:
    """The result for a person, with a note for every licence that is not stated."""
    lines = [f"{result.folder}: {result.parameters:,} parameters, {result.image_slots} positions per image"]
    for note in result.parts:
        lines.append(f"{note.role:3}  {note.parameters:>13,}  {note.origin}  licence: {note.licence}")
    unknown = [note.role for note in result.parts if note.licence == NOT_STATED]
    if unknown:
        lines.append(f"Look up the licence of {', '.join(unknown)} before you publish the model.")
    return "\n".join(lines)


def _check_arguments(out: Path, llm: str, size: str, dtype: str | None, changes: Mapping[str, Any]) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is not empty. Choose another folder, or: rm -r {out}")
    if not llm:
        raise UserError("no language model is given. Give a LLaMA folder, a GGUF file or a hub name as llm.")
    if size not in PRESETS:
        raise UserError(f"there is no preset {size!r}; choose one of {', '.join(PRESETS)}")
    if dtype is not None and dtype not in ("float32", "bfloat16", "float16"):
        raise UserError(f"dtype {dtype!r} is not known; choose float32, bfloat16 or float16")
    unknown = sorted(changes.keys() - set(CHANGEABLE))
    if unknown:
        raise UserError(f"{unknown[0]} is no field that can be changed; choose among {', '.join(CHANGEABLE)}")


def _configuration(
    parts: Mapping[str, Part | None], tokenizer: PreTrainedTokenizerBase, size: str, changes: Mapping[str, Any]
) -> EarthGPTConfig:
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    text = {key: value for key, value in parts["llm"].model.config.to_dict().items() if key not in _FOREIGN_FIELDS}
    text_config = LlamaConfig.from_dict(text | ids)
    fields: dict[str, Any] = {"text_config": text_config, "tie_word_embeddings": text_config.tie_word_embeddings}
    if parts["vit"] is not None:
        depth = parts["vit"].model.config.num_hidden_layers
        fields["vit_config"] = parts["vit"].model.config
        fields["vit_layers"] = sorted({max(1, depth * quarter // 4) for quarter in (1, 2, 3, 4)})
    if parts["cnn"] is not None:
        fields["cnn_config"] = parts["cnn"].model.config
        fields["cnn_stages"] = list(range(1, len(parts["cnn"].model.config.depths) + 1))
    return preset(
        size,
        vocab_size=text_config.vocab_size,
        image_token_id=tokenizer.get_vocab()[IMAGE],
        **ids,
        **fields | dict(changes),
    )


def _joined(config: EarthGPTConfig, parts: Mapping[str, Part | None], seed: int) -> EarthGPTForConditionalGeneration:
    """The model around the loaded parts, which are moved into it and not copied."""
    with torch.device("meta"):
        model = EarthGPTForConditionalGeneration(config)
    language_model = parts["llm"].model
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model.vision.vit = _given(parts["vit"]) or _random(Dinov2Model(config.vit_config), scale_vit)
        model.vision.cnn = _given(parts["cnn"]) or _random(ConvNextModel(config.cnn_config), scale_cnn)
        model.projector = EarthGPTProjector(config)
        rms = language_model.get_input_embeddings().weight.float().square().mean().sqrt()
        scale_projector(model.projector, float(rms))
    model.language_model = language_model.model
    model.lm_head = language_model.lm_head
    return model


def _given(part: Part | None) -> nn.Module | None:
    return None if part is None else part.model


def _random(encoder: nn.Module, scale) -> nn.Module:
    scale(encoder)
    return encoder
