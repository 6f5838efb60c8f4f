"""What each option of a converter does, its values and its default, as the field itself says.

The values come from pydantic's JSON schema of the dataclass. The sentences do not: its `use_attribute_docstrings` reads
those of the class itself only, and most options are inherited, so the source is read here, base by base.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pydantic import TypeAdapter

from converters.base import Converter


@dataclass(frozen=True, slots=True)
class OptionText:
    """One option: its `sentence`, its `values` in words, its `default` as a user would type it."""

    name: str
    sentence: str
    values: str
    default: str


def option_texts(converter: Converter) -> tuple[OptionText, ...]:
    """The options of a converter in the order of its fields; `converter` has the defaults."""
    kind = type(converter)
    sentences = field_sentences(kind)
    schema = TypeAdapter(kind).json_schema().get("properties", {})
    return tuple(
        OptionText(
            field.name,
            sentences.get(field.name, ""),
            _values(schema[field.name]),
            _typed(getattr(converter, field.name)),
        )
        for field in dataclasses.fields(converter)
    )


def field_sentences(kind: type) -> dict[str, str]:
    """Field -> the text below it in the class, or in the nearest base that has one."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if not issubclass(base, Converter):
            continue
        body = _class_body(base)
        for field, below in pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
                text = below.value.value if isinstance(below.value, ast.Constant) else None
                if isinstance(text, str):
                    found[field.target.id] = " ".join(text.split())
    return found


def _class_body(kind: type) -> list[ast.stmt]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    return next(node.body for node in tree.body if isinstance(node, ast.ClassDef))


def _values(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    what = {"boolean": "true, false", "integer": "a whole number", "number": "a number", "string": "a text"}
    limits = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
    kind = "a file" if schema.get("format") == "path" else what[schema["type"]]
    return " ".join([kind, *(f"{word} {schema[key]:g}" for key, word in limits.items() if key in schema)])


def _typed(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value in ("", None) else str(value)
