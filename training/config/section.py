"""What all sections of a training configuration share: documented fields, and which of them may change on a resume.

Two rules decide what may differ when a run is resumed: a field of type `ResumeFree[...]` may; every other one changes
the result and is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from mmrs.config import StrictModel
from mmrs.errors import UserError
from mmrs.storage.urls import is_url, without_secrets

T = TypeVar("T")
ResumeFree = Annotated[T, Field(json_schema_extra={"may_change_on_resume": True})]
"""The type of a field that may change when a run is resumed; the JSON schema says so too."""


def _no_url(value: Any) -> Any:
    # A path would lose one of the slashes of a URL, and its password would be kept in the run's config.yaml.
    if is_url(value):
        raise UserError(f"{without_secrets(value)} is a URL; here a path of this machine is taken.")
    return value


LocalPath = Annotated[Path, BeforeValidator(_no_url)]
UnitShare = Annotated[float, Field(ge=0, le=1)]
NonEmptyNames = Annotated[tuple[str, ...], Field(min_length=1)]


class Section(StrictModel):
    """A part of the configuration. The sentence below a field is its description in the JSON schema."""

    model_config = ConfigDict(use_attribute_docstrings=True)


def resume_bound_values(section: BaseModel, values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and value of each field that must not change, taken from `values`, a dump of `section`."""
    for name, field in type(section).model_fields.items():
        inner = getattr(section, name)
        if isinstance(inner, BaseModel):
            yield from resume_bound_values(inner, values[name], f"{prefix}{name}.")
        elif not isinstance(field.json_schema_extra, dict) or "may_change_on_resume" not in field.json_schema_extra:
            yield f"{prefix}{name}", values[name]
