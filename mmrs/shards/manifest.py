"""`manifest.json`: every shard of a data set with its digests, and what a user must know of the sources.

The sha256 of the manifest's canonical JSON (without `id`) is the data set's id. Nothing in it depends on the machine,
the number of workers or the time of the build.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from mmrs.config import StrictModel
from mmrs.errors import UserError
from mmrs.record import canonical_json
from mmrs.storage.local import LocalPlace
from mmrs.storage.place import ReadablePlace, read_settled

MANIFEST_NAME = "manifest.json"
SHARD_PATH = r"^[a-z0-9-]+/[a-z0-9_-]+-\d{5}-of-\d{5}\.tar$"
_NAME = re.compile(r"[a-z0-9_-]{1,100}")
# Digests name files of a reader's cache, so those of a stranger's manifest must be digests.
SHA256 = r"^[0-9a-f]{64}$"
# Of a manifest with 100,000 shards, ten times over; nothing larger is read.
MOST_MANIFEST_BYTES = 512 * 2**20
MOST_INDEX_BYTES = 2**31
# What JSON says exactly; sums of it fit 64 bits.
MOST_COUNT = 2**53
_Count = Annotated[int, Field(ge=0, le=MOST_COUNT)]
_ABSENT_AT_ZERO = ("absent", "several_images", "images_with_objects_in_no_dialogue", "objects_in_no_dialogue")


class ShardEntry(StrictModel):
    """One tar and its index. Paths are relative to the data set's folder; sizes in bytes."""

    source: str
    split: str
    path: str = Field(pattern=SHARD_PATH)
    records: int = Field(gt=0, le=MOST_COUNT)
    bytes: int = Field(ge=0, le=MOST_COUNT)
    sha256: str = Field(pattern=SHA256)
    index_bytes: int = Field(ge=0, le=MOST_INDEX_BYTES)
    index_sha256: str = Field(pattern=SHA256)

    @property
    def index_path(self) -> str:
        return index_path(self.path)


class SplitCounts(StrictModel):
    """What a split holds. `dialogues` counts per task. `quarantined_items` are bad images and `quarantined_objects` bad
    annotation rows, `absent` are things that are not there, `excluded` sound images that the recipe leaves out by name:
    none of them are stored. Findings about a whole source count as items of its first
    split. `objects` are not ignored; `objects_in_no_dialogue` are those that a detection task was to list and that no
    dialogue does, in `images_with_objects_in_no_dialogue`: they are missing in training text, never in evaluation.
    `several_images` counts the records of more than one image by their number of images. The JSON has these three and
    `absent` only where there are any, so that earlier data sets keep their id."""

    records: _Count = 0
    objects: _Count = 0
    ignored_objects: _Count = 0
    captions: _Count = 0
    reencoded: _Count = 0
    dialogues: dict[str, _Count] = Field(default_factory=dict)
    quarantined_items: _Count = 0
    quarantined_objects: _Count = 0
    excluded: _Count = 0
    absent: _Count = 0
    images_with_objects_in_no_dialogue: _Count = 0
    objects_in_no_dialogue: _Count = 0
    several_images: dict[str, _Count] = Field(default_factory=dict)

    @property
    def images(self) -> int:
        """Of all records."""
        return self.records + sum((int(images) - 1) * count for images, count in self.several_images.items())

    @model_serializer(mode="wrap")
    def _without_zeros(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = serialise(self)
        return {name: value for name, value in values.items() if value or name not in _ABSENT_AT_ZERO}


COUNTS_BY_WORD = ("dialogues", "several_images")
COUNTS = tuple(name for name in SplitCounts.model_fields if name not in COUNTS_BY_WORD)
"""Fields of `SplitCounts`: numbers, and numbers by word."""


def sum_counts(parts: Iterable[SplitCounts]) -> SplitCounts:
    """The counts of all parts together."""
    numbers: Counter[str] = Counter()
    by_word: dict[str, Counter[str]] = {name: Counter() for name in COUNTS_BY_WORD}
    for part in parts:
        numbers.update({name: getattr(part, name) for name in COUNTS})
        for name, counts in by_word.items():
            counts.update(getattr(part, name))
    sorted_words = {name: dict(sorted(counts.items())) for name, counts in by_word.items()}
    return SplitCounts.model_validate(dict(numbers) | sorted_words)


class SourceEntry(StrictModel):
    """What a user must know of a source. `train_splits` are meant to be trained on; the others are evaluated on."""

    sensor: str
    licence: str
    tasks: tuple[str, ...]
    train_splits: tuple[str, ...] = ("train",)
    categories: tuple[str, ...]
    image_suffix: dict[str, Literal["jpg", "png"]]
    converter_version: int
    options: dict[str, Any]
    splits: dict[str, SplitCounts]


class ParentEntry(StrictModel):
    """A build whose shards a data set was put together of: its id, how it was made, and the ``<source>/<split>`` of
    which shards were taken."""

    id: str = Field(pattern=SHA256)
    tool_version: str
    recipe_digest: str
    recipe: dict[str, Any]
    parts: tuple[str, ...]


class Manifest(StrictModel):
    """A whole data set. `recipe` is what was asked for, as far as it can change the output (validation level, seed,
    dialect, limits); its digest is `recipe_digest`. `parents` are the builds that `mmrs merge` or `mmrs split` took the
    shards from; the JSON of a build has none, so that its id is what it was."""

    format: Literal["mmrs-manifest-1"] = "mmrs-manifest-1"
    tool_version: str
    recipe_digest: str
    recipe: dict[str, Any] = Field(default_factory=dict)
    sources: dict[str, SourceEntry]
    shards: tuple[ShardEntry, ...]
    quarantine_sha256: str
    parents: tuple[ParentEntry, ...] = ()
    id: str = ""

    @model_serializer(mode="wrap")
    def _without_no_parents(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = serialise(self)
        return {name: value for name, value in values.items() if value or name != "parents"}

    @property
    def dialect_name(self) -> str:
        """The box dialect that the text was written in: `mmrs.instructions.dialects` has it."""
        return str(self.recipe.get("dialect", "mmrs"))

    def with_id(self) -> Manifest:
        """The manifest with its id filled in."""
        return self.model_copy(update={"id": self.computed_id()})

    def computed_id(self) -> str:
        """sha256 of the canonical JSON of everything but `id`."""
        return hashlib.sha256(canonical_json(self.model_dump(mode="json", exclude={"id"}))).hexdigest()

    def to_json(self) -> bytes:
        """Readable JSON with sorted keys; the id is computed on the canonical form, not on these bytes."""
        return orjson.dumps(
            self.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        )


def index_path(shard_path: str) -> str:
    """``hit-uav/train-00000-of-00002.tar`` -> ``hit-uav/train-00000-of-00002.parquet``."""
    return shard_path.removesuffix(".tar") + ".parquet"


def done_path(shard_path: str) -> str:
    """``hit-uav/train-00000-of-00002.tar`` -> ``hit-uav/train-00000-of-00002.done.json``."""
    return shard_path.removesuffix(".tar") + ".done.json"


def load_manifest(folder: Path | ReadablePlace) -> Manifest:
    """Read and check a data set's manifest.

    Raises:
        UserError: no manifest (the build did not finish), a foreign file, or an id that is not that of its content;
            as `ReadablePlace.read`.
        RunFailure: as `ReadablePlace.read`.
    """
    place = LocalPlace(folder) if isinstance(folder, Path) else folder
    try:
        # Nothing vouches for a manifest but itself.
        content = read_settled(place, MANIFEST_NAME, _is_whole, MOST_MANIFEST_BYTES)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            f"{folder} has no {MANIFEST_NAME}: it is no finished data set. "
            f"Build one with `mmrs build RECIPE --out {folder}` (an interrupted build continues)."
        ) from error
    return parse_manifest(content, f"{folder}/{MANIFEST_NAME}")


def parse_manifest(content: bytes, path: str) -> Manifest:
    """A manifest from its file's content; `path` names it in errors.

    Raises:
        UserError: a foreign file, or an id that is not that of its content.
    """
    try:
        manifest = Manifest.model_validate(orjson.loads(content))
    except (ValidationError, orjson.JSONDecodeError) as error:
        raise UserError(f"{path} is no mmrs manifest: {error}. Rebuild it with `mmrs build`.") from error
    if what := _disagreement(manifest):
        raise UserError(f"{path} is no sound manifest: {what}. Rebuild it with `mmrs build`.")
    if (actual := manifest.computed_id()) != manifest.id:
        raise UserError(
            f"{path} was changed after the build: its id is {manifest.id[:12]}, its content's {actual[:12]}. "
            "Rebuild it with `mmrs build`."
        )
    return manifest


def _disagreement(manifest: Manifest) -> str:
    """What in a manifest contradicts the rest of it; empty where nothing does."""
    paths: set[str] = set()
    for name, source in manifest.sources.items():
        for word in (name, *source.splits):
            if not _NAME.fullmatch(word):
                return f"{word[:80]!r} is no name of a source or split"
    for shard in manifest.shards:
        entry = manifest.sources.get(shard.source)
        if entry is None:
            return f"{shard.path} is of a source {shard.source!r} that it does not name"
        if shard.split not in entry.splits or shard.split not in entry.image_suffix:
            return f"{shard.path} is of a split {shard.split!r} that {shard.source} does not have"
        if not shard.path.startswith(f"{shard.source}/{shard.split}-"):
            return f"{shard.path} is no name of a shard of {shard.source}/{shard.split}"
        if shard.path in paths:
            return f"{shard.path} is named twice"
        paths.add(shard.path)
    return ""


def _is_whole(content: bytes) -> bool:
    try:
        parse_manifest(content, "")
    except UserError:
        return False
    return True
