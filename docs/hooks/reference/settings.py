"""Keys of the two kinds of recipe, from the models that validate them: a build's, and a training run's."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from docs.hooks.reference.markdown import prose, sentence, table
from docs.hooks.reference.schema import type_words


def recipe_page() -> str:
    """Keys of a build's recipe."""
    from mmrs.builder.recipe import BuildRecipe

    return _page(
        "Build recipe",
        "What `mmrs build RECIPE` reads. Any key can be set on the command line: `--set quarantine_ceiling=0.01`, "
        "`--set sources.0.limit=500`. An unknown key is refused with the nearest known one.",
        BuildRecipe,
    )


def training_page() -> str:
    """Keys of a training run's recipe."""
    from training.config import TrainConfig

    return _page(
        "Training recipe",
        "What `mmrs train RECIPE` reads. Any key can be set on the command line: `--set data.seed=1`. A run that is "
        "resumed may change the keys marked *yes* in the column *resume*; every other one shapes the result, and "
        "another value of it is refused by name.",
        TrainConfig,
        with_resume=True,
    )


def _page(title: str, introduction: str, model: type[BaseModel], with_resume: bool = False) -> str:
    parts = [f"# {title}\n", introduction + "\n"]
    for prefix, section in sections(model):
        parts.append(f"## {f'`{prefix}`' if prefix else 'The whole recipe'}\n")
        parts.append(prose(inspect.getdoc(section) or ""))
        heads = ["key", "type", "default", "meaning"] + (["resume"] if with_resume else [])
        parts.append(table(heads, _rows(section, with_resume)))
    return "\n".join(parts)


def sections(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """The model and every model in its fields, with the dotted key that leads there; a list adds ``[]``."""
    yield prefix, model
    for name, field in model.model_fields.items():
        for inner, is_list in _models(field.annotation):
            yield from sections(inner, f"{prefix}.{name}".lstrip(".") + ("[]" if is_list else ""))


def _models(annotation: Any, is_list: bool = False) -> Iterator[tuple[type[BaseModel], bool]]:
    if isinstance(annotation, type) and not get_args(annotation):
        if issubclass(annotation, BaseModel):
            yield annotation, is_list
        return
    for inner in get_args(annotation):
        yield from _models(inner, is_list or getattr(annotation, "__origin__", None) in (tuple, list))


def meanings(section: type[BaseModel]) -> dict[str, str]:
    """The sentence of each field, from below it; empty where there is none."""
    return {name: sentence(field.description or "") for name, field in section.model_fields.items()}


def _rows(section: type[BaseModel], with_resume: bool) -> Iterator[list[str]]:
    properties = section.model_json_schema()["properties"]
    words = meanings(section)
    for name, field in section.model_fields.items():
        row = [name, type_words(properties[name]), _default(field), words[name]]
        yield [*row, "yes" if _is_resume_free(field) else ""] if with_resume else row


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "see below"
    if isinstance(value, tuple | list | frozenset):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{'null' if value is None else str(value).lower() if isinstance(value, bool) else value}`"


def _is_resume_free(field: FieldInfo) -> bool:
    extra = field.json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("may_change_on_resume"))
