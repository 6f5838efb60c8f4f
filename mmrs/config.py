"""The strict base of every model, and YAML + ``a.b=c`` overrides -> such a model.

Errors name the key and the way out. Whatever is read from a file goes through a `StrictModel`: an unknown key, NaN and
infinity are refused where they come in. What a plain word of YAML is, is decided by the field that takes it: YAML 1.1,
which PyYAML reads, turns ``on`` and ``no`` into truth values and ``0737`` and ``12:30`` into other numbers. Here, as in
the core schema of YAML 1.2, only ``true``, ``false`` and decimal numbers are values. YAML and the search for the meant
key are imported where they are needed: each module with a model imports this one, the smallest command too.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from mmrs.errors import UserError

Model = TypeVar("Model", bound=BaseModel)
# Tag, pattern of the whole word, characters that it can start with.
_Resolver = tuple[str, str, str]
_NULL = ("tag:yaml.org,2002:null", r"|~|null|Null|NULL", "~nN")
_TYPED = (
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("tag:yaml.org,2002:int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
)
_MERGE = ("tag:yaml.org,2002:merge", "<<", "<")
# Of one document, aliases written out: nine lines of nine aliases each name 400 million values.
MOST_YAML_VALUES, MOST_YAML_DEPTH = 100_000, 100
_SHOWN_CHARACTERS = 200


class StrictModel(BaseModel):
    """Values that are checked once and never change: no unknown key, no NaN, no infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def as_list(value: Any) -> Any:
    """One name or path as a list of it, for keys that take one or several (before validation); all else as it is."""
    return [value] if isinstance(value, str | Path) else value


def parse_yaml(text: str) -> Any:
    """The value of a YAML document: text, true and false, decimal numbers, null, lists and mappings.

    Raises:
        yaml.YAMLError: the text is no YAML, has a tag, or more values or levels than the bounds above.
    """
    return _load(text, (_NULL, *_TYPED, _MERGE))


def parse_words(text: str) -> Any:
    """As `parse_yaml`, with every plain word but null as the text that is written: class names, ids, file names.

    Raises:
        yaml.YAMLError: the text is no YAML, has a tag, or more values or levels than the bounds above.
    """
    return _load(text, (_NULL, _MERGE))


def _load(text: str, resolvers: tuple[_Resolver, ...]) -> Any:
    import yaml

    loader = _loader(resolvers)(text)
    try:
        return loader.get_single_data()
    except (ValueError, OverflowError) as error:
        # A number of more digits than Python reads.
        raise yaml.YAMLError(str(error)) from error
    finally:
        loader.dispose()


def load_shipped_yaml(path: Path) -> Any:
    """The values of a YAML file of the project's own packages: no bound, and read by libyaml where PyYAML has it, in a
    tenth of the time."""
    import yaml

    return yaml.load(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def load_shipped_rows(folder: Path) -> dict[str, Any]:
    """What each YAML file of a folder of the project's own facts says by source, in one mapping, sorted by name.

    Raises:
        ValueError: a source stands in two files.
    """
    rows: dict[str, Any] = {}
    for path in sorted(folder.glob("*.yaml")):
        for name, row in load_shipped_yaml(path).items():
            if name in rows:
                raise ValueError(f"{path}: source {name!r} stands in another file already")
            rows[name] = row
    return dict(sorted(rows.items()))


@cache
def _loader(resolvers: tuple[_Resolver, ...]) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012 (PyYAML's own way)

        def __init__(self, stream: str) -> None:
            super().__init__(stream)
            self.open_nodes = self.begun_nodes = 0
            # Values and levels below each node; a node whose own are not known yet is still open.
            self.extents: dict[int, tuple[int, int]] = {}

        def compose_node(self, parent: Any, index: Any) -> Any:
            self.open_nodes += 1
            self.begun_nodes += 1
            # Before the rest is read: a value takes forty microseconds, however short it is written.
            if self.begun_nodes > MOST_YAML_VALUES or self.open_nodes > MOST_YAML_DEPTH:
                bounds = f"more than {MOST_YAML_VALUES:,} values, or more than {MOST_YAML_DEPTH} levels deep"
                self.refuse(bounds, self.peek_event())
            event = self.peek_event()
            node = super().compose_node(parent, index)
            self.open_nodes -= 1
            if isinstance(event, yaml.AliasEvent):
                if id(node) not in self.extents:
                    self.refuse("an alias of what it stands in", event)
                return node
            values, depth = self.extents[id(node)] = _extent(node, self.extents)
            if values > MOST_YAML_VALUES or depth > MOST_YAML_DEPTH:
                self.refuse(f"more than {MOST_YAML_VALUES:,} values or {MOST_YAML_DEPTH} levels", event)
            return node

        def refuse(self, problem: str, event: Any) -> None:
            raise yaml.composer.ComposerError(None, None, problem, event.start_mark)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            names = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
            for name, count in names.items():
                if count > 1:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key {name!r} is written twice", node.start_mark
                    )
            return super().construct_mapping(node, deep)

        def construct_yaml_float(self, node: Any) -> float:
            written = self.construct_scalar(node)
            return float(written.lower().replace(".inf", "inf").replace(".nan", "nan"))

    Loader.add_constructor("tag:yaml.org,2002:float", Loader.construct_yaml_float)
    for tag, pattern, first in resolvers:
        Loader.add_implicit_resolver(
            tag, re.compile(rf"^(?:{pattern})$"), [*first, ""] if tag == _NULL[0] else [*first]
        )
    return Loader


def _extent(node: Any, extents: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """Values and levels of a node of PyYAML, itself included, by those of the nodes in it."""
    inner = node.value if isinstance(node.value, list) else []
    parts = [part for entry in inner for part in (entry if isinstance(entry, tuple) else (entry,))]
    below = [extents[id(part)] for part in parts]
    return 1 + sum(values for values, _ in below), 1 + max((depth for _, depth in below), default=0)


def load_yaml(path: Path, overrides: tuple[str, ...] = ()) -> dict[str, Any]:
    """Read a YAML mapping (`parse_yaml`) and set each ``a.b=c`` override; the value is read as YAML too.

    Raises:
        UserError: no such file, broken YAML, no mapping, or an override without ``=``.
    """
    import yaml

    try:
        content = parse_yaml(path.read_text(encoding="utf-8").removeprefix("\ufeff"))
    except FileNotFoundError as error:
        raise UserError(f"recipe {path} not found: no such file.") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"recipe {path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"recipe {path} must be a mapping of keys to values, found {type(content).__name__}.")
    return with_overrides(content, overrides)


def with_overrides(content: dict[str, Any], overrides: tuple[str, ...]) -> dict[str, Any]:
    """`content` with each ``a.b=c`` override set in it. Raises UserError for an override without ``=``."""
    for override in overrides:
        _set(content, override)
    return content


def validated(model: type[Model], content: dict[str, Any], where: str) -> Model:
    """`content` as a `model`. Raises UserError with every fault, one line each."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        lines = [_explain(model, fault) for fault in error.errors()]
        raise UserError(f"{where}:\n  " + "\n  ".join(lines)) from error


def _set(content: dict[str, Any], override: str) -> None:
    import yaml

    key, separator, value = override.partition("=")
    if not separator or not key:
        raise UserError(f"--set {override!r} must look like a.b=c.")
    *parents, last = key.split(".")
    place: Any = content
    for name in parents:
        place = place[_position(override, place, name)] if isinstance(place, list) else place.setdefault(name, {})
        if not isinstance(place, dict | list):
            raise UserError(f"--set {override!r}: {name!r} holds a plain value, nothing can be set inside it.")
    try:
        parsed = parse_yaml(value)
    except yaml.YAMLError as error:
        raise UserError(f"--set {override!r}: the value is no YAML: {error}") from error
    if isinstance(place, list):
        place[_position(override, place, last)] = parsed
    else:
        place[last] = parsed


def _position(override: str, place: list[Any], name: str) -> int:
    if not (name.isascii() and name.isdigit()) or int(name) >= len(place):
        raise UserError(f"--set {override!r}: {name!r} is no position of a list of {len(place)} (they count from 0).")
    return int(name)


def _explain(model: type[BaseModel], fault: Any) -> str:
    location = [str(part) for part in fault["loc"]]
    where = ".".join(location) or "recipe"
    if fault["type"] == "string_type" and isinstance(fault.get("input"), bool | int | float):
        return f"{where}: {fault['input']!r} is read as a {type(fault['input']).__name__}; a name is put in quotes"
    if fault["type"] != "extra_forbidden":
        return (
            f"{where}: {fault['msg']} (found {_shortened(fault.get('input'))}{_nearest_value(fault)})"
            if location
            else str(fault["msg"])
        )
    near = _nearest_key(model, location)
    return f"{where}: unknown key" + (f"; did you mean {near!r}?" if near else "")


def _shortened(value: Any) -> str:
    written = repr(value)
    return written if len(written) <= _SHOWN_CHARACTERS else written[:_SHOWN_CHARACTERS] + "..."


def _nearest_value(fault: Any) -> str:
    """Of a text that none of a key's values is, the value that was meant."""
    from mmrs.text import nearest

    found = fault.get("input")
    if fault["type"] not in ("literal_error", "enum") or not isinstance(found, str):
        return ""
    return nearest(found, re.findall(r"'([^']*)'", fault.get("ctx", {}).get("expected", "")))


def _nearest_key(model: type[BaseModel], location: list[str]) -> str | None:
    """The key that was meant: one of the same section, else one of another, with its sections before it."""
    import difflib

    section = model
    for name in location[:-1]:
        inner = _sections(section.model_fields[name].annotation) if name in section.model_fields else []
        section = inner[0] if inner else section
    here = difflib.get_close_matches(location[-1], list(section.model_fields), n=1)
    if here:
        return here[0]
    known = _known_keys(model)
    elsewhere = difflib.get_close_matches(location[-1], list(known), n=1)
    return known[elsewhere[0]] if elsewhere else None


def _known_keys(model: type[BaseModel], before: str = "") -> dict[str, str]:
    """Each key of a model and of its sections, with its place as ``a.b``; of equal names the outermost."""
    keys = {name: before + name for name in model.model_fields}
    for name, field in model.model_fields.items():
        for inner in _sections(field.annotation):
            keys = _known_keys(inner, f"{before}{name}.") | keys
    return keys


def _sections(annotation: Any) -> list[type[BaseModel]]:
    """The models that an annotation names, inside of unions and lists too."""
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [inner for argument in get_args(annotation) for inner in _sections(argument)]
