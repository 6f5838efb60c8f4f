"""A build recipe: which sources, from where, and how they are rendered and sharded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, PlainValidator, field_validator

from mmrs.config import StrictModel, as_list, load_yaml, validated
from mmrs.instructions.dialects import dialect
from mmrs.instructions.render import RenderOptions
from mmrs.instructions.templates import template_set
from mmrs.record import Sensor, TaskName, canonical_json
from mmrs.storage.urls import parse_location

Names = Annotated[tuple[str, ...], BeforeValidator(as_list)]
Locations = Annotated[tuple[Annotated[Path | str, PlainValidator(parse_location)], ...], BeforeValidator(as_list)]


class _Section(StrictModel):
    """A part of a recipe. The sentence below a field is its description in the JSON schema."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class SourceRecipe(_Section):
    """One source of a recipe."""

    name: str
    """A name of `mmrs sources`."""
    root: Path | None = None
    """Folder with the source as downloaded. None: ``<data_root>/<name>``."""
    splits: tuple[str, ...] | None = None
    """Splits to build. None: all that the source has."""
    train_splits: tuple[str, ...] | None = None
    """Splits that are meant to be trained on. None: the recipe's."""
    tasks: frozenset[TaskName] | None = None
    """Tasks to render. None: all that the source is annotated for."""
    limit: int | None = Field(default=None, gt=0)
    """At most this many images of each split, chosen by the recipe's seed."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of the converter; `mmrs sources NAME` lists them."""


class LicencePolicy(_Section):
    """Which sources may be used, by the licence that the catalogue states for them."""

    allow: Literal["any", "stated", "commercial"] = "any"
    """``any``; ``stated`` refuses sources that state no licence; ``commercial`` also those for academic use only."""
    accept: frozenset[str] = frozenset()
    """Sources that are used all the same: their licence is then your responsibility."""
    refused: Literal["fail", "leave-out"] = "fail"
    """``fail``, or ``leave-out`` to build without the refused sources."""

    def refusal(self, source: str, licence: str) -> str | None:
        """Why the policy refuses a source of that licence, None where it does not."""
        if self.allow == "any" or source in self.accept:
            return None
        if licence == "unknown":
            return "states no licence"
        if self.allow == "commercial" and (licence == "academic-only" or "-NC" in licence):
            return f"is not for commercial use ({licence})"
        return None


class BuildRecipe(_Section):
    """A whole build. Sizes in bytes.

    How often training shows each source is not said here: one data set serves many mixtures (`data.mixture` of a
    training recipe).
    """

    data_root: Path = Path("data")
    """Folder that holds one folder per source; relative paths start at the current folder."""
    seed: int = 0
    """Of the order of samples, of limits, of kept empty tiles, and of the wording of prompts."""
    sensors: frozenset[Sensor] | None = Field(default=None, min_length=1)
    """Of the sources listed, only those of these sensors. None: all."""
    tasks: frozenset[TaskName] | None = Field(default=None, min_length=1)
    """Only these tasks; a source that has none of them is left out. None: all."""
    splits: Names | None = Field(default=None, min_length=1)
    """Only these splits; a source that has none of them is left out. None: all."""
    train_splits: Names = ("train",)
    """Splits that are meant to be trained on; all others are evaluated on, and `mmrs curate` guards them."""
    dialect: str = "mmrs"
    """How boxes are written: ``mmrs`` (three decimals), ``mmrs1m`` (two, as released), or another registered one."""
    templates: str = "mmrs1m"
    """Wording of prompts in training splits: ``mmrs1m`` (one each, as released) or ``diverse`` (seeded paraphrases).
    Evaluated splits always have the released wording, so that scores compare."""
    per_class_prompts: bool = True
    """Beside the prompt for all objects, one for each class that the image shows."""
    repeat_single_class: bool = False
    """Where all objects of an image are of one class, ask for that class too, although the answer is that to the prompt
    for all objects."""
    max_objects_per_dialogue: int = Field(default=60, gt=0)
    """No list of objects is longer, and none is cut. An image with more objects is asked for class by class instead of
    for all, whatever `per_class_prompts` says; a class with more of them is asked for by region, so that training text
    holds all objects. Evaluation does not depend on it."""
    shard_bytes: int = Field(default=256 * 2**20, gt=0)
    """Planned size of a shard."""
    validation: Literal["L0", "L1", "L2"] = "L1"
    """How far each image is checked. L0: header and end marker, no perceptual hash. L1: decoded, JPEG at 1/8 scale,
    which walks the whole compressed stream. L2: every pixel decoded."""
    licences: LicencePolicy = LicencePolicy()
    """Which licences are accepted."""
    follow_links: bool = False
    """Whether symbolic links of the sources may lead out of their folders. Never allow it for data of strangers: a link
    can carry any file that you may read into the data set."""
    exclude: Locations = ()
    """Lists of images to leave out, by path or URL: ``curation.jsonl`` of `mmrs curate`, or your own (see
    `mmrs.builder.exclude`)."""
    quarantine_ceiling: float = Field(default=0.005, ge=0, le=1)
    """Largest share of a source's images, or of its annotation rows, that may be bad. What is absent (class folders,
    images that a list names) never counts."""
    sources: tuple[SourceRecipe, ...] = Field(min_length=1)
    """The sources, one entry each."""

    @field_validator("dialect")
    @classmethod
    def _known_dialect(cls, name: str) -> str:
        dialect(name)
        return name

    @field_validator("templates")
    @classmethod
    def _known_templates(cls, name: str) -> str:
        template_set(name)
        return name

    def root_of(self, source: SourceRecipe) -> Path:
        return source.root if source.root is not None else self.data_root / source.name

    def render_options(self, tasks: frozenset[TaskName], training: bool) -> RenderOptions:
        """How the dialogues of one split are rendered; `training` says whether it is trained on."""
        templates = template_set(self.templates if training else "mmrs1m")
        return RenderOptions(
            dialect=dialect(self.dialect),
            tasks=tasks,
            per_class_prompts=self.per_class_prompts,
            repeat_single_class=self.repeat_single_class,
            max_objects_per_dialogue=self.max_objects_per_dialogue,
            templates=templates,
            seed=self.seed,
        )

    def content(self, excluded: Iterable[str] = ()) -> dict[str, Any]:
        """All that can change the output, as plain values: everything but where the sources lie.

        `excluded` are the ids of the planned images that the recipe leaves out; they stand in it as a digest.
        """
        content = _sorted_sets(self.model_dump(exclude={"data_root", "licences", "exclude"}))
        for source in content["sources"]:
            del source["root"]
        # Named only where it is used, so that other data sets keep their id.
        if not self.follow_links:
            del content["follow_links"]
        ids = sorted(excluded)
        return content | {"exclude": hashlib.sha256(canonical_json(ids)).hexdigest() if ids else None}

    def digest(self, excluded: Iterable[str] = ()) -> str:
        """sha256 of the canonical JSON of `content`."""
        return hashlib.sha256(canonical_json(self.content(excluded))).hexdigest()


def _sorted_sets(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted_sets(part) for key, part in value.items()}
    if isinstance(value, frozenset):
        return sorted(value)
    return [_sorted_sets(part) for part in value] if isinstance(value, list | tuple) else value


def load_recipe(path: Path, overrides: tuple[str, ...] = ()) -> BuildRecipe:
    """Read a recipe file and apply ``a.b=c`` overrides.

    Raises:
        UserError: missing file, broken YAML, unknown key (with the nearest known name), wrong value.
    """
    return validated(BuildRecipe, load_yaml(path, overrides), where=str(path))
