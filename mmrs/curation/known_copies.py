"""The alias table: which images are one picture or parts of one scene, told by their names alone."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import Field, field_validator, model_validator

from mmrs.config import StrictModel, load_yaml, validated

SHIPPED = Path(__file__).with_name("known_copies.yaml")
_GROUPS = ({"name"}, {"number"}, {"block", "offset"})


class Blocks(StrictModel):
    """Pictures numbered from 1 in blocks of `size`, in the order of `names`; offsets within a block start at 0."""

    size: int = Field(gt=0)
    names: tuple[str, ...] = Field(min_length=1)


class Pictures(StrictModel):
    """One set of pictures and the sources that show it: source -> regular expression over the whole stem."""

    evidence: str
    names: dict[str, re.Pattern[str]] = Field(min_length=2)
    blocks: Blocks | None = None

    @field_validator("names")
    @classmethod
    def _groups(cls, names: dict[str, re.Pattern[str]]) -> dict[str, re.Pattern[str]]:
        for source, pattern in names.items():
            if set(pattern.groupindex) not in _GROUPS:
                raise ValueError(f"{source}: {pattern.pattern!r} must have the group name, number, or block and offset")
        return names

    @model_validator(mode="after")
    def _blocks_are_named(self) -> Pictures:
        if self.blocks is None and any("block" in pattern.groupindex for pattern in self.names.values()):
            raise ValueError("a pattern with the group `block` needs `blocks`")
        return self

    def name(self, source: str, stem: str) -> str | None:
        """The picture's name, None where this source or stem is none of the set."""
        pattern = self.names.get(source)
        match = pattern.fullmatch(stem) if pattern else None
        if match is None:
            return None
        found = match.groupdict()
        if "number" in found:
            return str(int(found["number"]))
        if "block" not in found:
            return found["name"]
        if self.blocks is None or found["block"] not in self.blocks.names:
            return None
        return str(self.blocks.names.index(found["block"]) * self.blocks.size + int(found["offset"]) + 1)


class AliasTable(StrictModel):
    """What is known of names: `pictures` that several sources show, and sources whose names are used once per split.

    In every other source two scenes of one name are one scene, whatever splits its tiles are in.
    """

    pictures: dict[str, Pictures] = Field(default_factory=dict)
    numbered_per_split: frozenset[str] = frozenset()

    def picture(self, source: str, stem: str) -> str | None:
        """``<set> <name>`` of the picture that a source's image shows, None where the table knows none."""
        for key, pictures in self.pictures.items():
            if (name := pictures.name(source, stem)) is not None:
                return f"{key} {name}"
        return None


def load_aliases(path: Path = SHIPPED) -> AliasTable:
    """Read an alias table. Raises `UserError` naming file, key and fault."""
    return validated(AliasTable, load_yaml(path), where=str(path))
