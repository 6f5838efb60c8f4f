"""The columns of our shards as the Hugging Face ``datasets`` library names types, for the YAML of a dataset card.

Without declared features ``datasets`` guesses them from the first five samples of the first tar: a field that is null
or an empty list there gets the type null, and every later value of it is lost or an error.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mmrs.record import Record

_VALUES = {"string": "string", "integer": "int64", "number": "float64", "boolean": "bool"}


def shard_features(image_suffixes: Iterable[str]) -> list[dict[str, Any]]:
    """The features of samples with these image suffixes, in the YAML form of ``dataset_info.features``.

    With several suffixes every image column exists and is null where a sample has the other one. One with a number
    (``1.jpg``) is of samples with several images.
    """
    suffixes = sorted(set(image_suffixes))
    images = [{"name": suffix, "dtype": "image"} for suffix in suffixes]
    record = {"name": "json", "struct": record_features(any("." in suffix for suffix in suffixes))}
    return [*images, record, {"name": "__key__", "dtype": "string"}, {"name": "__url__", "dtype": "string"}]


def record_features(of_several: bool = False) -> list[dict[str, Any]]:
    """The fields of `mmrs.record.Record` as it is stored, derived from its own JSON schema; those of several images
    where there are any."""
    schema = Record.model_json_schema(by_alias=True, mode="serialization")
    if not of_several:
        for part, names in ((schema, ("further_images",)), (schema["$defs"]["ImageInfo"], ("role", "sensor"))):
            part["properties"] = {name: what for name, what in part["properties"].items() if name not in names}
    return _fields(schema, schema["$defs"])


def _fields(schema: dict[str, Any], parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": name, **_feature(schema["properties"][name], parts)} for name in sorted(schema["properties"])]


def _feature(schema: dict[str, Any], parts: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        schema = parts[schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        (schema,) = [option for option in schema["anyOf"] if option.get("type") != "null"]
        return _feature(schema, parts)
    if "allOf" in schema:
        return _feature(schema["allOf"][0], parts)
    kind = schema.get("type", "string")
    if kind == "array":
        item = _feature(schema["items"] if "items" in schema else schema["prefixItems"][0], parts)
        return {"list": _simple(item)}
    if kind == "object":
        # Free-form keys are stored as JSON text (`mmrs.record.JsonText`).
        return {"struct": _fields(schema, parts)} if "properties" in schema else {"dtype": "string"}
    return {"dtype": _VALUES[kind]}


def _simple(item: dict[str, Any]) -> Any:
    return item.get("dtype") or item.get("struct") or item
