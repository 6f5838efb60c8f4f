"""Anybody's WebDataset tars through the `webdataset` library: streamed and packed as they come.

Nothing is known of such tars before they are read, so there is no plan: no exact epochs, no exact resume, and order and
packs depend on the number of ranks and workers. Each reader (a worker of a rank) has shards of its own and passes over
them again and again, in another order each time, through a shuffle buffer.

A sample is an image with a ``json`` member in LLaVA form (``conversations``, roles human and gpt) or in ours
(``dialogues``), or with a ``txt`` member, which is a caption.
"""

from __future__ import annotations

import hashlib
import io
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
import torch
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from mmrs.errors import RunFailure, UserError
from mmrs.instructions.prompts import CAPTIONING
from mmrs.seeding import permutation
from training.config import DataConfig, TrainConfig
from training.data.augment import Turns, draw, shade, turn_square
from training.data.collate import EncodedDialogue, EncodedUnit, Pack, assemble
from training.data.loader import BROKEN, quiet_worker
from training.data.planning.lengths import tokenizer_digest
from training.data.planning.plan import PlanSettings
from training.data.planning.pointer import Pointer, check_same_stream
from training.model.processing import IMAGE_MODES, EarthGPTProcessor, pad_and_resize

SOURCE = "webdataset"
NOTICE = (
    "data.webdataset: streamed without a plan. There is no exact epoch and no exact resume: a run that was stopped "
    "starts its shards anew, in another order, so some samples are repeated and others come later."
)
IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp")
FORMATS = ("JPEG", "PNG", "WEBP")
OPEN_PACKS = 16
_ROLES = {"human": "human", "user": "human", "gpt": "gpt", "assistant": "gpt"}
_PLACEHOLDER = re.compile(r"\s*<image>\s*")
# The library builds shell commands from URLs.
_SAFE_URL = re.compile(r"(?:https?|s3|gs|hf)://[\w.{][\w./:%+=,~{}@-]*|(?:file:)?[\w./~{][\w./%+=,~{}@-]*")


@dataclass(frozen=True)
class WebdatasetStream:
    """Takes the place of a `PackSequence`: a pointer that counts, and packs without end."""

    urls: tuple[str, ...]
    settings: PlanSettings
    tasks: tuple[str, ...] = (SOURCE,)

    def start(self) -> Pointer:
        """Pointer before the first pack."""
        return Pointer(self.settings, SOURCE)

    def check(self, pointer: Pointer) -> None:
        """Refuse a pointer into another stream. Raises UserError."""
        check_same_stream(pointer, self.settings)

    def advance(self, pointer: Pointer, packs: int, samples: int = 0, skipped: int = 0) -> Pointer:
        """The pointer after so many more packs and samples."""
        return replace(
            pointer,
            next_pack=pointer.next_pack + packs,
            samples=pointer.samples + samples,
            skipped=pointer.skipped + skipped,
        )


def open_webdataset(config: TrainConfig, processor: EarthGPTProcessor, max_positions: int) -> WebdatasetStream:
    """The stream of `data.webdataset`.

    Raises:
        UserError: the library is missing, or a URL is none that it should be given.
    """
    try:
        import braceexpand
        import webdataset  # noqa: F401
    except ImportError as error:
        raise UserError("data.webdataset needs the package webdataset: pip install 'mmrs[webdataset]'") from error
    patterns = config.data.webdataset
    for pattern in patterns:
        if not _SAFE_URL.fullmatch(pattern):
            raise UserError(
                f"data.webdataset: {pattern!r} is refused: give paths, or URLs of file, http(s), s3, gs or hf, with "
                "{00..09} for numbers and no other special character."
            )
    urls = tuple(url for pattern in patterns for url in braceexpand.braceexpand(pattern))
    settings = PlanSettings(
        data_set_id=hashlib.sha256("\n".join(patterns).encode()).hexdigest(),
        tokenizer_digest=tokenizer_digest(processor),
        seed=config.data.seed,
        tokens_per_pack=config.tokens_per_pack,
        prefix_tokens=len(processor.encode_prefix(True)),
        max_positions=max_positions,
        shuffle_block_samples=0,
        shuffle_window_blocks=0,
        packing_window_units=OPEN_PACKS,
    )
    return WebdatasetStream(urls, settings)


def webdataset_loader(
    stream: WebdatasetStream,
    processor: EarthGPTProcessor,
    config: TrainConfig,
    pointer: Pointer,
    rank: int = 0,
    world_size: int = 1,
    pin_memory: bool = False,
) -> DataLoader:
    """Endless packs of one rank.

    Raises:
        UserError: there are fewer shards than readers.
    """
    readers = max(1, config.workers) * world_size
    if len(stream.urls) < readers:
        raise UserError(
            f"data.webdataset has {len(stream.urls)} shards for {readers} readers ({world_size} ranks of "
            f"{max(1, config.workers)} workers), and each needs one of its own. Set workers lower, or cut the shards."
        )
    dataset = ForeignPacks(stream, processor, config.data, pointer.next_pack, rank, world_size)
    return DataLoader(
        dataset,
        batch_size=None,
        num_workers=config.workers,
        collate_fn=_unchanged,
        pin_memory=pin_memory,
        worker_init_fn=quiet_worker,
        generator=torch.Generator().manual_seed(0),
        prefetch_factor=4 if config.workers else None,
    )


def _unchanged(pack: Any) -> Pack:
    return pack


@dataclass
class ForeignPacks(IterableDataset):
    """Packs of one reader, filled from its shards. `begun_at` is the number of packs that earlier runs consumed."""

    stream: WebdatasetStream
    processor: EarthGPTProcessor
    data: DataConfig
    begun_at: int = 0
    rank: int = 0
    world_size: int = 1

    def __iter__(self) -> Iterator[Pack]:
        worker = get_worker_info()
        workers, number = (worker.num_workers, worker.id) if worker else (1, 0)
        reader, readers = self.rank * workers + number, self.world_size * workers
        packer = _Packer(self.processor, self.stream.settings.tokens_per_pack)
        turn = 0
        while True:
            found = False
            for sample in self._samples(turn, reader, readers, packer):
                unit = self._unit(sample, turn, packer)
                found = found or unit is not None
                if unit is not None:
                    yield from packer.add(unit, turn)
            if not found:
                shards = self.stream.urls[reader::readers]
                fault = f" The last fault: {': '.join(packer.skipped[-1])}" if packer.skipped else ""
                raise RunFailure(
                    f"data.webdataset: no usable sample in a pass over {len(shards)} shards from {shards[0]} on.{fault}"
                )
            turn += 1

    def _samples(self, turn: int, reader: int, readers: int, packer: _Packer) -> Iterable[dict[str, Any]]:
        import webdataset

        key = (self.stream.settings.data_set_id, self.data.seed, self.begun_at, turn)
        mine = self.stream.urls[reader::readers]
        order = [mine[place] for place in permutation(len(mine), *key, reader)]

        def note(error: Exception) -> bool:
            url = next((part for part in reversed(error.args) if isinstance(part, str)), "?")
            said = " ".join(str(part) for part in error.args if isinstance(part, int | str) and part != url)
            packer.skipped.append((f"{SOURCE}/{url}", f"{type(error).__name__}: {said}"))
            return True

        return webdataset.DataPipeline(
            webdataset.SimpleShardList(order),
            webdataset.tarfile_to_samples(handler=note),
            webdataset.shuffle(self.data.webdataset_shuffle, rng=random.Random("/".join(map(str, (*key, reader))))),
        )

    def _unit(self, sample: dict[str, Any], turn: int, packer: _Packer) -> EncodedUnit | None:
        name = f"{SOURCE}/{sample['__key__']}"
        try:
            suffix, dialogues = image_suffix(sample), dialogues_of(sample)
            encoded = tuple(EncodedDialogue(*self.processor.encode_dialogue(turns), 0) for turns in dialogues)
            tokens = packer.cost(encoded)
            settings = self.stream.settings
            if tokens > settings.tokens_per_pack or max(map(packer.cost_of_one, encoded)) > settings.max_positions:
                raise ValueError(f"{tokens} tokens with the image; a pack takes {settings.tokens_per_pack}")
            pixels_CHW = self._pixels(sample[suffix], (self.data.seed, self.begun_at, turn, name))
        except (*BROKEN, KeyError, TypeError) as error:
            packer.skipped.append((name, f"{type(error).__name__}: {error}"))
            return None
        return EncodedUnit(name, pixels_CHW, encoded)

    def _pixels(self, content: bytes, key: tuple[str | int, ...]) -> Any:
        size = self.processor.image_processor.image_size
        with Image.open(io.BytesIO(content), formats=FORMATS) as opened:
            image = opened if opened.mode in IMAGE_MODES else opened.convert("RGB")
            if self.data.augment is None:
                return pad_and_resize(image, size)
            # What the text says of places is not known here, so nothing is moved.
            augmentation = draw(self.data.augment.model_copy(update={"dihedral": False}), *key)
            return turn_square(pad_and_resize(shade(image, augmentation), size), augmentation)


@dataclass
class _Packer:
    """Packs that are being filled, oldest first; a unit goes into the fullest one that takes it.

    The oldest one is closed, not the fullest: a pack with little room would else keep its samples for ever.
    """

    processor: EarthGPTProcessor
    tokens_per_pack: int
    skipped: list[tuple[str, str]] = field(default_factory=list)
    number: int = 0
    _open: list[tuple[int, list[EncodedUnit]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._prefix = self.processor.encode_prefix(True)

    def cost(self, dialogues: Sequence[EncodedDialogue]) -> int:
        return len(self._prefix) + sum(len(dialogue.ids) for dialogue in dialogues)

    def cost_of_one(self, dialogue: EncodedDialogue) -> int:
        return self.cost((dialogue,))

    def add(self, unit: EncodedUnit, turn: int) -> Iterator[Pack]:
        """Place one unit; yields the oldest pack where too many are open."""
        tokens = self.cost(unit.dialogues)
        fitting = [number for number, (used, _) in enumerate(self._open) if used + tokens <= self.tokens_per_pack]
        if fitting:
            place = max(fitting, key=lambda number: self._open[number][0])
            used, units = self._open[place]
            self._open[place] = (used + tokens, [*units, unit])
        else:
            self._open.append((tokens, [unit]))
        if len(self._open) > OPEN_PACKS:
            yield self._finish(self._open.pop(0)[1], turn)

    def _finish(self, units: list[EncodedUnit], turn: int) -> Pack:
        skipped, self.skipped = tuple(self.skipped), []
        self.number += 1
        return assemble(
            units,
            self._prefix,
            self.tokens_per_pack,
            self.processor.tokenizer.pad_token_id,
            self.processor.image_processor.image_size,
            epoch=turn,
            number=self.number - 1,
            skipped=skipped,
        )


def image_suffix(sample: dict[str, Any]) -> str:
    """The suffix of the sample's image. Raises ValueError where there is none."""
    for suffix in IMAGE_SUFFIXES:
        if suffix in sample:
            return suffix
    raise ValueError(f"no image among {sorted(name for name in sample if not name.startswith('__'))}")


def dialogues_of(sample: dict[str, Any]) -> list[Turns]:
    """The (role, text) turns of each dialogue of a sample.

    Raises:
        ValueError: no text, or text in another form.
    """
    if "json" not in sample:
        if "txt" not in sample:
            raise ValueError("neither a json nor a txt member")
        return [[("human", CAPTIONING), ("gpt", sample["txt"].decode().strip())]]
    content = orjson.loads(sample["json"])
    if not isinstance(content, dict):
        raise ValueError(f"json is a {type(content).__name__}, not an object")
    listed = (
        [dialogue["turns"] for dialogue in content["dialogues"]]
        if "dialogues" in content
        else [content["conversations"]]
    )
    dialogues = [[_turn(turn) for turn in turns] for turns in listed]
    for turns in dialogues:
        roles = [role for role, _ in turns]
        if not turns or roles != ["human", "gpt"] * (len(turns) // 2):
            raise ValueError(f"turns must alternate human, gpt; found {roles}")
    if not dialogues:
        raise ValueError("no dialogue")
    return dialogues


def _turn(turn: dict[str, str]) -> tuple[str, str]:
    role, text = turn.get("from", turn.get("role")), turn.get("value", turn.get("content"))
    if role not in _ROLES or not isinstance(text, str):
        raise ValueError(f"a turn needs a role of {', '.join(_ROLES)} and a text; found {turn!r}"[:200])
    return _ROLES[role], _PLACEHOLDER.sub(" ", text).strip() if "<image>" in text else text
