"""A property of a JSON schema in words: its type, its values, its bounds."""

from __future__ import annotations

from typing import Any

_BOUNDS = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
_WORDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "mapping",
}


def type_words(what: dict[str, Any], link: bool = False) -> str:
    """For instance ``whole number from 1, or null``. With `link` a named part is a link to its heading."""
    if "$ref" in what:
        name = what["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})" if link else "a section"
    if "anyOf" in what:
        return " or ".join(dict.fromkeys(type_words(one, link) for one in what["anyOf"]))
    if "enum" in what:
        return ", ".join(f"`{value}`" for value in what["enum"])
    if "const" in what:
        return f"`{what['const']}`"
    if what.get("format") == "path":
        return "path"
    if what.get("type") == "array":
        inner = [type_words(one, link) for one in what.get("prefixItems", [what.get("items", {})])]
        return f"list of: {' and '.join(dict.fromkeys(inner))}"
    bounds = "".join(f" {word} {what[key]:g}" for key, word in _BOUNDS.items() if key in what)
    return _WORDS.get(what.get("type", ""), str(what.get("type", "any value"))) + bounds
