"""What a run reads, in which order and how often, and how its images are varied."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeInt,
    PlainSerializer,
    PlainValidator,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from mmrs.config import as_list
from mmrs.errors import UserError
from mmrs.record import Sensor
from mmrs.storage.urls import is_url, parse_location, refuse_credentials
from training.config.section import LocalPath, NonEmptyNames, ResumeFree, Section, UnitShare


def _location(value: Any) -> Any:
    try:
        return parse_location(value)
    except UserError as error:
        raise UserError(f"data.folders: {error}") from error


def _tar(value: str) -> str:
    # The list is kept in the run's config.yaml, and a pipe would run whatever stands in it.
    if value.startswith("pipe:"):
        raise UserError(f"data.webdataset: {value[:40]} is refused: it runs a command; give paths or URLs of tars.")
    if is_url(value):
        try:
            refuse_credentials(value)
        except UserError as error:
            raise UserError(f"data.webdataset: {error}") from error
    return value


Tar = Annotated[str, AfterValidator(_tar)]
Location = Annotated[Path | str, PlainValidator(_location), PlainSerializer(str)]


class MixtureRule(Section):
    """How much of a source, a task, or one task of one source an epoch holds; see `training.data.planning.mixture`."""

    source: str | None = None
    """The source that the rule is for. None: any."""

    task: str | None = None
    """The task that the rule is for. None: any."""

    epochs: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Passes over it in one epoch of the run (2.5: each sample five times in two epochs)."""

    weight: PositiveFloat | None = None
    """In place of `epochs`: its share of the epoch's samples, relative to the other weights."""

    @property
    def name(self) -> str:
        return f"{self.source or '*'}/{self.task or '*'}"

    @model_validator(mode="after")
    def _complete(self) -> MixtureRule:
        if self.source is None and self.task is None:
            raise ValueError("name a source, a task or both")
        if (self.epochs is None) == (self.weight is None):
            raise ValueError("set exactly one of epochs and weight")
        return self


class AugmentConfig(Section):
    """Changes of training images that keep their text true; see `training.data.augment`."""

    brightness: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    """Largest relative change of brightness."""

    contrast: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    """Largest relative change of contrast."""

    noise: Annotated[int, Field(ge=0, le=64)] = 0
    """Largest change of a pixel, in grey levels."""

    dihedral: bool = False
    """Turns and mirror images, seven of eight images, where the text can follow: boxes and words of direction are
    rewritten where that is exact. Every step reports the share of the images that was turned."""


class DataConfig(Section):
    """What is read and in which order: either `folders` or `webdataset`."""

    folders: ResumeFree[Annotated[tuple[Location, ...], BeforeValidator(as_list)]] = ()
    """Data sets of mmrs: folders, or URLs of http(s), s3 or hf. They may move; a checkpoint knows them by their id."""

    webdataset: Annotated[tuple[Tar, ...], BeforeValidator(as_list)] = ()
    """Tars of others, as paths or URLs with ``{00..09}`` for numbers; see `training.data.webdataset`."""

    webdataset_shuffle: ResumeFree[PositiveInt] = 1000
    """Samples of the shuffle buffer through which tars of others pass."""

    webdataset_classes: LocalPath | None = None
    """File that names the numbers of ``cls`` members of tars of others, one name a line, class 0 first, or a JSON list.
    None: ``classes.txt`` or ``classes.json`` beside local tars."""

    webdataset_sensor: Sensor = "optical"
    """What took the pictures in tars of others; decides how more than 8 bits are rendered, as in `mmrs build`."""

    splits: Annotated[NonEmptyNames | None, BeforeValidator(as_list)] = None
    """The splits to train on, of all sources alike. None: those that each source was built to train on, which is
    ``train`` unless the build's recipe says otherwise (`train_splits`)."""

    sources: NonEmptyNames | None = None
    """The sources to train on. None: all."""

    tasks: NonEmptyNames | None = None
    """The tasks to train on. None: all."""

    mixture: tuple[MixtureRule, ...] = ()
    """How often an epoch shows which part: the first rule that matches a dialogue decides. Without rules every dialogue
    is seen once."""

    cache: ResumeFree[LocalPath | None] = None
    """Folder for token counts and fetched shards. None: ``mmrs`` in the user's cache folder."""

    cache_gb: ResumeFree[PositiveFloat] = 100.0
    """Largest size of the fetched shards in the cache, in GB (10^9 bytes)."""

    seed: NonNegativeInt = 0
    """Of the order, of augmentation, and of the substitutes for unreadable samples."""

    shuffle_block_samples: PositiveInt = 256
    """Neighbours of one tar that stay together while blocks are permuted."""

    shuffle_window_blocks: PositiveInt = 64
    """Blocks within which samples are permuted."""

    packing_window_units: PositiveInt = 4096
    """Images of the windows that packs are filled from."""

    augment: AugmentConfig | None = None
    """How images are varied. None: not at all."""

    kept_images_mb: ResumeFree[NonNegativeInt] = 0
    """Megabytes (10^6 bytes), in each process that reads, for decoded images: later epochs do not decode them again. An
    image takes three bytes a pixel of the model's largest square. Those that find no room are decoded every time, and
    so are all of `webdataset`, and all where `augment` has brightness or contrast, which change an image before."""

    box_order: Literal["stored", "left-to-right", "rows"] = "stored"
    """In which order detections are told that a model learns from, in the image as it is turned, so that the image says
    which comes next. "left-to-right": those of each class by their left edge. "rows": by the cell of the grid of visual
    tokens that their middle lies in, row by row, as the model has these tokens."""

    verify_images: ResumeFree[bool] = False
    """Compare each image with its sha256 in the index."""

    max_skipped_samples: ResumeFree[NonNegativeInt] = 10
    """A run ends when more samples than this, and more than `max_skipped_share`, are unreadable."""

    max_skipped_share: ResumeFree[UnitShare] = 0.005
    """A run ends when a larger share of its samples than this, and more than `max_skipped_samples`, are unreadable."""

    @model_validator(mode="after")
    def _one_origin(self) -> DataConfig:
        if bool(self.folders) == bool(self.webdataset):
            raise ValueError(
                "set exactly one of data.folders (data sets of mmrs) and data.webdataset (tars of others); "
                "--set data.folders=[] drops those of a recipe"
            )
        planned = [name for name in ("sources", "tasks", "mixture") if self.webdataset and getattr(self, name)]
        if planned:
            raise ValueError(f"data.{planned[0]} needs the index of a data set of mmrs; data.webdataset has none")
        if self.webdataset and self.box_order != "stored":
            raise ValueError("data.box_order needs the tasks of a data set of mmrs; data.webdataset has none")
        return self

    @model_validator(mode="after")
    def _one_kind_of_mixture(self) -> DataConfig:
        if len({rule.weight is None for rule in self.mixture}) > 1:
            raise ValueError("data.mixture: give either epochs or weight, the same in all rules")
        return self
