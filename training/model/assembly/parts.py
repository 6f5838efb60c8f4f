"""The parts of a model to assemble, read from folders, single files or the hub: encoders and language model."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
import struct
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import yaml
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import cached_file

from mmrs.config import parse_yaml
from mmrs.errors import UserError
from mmrs.installation import install_command
from training.model.assembly.original import (
    WEIGHT_FILES,
    FindFile,
    OriginalCheckpoint,
    original_of_repository,
    read_state,
    stated_statistics,
)
from training.model.configuration import EarthGPTConfig
from training.model.folder import quiet_transformers, sound_model, without_foreign_code
from training.model.language.decoder import Decoder, decoder_of_type, decoder_types
from training.model.modeling.generation import EarthGPTForConditionalGeneration
from training.model.origin.card import LANGUAGE_MODEL, NOT_STATED
from training.model.vision.encoder import (
    EncoderEntry,
    PixelStatistics,
    encoder_of,
    encoder_of_state,
    encoder_of_type,
    encoder_types,
)

_GGUF_HEAD_BYTES, _LICENCE_CHARACTERS = 2**20, 200
# What transformers, torch and safetensors raise for files and answers that they cannot make sense of.
_UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ImportError,
    RuntimeError,
    EOFError,
    SafetensorError,
    UnpicklingError,
)


@dataclass(frozen=True, eq=False)
class Part:
    """A loaded part: its role, the hub name or the name of its folder or file, and the licence that is stated there.

    `statistics` are the pixels that an encoder's source says it was trained with; None where it does not. `entry` is
    what the EarthGPT that an encoder is taken from says of it: image size, layers and their fusion.
    """

    role: str
    origin: str
    licence: str
    model: Any
    statistics: PixelStatistics | None = None
    entry: EncoderEntry | None = None


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A loaded causal language model with its tokenizer."""

    part: Part
    tokenizer: PreTrainedTokenizerBase


def read_encoder(name: str, source: str) -> Part:
    """An image encoder: a Hugging Face folder or hub name, of timm and OpenCLIP too, or a checkpoint file of its
    authors, OpenCLIP or timm; or the encoder of this name of an EarthGPT, as training left it.

    What only its pre-training used is left out: a parameter that gets no gradient cannot be trained.

    Args:
        name: what the model calls it.

    Raises:
        UserError: the source cannot be read, or is no encoder that is known.
    """
    path = _local(source)
    find = partial(_file_of, source, path)
    if path is not None and _is_earthgpt(path):
        return _of_earthgpt(name, source, path)
    try:
        original = _original(name, path, find)
        if original is not None:
            model = _of_original(original)
            statistics = original.statistics
        else:
            model, statistics = _of_hugging_face(name, source), stated_statistics(find)
    except _UNREADABLE as error:
        raise _unreadable(name, source, "a Hugging Face folder, a checkpoint file or a hub name", error) from error
    encoder_of(model.config).trim(model)
    return Part(name, _origin(source), licence_of(source), model, statistics)


def _is_earthgpt(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / "config.json").read_bytes())["model_type"] == EarthGPTConfig.model_type)
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return False


def _of_earthgpt(name: str, source: str, folder: Path) -> Part:
    with quiet_transformers(), sound_model(folder):
        model = EarthGPTForConditionalGeneration.from_pretrained(folder)
    entries = {entry.name: entry for entry in model.config.entries}
    if name not in entries:
        raise UserError(
            f"the EarthGPT in {source} has no encoder {name}; it has {', '.join(entries)}: give --encoder "
            f"NAME={source} with one of these names."
        )
    return Part(name, _origin(source), licence_of(source), model.vision.get_submodule(name), entry=entries[name])


def _original(name: str, path: Path | None, find: FindFile) -> OriginalCheckpoint | None:
    """A checkpoint in the form of its authors; None for a Hugging Face model."""
    if path is not None and path.is_file():
        return OriginalCheckpoint(read_state(path))
    original = original_of_repository(find)
    if original is None and path is not None and not (path / "config.json").is_file():
        return OriginalCheckpoint(read_state(_weights_file(name, path)))
    return original


def _of_original(original: OriginalCheckpoint) -> Any:
    try:
        return encoder_of_state(original.state).from_original(original.state, original.facts)
    except ValueError as error:
        if not original.kind:
            raise
        raise ValueError(
            f"it is a {original.kind}: {error} Most encoders are on the hub as a Hugging Face model too: "
            "--encoder NAME=facebook/dinov3-vitl16-pretrain-lvd1689m for instance."
        ) from error


def _of_hugging_face(name: str, source: str) -> Any:
    with without_foreign_code(source) as safe:
        config = AutoConfig.from_pretrained(source, **safe)
    # A whole vision-language model holds its encoder's configuration under this name.
    config = getattr(config, "vision_config", config)
    if config.model_type not in encoder_types():
        raise UserError(f"{name} {source} is a {config.model_type} model; give one of {', '.join(encoder_types())}")
    loader: Any = encoder_of_type(config.model_type).model_class
    with without_foreign_code(source) as safe:
        return loader.from_pretrained(source, config=config, dtype="auto", use_safetensors=True, **safe)


def _file_of(source: str, path: Path | None, name: str) -> Path | None:
    """A file of a folder or hub repository; None where it has none of the name."""
    if path is not None:
        return path / name if (path / name).is_file() else None
    found = cached_file(source, name, _raise_exceptions_for_missing_entries=False)
    return None if found is None else Path(found)


def read_language_model(source: str) -> LanguageModel:
    """A causal language model and its tokenizer: Hugging Face folder, hub name, or GGUF file.

    A quantised GGUF is brought to fp32.

    Raises:
        UserError: the source cannot be read, or is no decoder that is known.
    """
    path = _local(source)
    location, extra = source, {}
    if path is not None:
        gguf = path if path.is_file() else _only_gguf(path)
        location = str(path)
        if gguf is not None:
            _check_gguf_readers(source)
            location, extra = str(gguf.parent), {"gguf_file": gguf.name}
    try:
        with without_foreign_code(source) as safe:
            config = AutoConfig.from_pretrained(location, **extra, **safe)
            decoder = _decoder(source, config.model_type, is_gguf=bool(extra))
            tokenizer = AutoTokenizer.from_pretrained(location, **extra, **safe)
            safetensors = {} if extra else {"use_safetensors": True}
            options = safetensors | extra | safe
            model = AutoModelForCausalLM.from_pretrained(location, config=config, dtype="auto", **options)
    except _UNREADABLE as error:
        wanted = f"a folder of {' or '.join(decoder_types())}, a GGUF file or a hub name"
        raise _unreadable(LANGUAGE_MODEL, source, wanted, error) from error
    if not isinstance(model, decoder.causal_class):
        raise UserError(
            f"{LANGUAGE_MODEL} {source} loads as {type(model).__name__}; give a {decoder.causal_class.__name__}"
        )
    return LanguageModel(Part(LANGUAGE_MODEL, _origin(source), licence_of(source), model), tokenizer)


def licence_of(source: str) -> str:
    """The licence that a part states: `license` in its model card, in its GGUF header, or a licence file's title."""
    path = _local(source)
    if path is None:
        with contextlib.suppress(OSError):
            card = cached_file(source, "README.md", _raise_exceptions_for_missing_entries=False)
            return (_card_licence(Path(card)) if card else None) or NOT_STATED
        return NOT_STATED
    folder = path if path.is_dir() else path.parent
    gguf = path if path.suffix == ".gguf" else _only_gguf(folder)
    stated = _card_licence(folder / "README.md") or (_gguf_licence(gguf) if gguf else None)
    for file in sorted(folder.glob("LICEN[CS]E*")):
        title = next((line.strip() for line in file.read_text(errors="replace").splitlines() if line.strip()), "")
        stated = stated or title or None
    return stated or NOT_STATED


def _decoder(source: str, model_type: str, is_gguf: bool) -> Decoder:
    if model_type not in decoder_types():
        raise UserError(
            f"{LANGUAGE_MODEL} {source} is a {model_type} model; give one of {', '.join(decoder_types())} (model_type)"
        )
    decoder = decoder_of_type(model_type)
    if is_gguf and not decoder.reads_gguf:
        raise UserError(f"{LANGUAGE_MODEL} {source} is a {model_type} GGUF file; give its Hugging Face folder")
    return decoder


def _local(source: str) -> Path | None:
    """The path that `source` names, or None for a hub name, ``owner/name``."""
    path = Path(source)
    if path.exists():
        return path
    is_file = path.suffix in (*WEIGHT_FILES, ".gguf")
    if source.count("/") == 1 and not source.startswith((".", "/", "~")) and not is_file:
        return None
    raise UserError(f"there is no file or folder {source}. Give an existing path, or a hub name such as owner/name.")


def _origin(source: str) -> str:
    # A path of this machine is nobody's business once the folder is published.
    path = _local(source)
    return source if path is None else path.resolve().name


def _weights_file(role: str, path: Path) -> Path:
    if path.is_file():
        return path
    found = [file for file in sorted(path.iterdir()) if file.suffix in WEIGHT_FILES]
    if len(found) != 1:
        raise UserError(
            f"{role} {path} has no config.json and {len(found)} weight files ({', '.join(WEIGHT_FILES)}); give the "
            "file itself"
        )
    return found[0]


def _only_gguf(folder: Path) -> Path | None:
    """The folder's GGUF file if that is what it holds: no config.json, one such file."""
    found = sorted(folder.glob("*.gguf"))
    return found[0] if len(found) == 1 and not (folder / "config.json").is_file() else None


def _card_licence(card: Path) -> str | None:
    if not card.is_file():
        return None
    front = re.match(r"---[^\S\n]*\n(.*?)\n---", card.read_text(errors="replace"), re.DOTALL)
    try:
        fields = parse_yaml(front[1]) if front else None
    except yaml.YAMLError:
        return None
    if not isinstance(fields, dict) or not fields.get("license"):
        return None
    return str(fields.get("license_name") or fields["license"])


def _check_gguf_readers(source: str) -> None:
    missing = [name for name in ("gguf", "accelerate") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"{LANGUAGE_MODEL} {source} is a GGUF file, which needs {' and '.join(missing)} to read: "
            f"{install_command('gguf')}"
        )


def _gguf_licence(path: Path) -> str | None:
    """The text of ``general.license``, which stands early in the header: a full parse takes seconds.

    A header field is the key's length (8 bytes), the key, a type (4 bytes, 8 for text), a length (8 bytes), the text.
    """
    with path.open("rb") as file:
        head = file.read(_GGUF_HEAD_BYTES)
    key = b"general.license"
    _, found, rest = head.partition(struct.pack("<Q", len(key)) + key + struct.pack("<I", 8))
    if not found or len(rest) < 8:
        return None
    (length,) = struct.unpack("<Q", rest[:8])
    return rest[8 : 8 + length].decode(errors="replace") if length <= _LICENCE_CHARACTERS else None


def _unreadable(role: str, source: str, wanted: str, error: Exception) -> UserError:
    first = str(error).strip().splitlines()
    reason = f"{role} {source} cannot be read: {first[0] if first else type(error).__name__}"
    if not Path(source).exists():
        return UserError(
            f"{reason} Check the name; a gated model needs `hf auth login`; where there is no network, give a folder "
            f"that `hf download {source} --local-dir FOLDER` made elsewhere."
        )
    return UserError(f"{reason} Give {wanted}.")
