"""A build recipe: which sources, from where, and how they are rendered and sharded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainValidator, field_validator

from mmrs.config import StrictModel, as_list, load_yaml, validated
from mmrs.instructions.dialects import dialect
from mmrs.instructions.render import RenderOptions
from mmrs.instructions.templates import template_set
from mmrs.record import Sensor, Task, canonical_json
from mmrs.storage.urls import parse_location

Names = Annotated[tuple[str, ...], BeforeValidator(as_list)]
Locations = Annotated[tuple[Annotated[Path | str, PlainValidator(parse_location)], ...], BeforeValidator(as_list)]


class SourceRecipe(StrictModel):
    """One source of a recipe.

    Args:
        name: a name of `mmrs sources`.
        root: folder with the source as downloaded; default ``<data_root>/<name>``.
        splits: splits to build; default all that the source has.
        train_splits: splits that are meant to be trained on; default the recipe's.
        tasks: tasks to render; default all that the source is annotated for.
        limit: at most this many images of each split, chosen by the recipe's seed.
        options: options of the converter (`mmrs sources NAME` lists them).
    """

    name: str
    root: Path | None = None
    splits: tuple[str, ...] | None = None
    train_splits: tuple[str, ...] | None = None
    tasks: frozenset[Task] | None = None
    limit: int | None = Field(default=None, gt=0)
    options: dict[str, Any] = Field(default_factory=dict)


class LicencePolicy(StrictModel):
    """Which sources may be used, by the licence that the catalogue states for them.

    Args:
        allow: ``any``; ``stated`` refuses sources that state no licence; ``commercial`` also those that are for
            academic or other non-commercial use only.
        accept: sources that are used all the same: their licence is then your responsibility.
        refused: ``fail`` (default), or ``leave-out`` to build without the refused sources.
    """

    allow: Literal["any", "stated", "commercial"] = "any"
    accept: frozenset[str] = frozenset()
    refused: Literal["fail", "leave-out"] = "fail"

    def refusal(self, source: str, licence: str) -> str | None:
        """Why the policy refuses a source of that licence, None where it does not."""
        if self.allow == "any" or source in self.accept:
            return None
        if licence == "unknown":
            return "states no licence"
        if self.allow == "commercial" and (licence == "academic-only" or "-NC" in licence):
            return f"is not for commercial use ({licence})"
        return None


class BuildRecipe(StrictModel):
    """A whole build. Sizes in bytes.

    How often training shows each source is not said here: one data set serves many mixtures (`data.mixture` of a
    training recipe).

    Args:
        data_root: folder that holds one folder per source; relative paths start at the current folder.
        seed: of the order of samples, of limits, of kept empty tiles, and of the wording of prompts.
        sensors, tasks, splits: of the sources listed, only these; a source that has none of them is left out.
        train_splits: splits that are meant to be trained on; all others are evaluated on. `mmrs curate` guards them.
        dialect: how boxes are written: ``mmrs`` (three decimals) or ``mmrs1m`` (two, as released).
        templates: wording of prompts in training splits: ``mmrs1m`` (one each, as released) or ``diverse`` (seeded
            paraphrases). Evaluated splits always have the released wording, so that scores compare.
        per_class_prompts: beside the prompt for all objects, one for each class that the image shows.
        repeat_single_class: where all objects of an image are of one class, ask for that class too, although the answer
            is that to the prompt for all objects.
        max_objects_per_dialogue: no list of objects is longer, and none is cut. An image with more objects is asked for
            class by class instead of for all, whatever `per_class_prompts` says; a class with more of them is asked for
            by region, so that training text holds all objects. Evaluation does not depend on it.
        shard_bytes: planned size of a shard.
        validation: how far each image is checked. L0: header and end marker, no perceptual hash. L1 (default): decoded,
            JPEG at 1/8 scale, which walks the whole compressed stream. L2: every pixel decoded.
        licences: which licences are accepted.
        exclude: lists of images to leave out, by path or URL: ``curation.jsonl`` of `mmrs curate`, or your own (see
            `mmrs.builder.exclude`).
        quarantine_ceiling: largest share of a source's images, or of its annotation rows, that may be bad. What is
            absent (class folders, images that a list names) never counts.
    """

    data_root: Path = Path("data")
    seed: int = 0
    sensors: frozenset[Sensor] | None = Field(default=None, min_length=1)
    tasks: frozenset[Task] | None = Field(default=None, min_length=1)
    splits: Names | None = Field(default=None, min_length=1)
    train_splits: Names = ("train",)
    dialect: str = "mmrs"
    templates: str = "mmrs1m"
    per_class_prompts: bool = True
    repeat_single_class: bool = False
    max_objects_per_dialogue: int = Field(default=60, gt=0)
    shard_bytes: int = Field(default=256 * 2**20, gt=0)
    validation: Literal["L0", "L1", "L2"] = "L1"
    licences: LicencePolicy = LicencePolicy()
    exclude: Locations = ()
    quarantine_ceiling: float = Field(default=0.005, ge=0, le=1)
    sources: tuple[SourceRecipe, ...] = Field(min_length=1)

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

    def render_options(self, tasks: frozenset[Task], training: bool) -> RenderOptions:
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
