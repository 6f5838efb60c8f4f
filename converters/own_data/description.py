"""The description of a user's own data: a small YAML file, validated, as the facts of a source."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from converters import catalog
from converters.catalog import SourceFacts
from converters.formats.text import decode, read_bytes
from converters.formats.yolo import read_class_names
from converters.layout import layout_error
from converters.own_data.columns import Columns
from mmrs.config import StrictModel, load_yaml, parse_words, validated
from mmrs.errors import BadItem, UserError
from mmrs.record import MOST_SAMPLE_IMAGES, Sensor, TaskName, Text
from mmrs.source import Tiling
from mmrs.storage.plain_files import follows_links, reading_below

Format = Literal[
    "coco",
    "coco-captions",
    "voc",
    "dota",
    "yolo",
    "yolo-obb",
    "folders",
    "llava",
    "csv",
    "parquet",
    "labelme",
    "cvat",
    "supervisely",
    "masks",
    "geojson",
]
TextTask = Literal["vqa", "captioning", "classification"]

SPLIT = "{split}"
DESCRIPTION_NAME = "mmrs.yaml"
EXAMPLE = (
    "`mmrs sample generic --out DIR` writes an example with its description, docs/your-own-data.md explains the keys."
)
_HORIZONTAL: tuple[TaskName, ...] = ("detection-hbb",)
BOTH: tuple[TaskName, ...] = ("detection-hbb", "detection-obb")
TASKS: dict[Format, tuple[TaskName, ...]] = {
    "coco": _HORIZONTAL,
    "coco-captions": ("captioning",),
    "voc": _HORIZONTAL,
    "dota": BOTH,
    "yolo": _HORIZONTAL,
    "yolo-obb": BOTH,
    "folders": ("classification",),
    "labelme": _HORIZONTAL,
    "cvat": _HORIZONTAL,
    "supervisely": BOTH,
    "masks": BOTH,
    "geojson": BOTH,
}
Share = Annotated[float, Field(gt=0, le=1)]
_MASK_VALUES = 256
_TABLES: frozenset[Format] = frozenset({"csv", "parquet"})
_SEQUENCES = _TABLES | {"llava"}
_TAGGED: frozenset[Format] = frozenset({"cvat", "supervisely"})
NAMED_KEYS = ("name", "images", "annotations", "columns", "classes", "licence", "title", "home", "citation")


class FormatOptions(StrictModel):
    """What a format leaves open.

    Args:
        one_based: VOC edges count from 1 and include their last pixel (the rule of PASCAL VOC).
        ignored: labels of regions that count as nothing.
        box_order: of COCO boxes whose rows state none (without it they are xywh, and a file of corners is refused), and
            of the boxes of a table, which need it.
        task: what LLaVA conversations are; `classification` reads the tags of CVAT and Supervisely in place of boxes.
        join_rows: rows of a Parquet table whose image has one name are one image; else each is an image of its own.
        background: labels of masks that are no objects.
        label_property: of a GeoJSON feature: its class; without it, every feature is of the one class.
        image_property: of a feature in one GeoJSON file for all images: its image; without it, its place says which.
        coordinates: of GeoJSON features: places on the map, or pixels of the image.
        seed: of splits given as shares.
        tile_size, tile_overlap, min_iof, keep_empty: cut large scenes as `mmrs.source.Tiling` says; whole by default.
    """

    one_based: bool = False
    ignored: tuple[Text, ...] = ()
    box_order: Literal["xywh", "xyxy"] | None = None
    task: TextTask = "vqa"
    join_rows: bool = False
    background: tuple[Text, ...] = ("background",)
    label_property: Text | None = None
    image_property: Text | None = None
    coordinates: Literal["map", "pixels"] = "map"
    seed: int = 0
    tile_size: int | None = Field(default=None, gt=0)
    tile_overlap: int = Field(default=0, ge=0)
    min_iof: float = 0.7
    keep_empty: float = 0.0

    @property
    def tiling(self) -> Tiling | None:
        """The tiling, None where images are stored whole. Raises ValueError for impossible numbers."""
        if self.tile_size is None:
            return None
        return Tiling(self.tile_size, self.tile_overlap, self.min_iof, self.keep_empty)


@dataclass(frozen=True, slots=True)
class SequenceImage:
    """One of the images of every sample: the user's word for it, and its sensor where it is not the data set's."""

    role: str
    sensor: Sensor | None = None


class Description(StrictModel):
    """One data set. Paths are relative to its root; ``{split}`` in them stands for the split's name.

    Args:
        name: of the source in records and shards.
        format: how it is annotated.
        images: folder of the images, with folders below it; the root itself where it is not said for Parquet tables.
        annotations: the annotation file (coco, coco-captions, llava, csv, cvat), what the paths of the tables start
            with (parquet), or the folder of label files (all others).
        columns: of the table (csv, parquet).
        sequence: the images of every sample in their order, where it has several (llava, csv, parquet): names of them
            (before, after), or name -> sensor (optical: optical, sar: sar). Without it a sample may have any number.
        splits: names, where ``{split}`` tells them apart; or name -> list file; or name -> share of all images.
        classes: label -> category, or labels alone (in order of their index for YOLO); a file with ``names`` or one
            name a line has become the labels before validation.
    """

    name: str = Field(pattern=r"^[a-z0-9-]+$")
    format: Format
    sensor: Sensor
    images: Text = "."
    annotations: Text | None = None
    columns: Columns | None = None
    sequence: dict[Text, Sensor] | tuple[Text, ...] | None = None
    splits: dict[str, Text | Share] | tuple[str, ...] = ("train",)
    classes: dict[str, Text] = Field(default_factory=dict)
    licence: str = Field(default="unknown", pattern=r"^[A-Za-z0-9.+-]+$")
    title: Text | None = None
    home: Text = "not given"
    citation: Text = "not given"
    evaluation_only: bool = False
    options: FormatOptions = FormatOptions()

    @field_validator("classes", mode="before")
    @classmethod
    def _as_mapping(cls, classes: Any) -> Any:
        if isinstance(classes, list):
            return {label: readable(label) for label in cls._names(classes)}
        if not isinstance(classes, dict):
            return classes
        cls._names(list(classes))
        return classes

    @staticmethod
    def _names(labels: list[Any]) -> list[str]:
        seen = set()
        for label in labels:
            if not isinstance(label, str) or not label.strip():
                raise ValueError(f"label {label!r} is no name; write it in quotes")
            if label in seen:
                raise ValueError(f"label {label!r} is listed twice")
            seen.add(label)
        return labels

    @field_validator("images", "annotations")
    @classmethod
    def _inside(cls, path: str | None) -> str | None:
        if path is not None and (PurePosixPath(path).is_absolute() or ".." in path.replace("\\", "/").split("/")):
            raise ValueError(f"{path!r} must lie below the root: relative, without '..'")
        return path

    @model_validator(mode="after")
    def _consistent(self) -> Description:
        if self.name in catalog.names():
            raise ValueError(f"name {self.name!r} is that of a source of `mmrs sources`; choose another")
        if (self.annotations is None) != (self.format == "folders"):
            need = "needs no `annotations`: the folders are the labels" if self.annotations else "needs `annotations`"
            raise ValueError(f"format {self.format} {need}")
        if "images" not in self.model_fields_set and self.format != "parquet":
            raise ValueError(f"format {self.format} needs `images`: the folder of the images")
        self._check_columns()
        self._check_sequence()
        if self.needs_classes and not self.classes:
            raise ValueError(f"format {self.format} needs `classes`: label -> category, or a list of labels")
        self._check_options()
        for split in self.splits:
            if not re.fullmatch(r"[a-z0-9_-]+", split):
                raise ValueError(f"split {split!r} must be made of a-z, 0-9, _ and -")
        self._check_splits()
        _ = self.options.tiling
        return self

    def _check_options(self) -> None:
        if self.needs_classes and not self.object_classes:
            raise ValueError("classes are all background; objects need a class")
        if self.format == "masks" and len(self.classes) > _MASK_VALUES:
            raise ValueError(f"masks have at most {_MASK_VALUES} classes, one for each value of a byte")
        if self.format != "geojson":
            return
        if self.options.label_property is None and len(self.classes) != 1:
            raise ValueError("format geojson needs options.label_property, or one class for all features")

    def _check_columns(self) -> None:
        if (self.columns is None) != (self.format not in _TABLES):
            need = "has no `columns`" if self.columns else "needs `columns`: what they hold -> name"
            raise ValueError(f"format {self.format} {need}")
        if self.columns is None:
            return
        if self.columns.split is not None and self.format == "parquet":
            raise ValueError("columns.split is for csv; the tables of a split have paths of their own")
        if self.columns.boxes and self.options.box_order is None:
            raise ValueError("columns.boxes needs options.box_order: xywh or xyxy")

    def _check_sequence(self) -> None:
        if self.sequence is None:
            return
        if self.format not in _SEQUENCES:
            raise ValueError(f"format {self.format} has one image a sample; `sequence` is for llava, csv and parquet")
        roles = list(self.sequence)
        if not 2 <= len(roles) <= MOST_SAMPLE_IMAGES or len(set(roles)) < len(roles):
            raise ValueError(f"sequence {roles} must be 2 to {MOST_SAMPLE_IMAGES} different names, one for each image")
        if isinstance(self.sequence, dict) and self.sequence[roles[0]] != self.sensor:
            raise ValueError(f"sensor is {self.sensor}, and {self.sequence[roles[0]]} of {roles[0]}, the first image")
        columns = self.columns.images if self.columns is not None else roles
        if len(columns) != len(roles):
            raise ValueError(f"columns.image names {len(columns)} columns, the sequence {len(roles)} images")

    def _check_splits(self) -> None:
        if not self.splits:
            raise ValueError("`splits` names no split")
        if not isinstance(self.splits, dict):
            if len(self.splits) > 1 and not self.is_templated:
                raise ValueError(
                    f"splits {', '.join(self.splits)} would be the same images: put {SPLIT} into `images` or "
                    "`annotations`, or give each split a list file or a share"
                )
            return
        kinds = {isinstance(value, str) for value in self.splits.values()}
        if len(kinds) > 1 or self.is_templated:
            raise ValueError(f"splits are all list files or all shares, and then no path has {SPLIT}")
        if kinds == {False} and abs(sum(map(float, self.splits.values())) - 1) > 1e-6:
            raise ValueError(f"shares {list(self.splits.values())} must add up to 1")

    @property
    def images_of_sample(self) -> tuple[SequenceImage, ...]:
        """What the images of every sample are: as `sequence` says, or by the names of several columns; else empty."""
        if isinstance(self.sequence, dict):
            return tuple(
                SequenceImage(role, None if sensor == self.sensor else sensor) for role, sensor in self.sequence.items()
            )
        columns = self.columns.images if self.columns is not None else ()
        roles = self.sequence or (columns if len(columns) > 1 else ())
        return tuple(map(SequenceImage, roles))

    @property
    def is_templated(self) -> bool:
        """Whether each split has paths of its own; else all splits are cut from one place."""
        by_column = self.columns is not None and self.columns.split is not None
        return by_column or SPLIT in self.images or SPLIT in (self.annotations or "")

    @property
    def shares(self) -> dict[str, float]:
        """Split -> share of all images, where the description cuts them so; else empty."""
        splits = self.splits if isinstance(self.splits, dict) else {}
        return {split: share for split, share in splits.items() if isinstance(share, float)}

    @property
    def needs_classes(self) -> bool:
        """Whether objects or labels have classes: all formats but texts and conversations that are no class names."""
        if self.columns is not None:
            return bool(self.columns.label or self.columns.boxes)
        if self.format == "coco-captions":
            return False
        return self.format != "llava" or self.options.task == "classification"

    @property
    def object_classes(self) -> dict[str, str]:
        """The classes that objects or images can have: of masks without the background."""
        left_out = self.options.background if self.format == "masks" else ()
        return {label: category for label, category in self.classes.items() if label not in left_out}

    @property
    def tasks(self) -> tuple[TaskName, ...]:
        """Tasks that every image is annotated for."""
        if self.columns is not None:
            return self.columns.tasks
        if self.format in _TAGGED and self.options.task == "classification":
            return ("classification",)
        return (self.options.task,) if self.format == "llava" else TASKS[self.format]

    def path(self, template: str, split: str) -> PurePosixPath:
        """A path of the description for one split, relative to the root."""
        return PurePosixPath(template.replace(SPLIT, split))

    def facts(self, registered: SourceFacts) -> SourceFacts:
        """The data set as facts of a source; module and samples are those of the registered one."""
        layout = self.images + (f", {self.annotations}" if self.annotations else "")
        return SourceFacts(
            name=self.name,
            title=self.title or self.name,
            module=registered.module,
            samples=registered.samples,
            sensor=self.sensor,
            tasks=self.tasks,
            splits=tuple(self.splits),
            split_policy="as the description says",
            licence=self.licence,
            licence_evidence=f"the description states {self.licence}",
            home=self.home,
            citation=self.citation,
            evaluation_only=self.evaluation_only,
            published_evidence="nothing published",
            classes=self.object_classes,
            ignored_labels=self.options.ignored,
            layouts={self.format: layout},
        )


@dataclass(frozen=True, slots=True)
class DescribedSet:
    """A description, read once from the file `path`, and what it says as the facts of a source.

    `class_file` is the file of class names that it refers to, or `path` itself where the classes stand there. Workers
    get it with the converter, whatever becomes of the file meanwhile.
    """

    path: Path
    content: Description
    facts: SourceFacts
    class_file: Path

    @classmethod
    def load(cls, path: Path) -> DescribedSet:
        """Read and check the file. Raises `UserError` as `load_description` does."""
        content, class_file = load_description(path)
        return cls(path, content, content.facts(catalog.facts("generic")), class_file)

    @property
    def command_options(self) -> str:
        """What a command on the set needs behind its folder."""
        return f"--option {shlex.quote(f'description={self.path}')}"


def own_layout_error(root: Path, reason: str, expected: Sequence[str]) -> UserError:
    """`layout_error` of described data; its example is scanned with the description beside it."""
    return layout_error("generic", root, reason, expected, f"--option description=DIR/{DESCRIPTION_NAME}")


def readable(label: str) -> str:
    """A label as a category: underscores and hyphens become blanks."""
    return " ".join(label.replace("_", " ").replace("-", " ").split())


def _with_written_names(content: dict[str, Any], words: dict[str, Any]) -> dict[str, Any]:
    """The description with every name as it is written: class ``0737`` and licence ``1.0`` are no numbers."""
    named = {key: words[key] for key in NAMED_KEYS if content.get(key) is not None}
    options, written = content.get("options"), words.get("options")
    if isinstance(options, dict) and isinstance(written, dict) and options.get("ignored") is not None:
        named["options"] = {**options, "ignored": written["ignored"]}
    splits = content.get("splits")
    if isinstance(splits, dict):
        named["splits"] = dict(zip(words["splits"], splits.values(), strict=True))
    elif splits is not None:
        named["splits"] = words["splits"]
    return content | named


def load_description(path: Path) -> tuple[Description, Path]:
    """Read a description file.

    Returns:
        The description, and the file that has the classes: one that it refers to, or `path`.

    Raises:
        UserError: no such file, broken YAML, an unknown key (with the nearest known one), or a wrong value.
    """
    if not path.is_file():
        raise UserError(f"description {path} not found. {EXAMPLE}")
    with reading_below(path.parent, follows_links()):
        return _load_description(path)


def _load_description(path: Path) -> tuple[Description, Path]:
    try:
        words = decode(read_bytes(path), str(path))
    except BadItem as error:
        raise UserError(f"description {path}: {error.reason}. {EXAMPLE}") from error
    content = _with_written_names(load_yaml(path), parse_words(words))
    classes, file = content.get("classes"), path
    if isinstance(classes, str):
        file = path.parent / classes
        try:
            content["classes"] = list(read_class_names(file))
        except BadItem as error:
            raise UserError(f"{path}: classes: {error.path}: {error.reason}") from error
    return validated(Description, content, where=str(path)), file
