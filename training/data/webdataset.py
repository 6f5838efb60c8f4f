"""Anybody's WebDataset tars through the `webdataset` library: streamed and packed as they come.

Nothing is known of such tars before they are read, so there is no plan: no exact epochs, no exact resume, and order and
packs depend on the number of ranks and workers. Each reader (a worker of a rank) has shards of its own and passes over
them again and again, in another order each time, through a shuffle buffer.

What a sample may look like: `training.data.dialogue_parsing`.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from mmrs.errors import RunFailure, UserError
from mmrs.imaging.probe import probe
from mmrs.imaging.store import read_upright
from mmrs.installation import install_command
from mmrs.seeding import permutation
from training.config import TrainConfig
from training.data.augment import Augmentation, Turns, draw, shade, turn_square
from training.data.collate import EncodedDialogue, EncodedUnit, Pack, collate_packs
from training.data.dialogue_parsing import PictureWithTexts, parse_texts, pictures_of
from training.data.loader import BROKEN, pack_loader
from training.data.planning.lengths import tokenizer_digest
from training.data.planning.plan import PlanSettings
from training.data.planning.pointer import Pointer, Position, check_same_stream
from training.data.stream import RankOf
from training.model.inputs.image_processor import pad_and_resize
from training.model.processing import EarthGPTProcessor

SOURCE = "webdataset"
NOTICE = (
    "data.webdataset: streamed without a plan. There is no exact epoch and no exact resume: a run that was stopped "
    "starts its shards anew, in another order, so some samples are repeated and others come later."
)
CLASS_LISTS = ("classes.txt", "classes.json")
OPEN_PACKS = 16
# The library builds shell commands from URLs.
_SAFE_URL = re.compile(r"(?:https?|s3|gs|hf)://[\w.{][\w./:%+=,~{}@-]*|(?:file:)?[\w./~{][\w./%+=,~{}@-]*")


Key = tuple[str | int, ...]


@dataclass(frozen=True)
class WebdatasetStream:
    """Packs without end from the tars `urls`; its pointer only counts. A `training.data.stream.Stream`."""

    urls: tuple[str, ...]
    settings: PlanSettings
    processor: EarthGPTProcessor
    config: TrainConfig
    total_steps: int
    classes: tuple[str, ...] = ()

    @property
    def tasks(self) -> tuple[str, ...]:
        return (SOURCE,)

    @property
    def sensors(self) -> dict[str, str]:
        return {SOURCE: "unknown"}

    def start(self) -> Pointer:
        return Pointer(self.settings, SOURCE)

    def check(self, pointer: Pointer) -> None:
        check_same_stream(pointer, self.settings)

    def advance(self, pointer: Pointer, packs: int, samples: int = 0, skipped: int = 0) -> Pointer:
        return replace(
            pointer,
            next_pack=pointer.next_pack + packs,
            samples=pointer.samples + samples,
            skipped=pointer.skipped + skipped,
        )

    def loader(self, start: Position, ranks: RankOf) -> DataLoader:
        workers = self.config.workers
        readers = max(1, workers) * ranks.size
        if len(self.urls) < readers:
            raise UserError(
                f"data.webdataset has {len(self.urls)} shards for {readers} readers ({ranks.size} ranks of "
                f"{max(1, workers)} workers), and each needs one of its own. Set workers lower, or cut the shards."
            )
        dataset = WebdatasetPacks(self, start.pointer.next_pack, ranks.rank, ranks.size)
        return pack_loader(dataset, None, workers, pin_memory=self.config.device == "cuda")

    def summary(self) -> dict[str, Any]:
        return {
            "shards": len(self.urls),
            "steps": self.total_steps,
            "packs_per_step": self.config.packs_per_step,
            "stream": self.start().to_dict(),
        }

    def describe(self) -> list[str]:
        return [NOTICE]


def open_webdataset(config: TrainConfig, processor: EarthGPTProcessor, max_positions: int) -> WebdatasetStream:
    """The stream of `data.webdataset`.

    Raises:
        UserError: the library is missing, a URL is none that it should be given, the run has no length, or a list of
            class names cannot be read.
    """
    try:
        import braceexpand
        import webdataset  # noqa: F401
    except ImportError as error:
        raise UserError(f"data.webdataset needs the package webdataset: {install_command('webdataset')}") from error
    if config.max_steps is None:
        raise UserError("data.webdataset has no epochs that could be counted ahead: --set max_steps=1000 epochs=null")
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
    return WebdatasetStream(urls, settings, processor, config, config.max_steps, _class_names(config, urls))


@dataclass
class WebdatasetPacks(IterableDataset):
    """Packs of one reader, filled from its shards. `begun_at` is the number of packs that earlier runs consumed."""

    stream: WebdatasetStream
    begun_at: int = 0
    rank: int = 0
    world_size: int = 1

    def __iter__(self) -> Iterator[Pack]:
        worker = get_worker_info()
        workers, number = (worker.num_workers, worker.id) if worker else (1, 0)
        reader, readers = self.rank * workers + number, self.world_size * workers
        packer = _Packer(self.stream.processor, self.stream.settings.tokens_per_pack)
        turn = 0
        while True:
            found = False
            for sample in self._samples(turn, reader, readers, packer):
                for unit in self._units(sample, turn, packer):
                    found = True
                    yield from packer.add(unit, turn)
            if not found:
                raise self._unusable(reader, readers, packer)
            turn += 1

    def one_pass(self) -> Iterator[Pack]:
        """The packs of a single pass over this reader's shards, the last ones not full.

        Raises:
            RunFailure: it has no usable sample.
        """
        packer = _Packer(self.stream.processor, self.stream.settings.tokens_per_pack)
        for sample in self._samples(0, self.rank, self.world_size, packer):
            for unit in self._units(sample, 0, packer):
                yield from packer.add(unit, 0)
        yield from packer.rest(0)
        if not packer.number:
            raise self._unusable(self.rank, self.world_size, packer)

    def _unusable(self, reader: int, readers: int, packer: _Packer) -> RunFailure:
        shards = self.stream.urls[reader::readers]
        fault = f" The last fault: {': '.join(packer.skipped[-1])}" if packer.skipped else ""
        return RunFailure(
            f"data.webdataset: no usable sample in a pass over {len(shards)} shards from {shards[0]} on.{fault}"
        )

    def _samples(self, turn: int, reader: int, readers: int, packer: _Packer) -> Iterable[dict[str, Any]]:
        import webdataset

        data = self.stream.config.data
        key = (self.stream.settings.data_set_id, data.seed, self.begun_at, turn)
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
            webdataset.shuffle(data.webdataset_shuffle, rng=random.Random("/".join(map(str, (*key, reader))))),
        )

    def _units(self, sample: dict[str, Any], turn: int, packer: _Packer) -> Iterator[EncodedUnit]:
        """The pictures of a sample with their texts; what cannot be used is noted in `packer.skipped`."""
        try:
            pictures = list(pictures_of(sample))
        except ValueError as error:
            packer.skipped.append((f"{SOURCE}/{sample['__key__']}", f"{type(error).__name__}: {error}"))
            return
        for picture in pictures:
            name = f"{SOURCE}/{picture.name}"
            try:
                parsed = parse_texts(picture.texts, self.stream.classes)
                packer.skipped += [(name, f"left out: {reason}") for reason in parsed.left_out]
                yield self._unit(picture, parsed.dialogues, turn, packer)
            except (*BROKEN, KeyError, TypeError) as error:
                packer.skipped.append((name, f"{type(error).__name__}: {error}"))

    def _unit(self, picture: PictureWithTexts, dialogues: Sequence[Turns], turn: int, packer: _Packer) -> EncodedUnit:
        name = f"{SOURCE}/{picture.name}"
        encoded = tuple(EncodedDialogue(*self.stream.processor.encode_dialogue(turns), 0) for turns in dialogues)
        images = len(picture.images)
        tokens = packer.cost(encoded, images)
        settings = self.stream.settings
        longest = max(packer.cost((dialogue,), images) for dialogue in encoded)
        if tokens > settings.tokens_per_pack or longest > settings.max_positions:
            raise ValueError(
                f"{tokens} tokens with {images} images; a pack takes {settings.tokens_per_pack}, and the model "
                f"{settings.max_positions} positions, of which one dialogue with its images needs {longest}"
            )
        # Of one key, so that pictures which are compared are changed alike.
        key = (settings.seed, self.begun_at, turn, name)
        squares = [self._pixels(picture.name, image, key) for image in picture.images]
        augmented = squares[0][1] if squares else self._unchanged()
        pixels = [pixels_CHW for pixels_CHW, _ in squares]
        return EncodedUnit(name, pixels[0] if pixels else None, encoded, augmented, tuple(pixels[1:]))

    def _unchanged(self) -> tuple[bool, ...]:
        """What is noted of a unit without a picture."""
        return () if self.stream.config.data.augment is None else (False,) * len(Augmentation().kinds)

    def _pixels(self, name: str, data_of_image: bytes, key: Key) -> tuple[np.ndarray, tuple[bool, ...]]:
        """The square, and which kinds of augmentation changed it."""
        size, data = self.stream.processor.image_processor.image_size, self.stream.config.data
        # The very functions of `mmrs build`, so that a picture looks the same whichever way it comes.
        named = Path(name)
        header = probe(named, data=data_of_image)
        image = Image.fromarray(read_upright(named, header, data.webdataset_sensor, data=data_of_image).pixels)
        if data.augment is None:
            return pad_and_resize(image, size), ()
        # What the text says of places is not known here, so nothing is moved.
        augmentation = draw(data.augment.model_copy(update={"dihedral": False}), *key)
        return turn_square(pad_and_resize(shade(image, augmentation), size), augmentation), augmentation.kinds


def _class_names(config: TrainConfig, urls: Sequence[str]) -> tuple[str, ...]:
    """Names by number: those of `data.webdataset_classes`, else of the list beside local tars, else none.

    Raises:
        UserError: the list cannot be read, or tars lie beside lists that differ.
    """
    if config.data.webdataset_classes is not None:
        return _read_class_names(config.data.webdataset_classes)
    folders = {Path(url.removeprefix("file:")).parent for url in urls if "://" not in url}
    found = sorted(folder / name for folder in folders for name in CLASS_LISTS if (folder / name).is_file())
    lists = {_read_class_names(path) for path in found}
    if len(lists) > 1:
        raise UserError(
            f"{', '.join(map(str, found))} name classes differently: say which with --set data.webdataset_classes="
            f"{found[0]}"
        )
    return next(iter(lists), ())


def _read_class_names(path: Path) -> tuple[str, ...]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        names = orjson.loads(text) if path.suffix == ".json" else text.splitlines()
    except (OSError, ValueError) as error:
        raise UserError(f"data.webdataset_classes: {path} cannot be read: {error}") from error
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise UserError(
            f"data.webdataset_classes: {path} is no list of names; write one name a line, class 0 first, or a JSON list"
        )
    return tuple(name.strip() for name in names)


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

    def cost(self, dialogues: Sequence[EncodedDialogue], images: int) -> int:
        prefix = len(self._prefix) + (images - 1) * self.processor.image_slots
        return prefix + sum(len(dialogue.ids) for dialogue in dialogues)

    def add(self, unit: EncodedUnit, turn: int) -> Iterator[Pack]:
        """Place one unit; yields the oldest pack where too many are open."""
        tokens = self.cost(unit.dialogues, len(unit.images))
        fitting = [number for number, (used, _) in enumerate(self._open) if used + tokens <= self.tokens_per_pack]
        if fitting:
            place = max(fitting, key=lambda number: self._open[number][0])
            used, units = self._open[place]
            self._open[place] = (used + tokens, [*units, unit])
        else:
            self._open.append((tokens, [unit]))
        if len(self._open) > OPEN_PACKS:
            yield self._finish(self._open.pop(0)[1], turn)

    def rest(self, turn: int) -> Iterator[Pack]:
        """All packs that are open, oldest first."""
        while self._open:
            yield self._finish(self._open.pop(0)[1], turn)

    def _finish(self, units: list[EncodedUnit], turn: int) -> Pack:
        skipped, self.skipped = tuple(self.skipped), []
        self.number += 1
        return collate_packs(
            units,
            self._prefix,
            self.tokens_per_pack,
            self.processor.tokenizer.pad_token_id,
            self.processor.image_processor.image_size,
            image_slots=self.processor.image_slots,
            epoch=turn,
            number=self.number - 1,
            skipped=skipped,
        )
