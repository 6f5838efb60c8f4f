"""The facts of every source, read from ``facts/*.yaml`` and validated; no source module is imported here."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from mmrs.config import StrictModel, load_shipped_rows
from mmrs.errors import UserError
from mmrs.record import Sensor, TaskName, Text
from mmrs.text import nearest

FACTS = Path(__file__).with_name("facts")

Name = Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
Count = Annotated[int, Field(ge=0)]


class Counts(StrictModel):
    """Published size of one split; None where nothing was published."""

    images: Count | None = None
    objects: Count | None = None
    captions: Count | None = None
    questions: Count | None = None


class Variant(StrictModel):
    """One release of a source: the labels it may use and its published sizes."""

    labels: tuple[Text, ...]
    published: dict[str, Counts] = Field(default_factory=dict)


class SourceFacts(StrictModel):
    """What is known of one source, whether or not it is on disk.

    `licence` is an SPDX identifier where there is one, else ``public-domain``, ``academic-only`` or ``unknown``.
    `classes` maps the source's label to the unified category; `ignored_labels` mark regions that count as nothing;
    `indexed_labels` are labels in the order of the numbers that copies of the source write instead of them.
    """

    name: Name
    title: Text
    module: Text
    samples: Text
    sensor: Sensor
    tasks: Annotated[tuple[TaskName, ...], Field(min_length=1)]
    splits: Annotated[tuple[Text, ...], Field(min_length=1)]
    split_policy: Text
    licence: Annotated[str, Field(pattern=r"^[A-Za-z0-9.+-]+$")]
    licence_evidence: Text
    home: Text
    citation: Text
    evaluation_only: bool = False
    published: dict[str, Counts] = Field(default_factory=dict)
    published_evidence: Text
    variants: dict[str, Variant] = Field(default_factory=dict)
    classes: dict[str, Text] = Field(default_factory=dict)
    ignored_labels: tuple[Text, ...] = ()
    indexed_labels: tuple[Text, ...] = ()
    layouts: Annotated[dict[str, Text], Field(min_length=1)]

    @property
    def categories(self) -> tuple[str, ...]:
        """Unified category names, in catalogue order, each once."""
        return tuple(dict.fromkeys(self.classes.values()))

    @model_validator(mode="after")
    def _consistent(self) -> SourceFacts:
        for split in self.published:
            if split not in self.splits:
                raise ValueError(f"{self.name}: published split {split!r} is none of {list(self.splits)}")
        if unknown := sorted(set(self.indexed_labels) - set(self.classes)):
            raise ValueError(f"{self.name}: indexed_labels has {unknown} that `classes` lacks")
        for key, variant in self.variants.items():
            unknown = sorted(set(variant.labels) - set(self.classes))
            if unknown:
                raise ValueError(f"{self.name}: variant {key} has labels {unknown} that `classes` lacks")
        return self


@cache
def load_catalog(folder: Path = FACTS) -> dict[str, SourceFacts]:
    """Name -> facts of every YAML file of the folder, sorted by name.

    Raises:
        ValueError: malformed facts (`pydantic.ValidationError`), or a source that stands in two files.
    """
    return {name: SourceFacts(name=name, **row) for name, row in load_shipped_rows(folder).items()}


def names() -> tuple[str, ...]:
    """Names of all sources, sorted. Imports no source module."""
    return tuple(load_catalog())


def facts(name: str) -> SourceFacts:
    """Facts of one source. Raises `UserError` with the nearest name when there is no such source."""
    known = load_catalog()
    if name not in known:
        raise UserError(f"unknown source {name!r}{nearest(name, known)}. `mmrs sources` lists all {len(known)}.")
    return known[name]
