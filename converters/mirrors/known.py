"""The copies of sources on the Hugging Face Hub that are known, from ``facts/mirrors/*.yaml``: what their columns mean.

A copy is told by its columns, as a downloaded one does not say where it came from; one that is refused, whose columns
are those of another, by the name of its folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from mmrs.config import StrictModel, load_shipped_rows
from mmrs.fetch.catalogue import Commit, RepositoryName
from mmrs.record import Text

MIRRORS = Path(__file__).parent.with_name("facts") / "mirrors"

ColumnRole = Literal["image", "name", "label", "captions", "image_id", "boxes", "category", "expressions"]
ROLE_WORDS: dict[ColumnRole, str] = {
    "image": "the images",
    "name": "the names of the images",
    "label": "their classes",
    "captions": "their sentences",
    "image_id": "their numbers",
    "boxes": "their boxes",
    "category": "the classes of the boxes",
    "expressions": "the expressions of the boxes",
}


class Mirror(StrictModel):
    """One copy of a source.

    Args:
        repo: data set on the Hub, `revision` the commit that the evidence is about.
        evidence: where its columns were read; `read` on this day.
        terms: what its own page says of the licence, where that differs from the source's.
        columns: what it holds -> column, dotted where it is part of another one.
        splits: word that the names of its tables start with -> split.
        captions_per_image: how many sentences every image of the source has.
        own_splits: why its splits are not those of the source, where they are not.
        lacks: what of the source is not in it.
        refused: why it is not read.
    """

    repo: RepositoryName
    revision: Commit | None = None
    evidence: Text
    read: date
    terms: str = ""
    columns: dict[ColumnRole, Text] = Field(default_factory=dict)
    splits: dict[Text, str] = Field(default_factory=dict)
    captions_per_image: int | None = Field(default=None, gt=0)
    own_splits: Text | None = None
    lacks: Text | None = None
    refused: Text | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Mirror:
        if self.refused is None and ("image" not in self.columns or not self.splits):
            raise ValueError(f"{self.repo}: neither `refused`, nor a column of images and its splits")
        return self

    def is_named_by(self, folder: Path) -> bool:
        """Whether a folder is called as a download of this copy is: by its name, or as the Hub's cache calls it."""
        words = {part.casefold() for part in folder.absolute().parts}
        owner, name = self.repo.casefold().split("/")
        return name in words or f"datasets--{owner}--{name}" in words


class SourceMirrors(StrictModel):
    """The copies of one source; `joined_by_name` is the source that shows the same images under the same names."""

    joined_by_name: Text | None = None
    copies: Annotated[tuple[Mirror, ...], Field(min_length=1)]


@cache
def load_mirrors(folder: Path = MIRRORS) -> Mapping[str, SourceMirrors]:
    """Source -> its copies, of every YAML file of the folder.

    Raises:
        ValueError: malformed facts (`pydantic.ValidationError`), or a source that stands in two files.
    """
    return {name: SourceMirrors.model_validate(row) for name, row in load_shipped_rows(folder).items()}
