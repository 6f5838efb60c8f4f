"""Keys of the two kinds of recipe, from the models that validate them: a build's, and a training run's."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from docs.hooks.reference.markdown import prose, sentence, table

_ARGUMENT = re.compile(r"^    (\w[\w, ]*): (.*(?:\n(?: {8}.*))*)", re.MULTILINE)


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
        parts.append(prose(_summary(section)))
        heads = ["key", "type", "default", "meaning"] + (["resume"] if with_resume else [])
        parts.append(
            table(heads, [_row(section, name, field, with_resume) for name, field in section.model_fields.items()])
        )
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
    """The sentence of each field: the one below it, else that of the class's ``Args``."""
    listed: dict[str, str] = {}
    for names, words in _ARGUMENT.findall(section.__doc__ or ""):
        listed |= dict.fromkeys(re.split(r",\s*", names), words)
    return {name: sentence(field.description or listed.get(name, "")) for name, field in section.model_fields.items()}


def _summary(section: type[BaseModel]) -> str:
    return inspect.cleandoc((section.__doc__ or "").partition("Args:")[0])


def _row(section: type[BaseModel], name: str, field: FieldInfo, with_resume: bool) -> list[str]:
    row = [name, f"`{_type(field)}`", _default(field), meanings(section)[name]]
    return [*row, "yes" if _is_resume_free(field) else ""] if with_resume else row


def _type(field: FieldInfo) -> str:
    words = inspect.formatannotation(field.annotation) if field.annotation is not None else "Any"
    words = re.sub(r"typing\.|pathlib\.|[a-z]\w*(?:\.\w+)*\.(?=[A-Z])", "", words)
    words = re.sub(r"Annotated\[(.*?), .*?\](?=$|[,\]| ])", r"\1", words) if "Annotated" in words else words
    return words.replace("NoneType", "None")


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
    return isinstance(extra, dict) and bool(extra)
