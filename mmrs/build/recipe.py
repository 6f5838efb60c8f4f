"""A build recipe: which sources, from where, and how they are rendered and sharded."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from mmrs.config import load_yaml, validated
from mmrs.instructions.dialects import dialect
from mmrs.instructions.render import RenderOptions
from mmrs.record import Task, canonical_json


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceRecipe(_Part):
    """One source of a recipe.

    Args:
        name: a name of `mmrs sources`.
        root: folder with the source as downloaded; default ``<data_root>/<name>``.
        splits: splits to build; default all that the source has.
        tasks: tasks to render; default all that the source is annotated for.
        limit: at most this many images of each split, chosen by the recipe's seed.
        options: options of the converter (`mmrs sources NAME` lists them).
    """

    name: str
    root: Path | None = None
    splits: tuple[str, ...] | None = None
    tasks: frozenset[Task] | None = None
    limit: int | None = Field(default=None, gt=0)
    options: dict[str, Any] = Field(default_factory=dict)


class BuildRecipe(_Part):
    """A whole build. Sizes in bytes.

    Args:
        data_root: folder that holds one folder per source; relative paths start at the current folder.
        seed: of the order of samples, of limits and of kept empty tiles.
        dialect: how boxes are written: ``mmrs`` (three decimals) or ``mmrs1m`` (two, as released).
        shard_bytes: planned size of a shard.
        validation: how far each image is checked. L0: header and end marker, no perceptual hash. L1 (default): decoded,
            JPEG at 1/8 scale, which walks the whole compressed stream. L2: every pixel decoded.
        publication: refuse sources whose licence is unknown, as data that is passed on must.
        allow_unknown_licences: with `publication`, include them all the same.
        quarantine_ceiling: largest share of a source's images, or of its objects, that may be bad.
    """

    data_root: Path = Path("data")
    seed: int = 0
    dialect: str = "mmrs"
    per_class_prompts: bool = True
    max_objects_per_dialogue: int = Field(default=60, gt=0)
    shard_bytes: int = Field(default=256 * 2**20, gt=0)
    validation: Literal["L0", "L1", "L2"] = "L1"
    publication: bool = False
    allow_unknown_licences: bool = False
    quarantine_ceiling: float = Field(default=0.005, ge=0, le=1)
    sources: tuple[SourceRecipe, ...] = Field(min_length=1)

    @field_validator("dialect")
    @classmethod
    def _known_dialect(cls, name: str) -> str:
        dialect(name)
        return name

    def root_of(self, source: SourceRecipe) -> Path:
        return source.root if source.root is not None else self.data_root / source.name

    def render_options(self, tasks: frozenset[Task]) -> RenderOptions:
        return RenderOptions(dialect(self.dialect), tasks, self.per_class_prompts, self.max_objects_per_dialogue)

    def content(self) -> dict[str, Any]:
        """All that can change the output, as plain values: everything but where the sources lie."""
        no_output = {"data_root": True, "publication": True, "allow_unknown_licences": True}
        content = self.model_dump(mode="json", exclude=no_output | {"sources": {"__all__": {"root"}}})
        for source in content["sources"]:
            source["tasks"] = sorted(source["tasks"]) if source["tasks"] is not None else None
        return content

    def digest(self) -> str:
        """sha256 of the canonical JSON of `content`."""
        return hashlib.sha256(canonical_json(self.content())).hexdigest()


def load_recipe(path: Path, overrides: tuple[str, ...] = ()) -> BuildRecipe:
    """Read a recipe file and apply ``a.b=c`` overrides.

    Raises:
        UserError: missing file, broken YAML, unknown key (with the nearest known name), wrong value.
    """
    return validated(BuildRecipe, load_yaml(path, overrides), where=str(path))
