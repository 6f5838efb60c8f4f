"""A user's class map: YAML with one line ``label: category`` for each class of a data set.

The label is the name in the annotation files, or the class number of YOLO files; the category is the unified name. A
label without a category (``label:``) marks regions that count as nothing. Both are taken as written: ``on`` and
``0737`` are names (`mmrs.config.parse_words`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from converters.formats.text import decode, read_bytes, shown
from mmrs.config import parse_words
from mmrs.errors import BadItem


@dataclass(frozen=True, slots=True)
class ClassMap:
    """Label -> unified category, and the labels of regions that count as nothing."""

    classes: dict[str, str]
    ignored: tuple[str, ...]


def read_class_map(path: Path) -> ClassMap:
    """Read one file. Raises `BadItem`."""
    return parse_class_map(read_bytes(path), str(path))


def parse_class_map(data: bytes, path: str) -> ClassMap:
    """Parse the bytes of one file; `path` names it in errors.

    Raises:
        BadItem: not YAML, no mapping, no category at all, or a category that is no text.
    """
    try:
        content = parse_words(decode(data, path))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadItem(f"not YAML: {error}", path) from error
    if not isinstance(content, dict):
        raise BadItem(f"content is {shown(content)}, lines of the form `label: category` are expected", path)
    classes, ignored = {}, []
    for label, category in content.items():
        if not isinstance(label, str) or not label.strip():
            raise BadItem(f"label {shown(label)} is no name or number; put it in quotes", path)
        if category is None:
            ignored.append(label)
        elif isinstance(category, str) and category.strip():
            classes[label] = category.strip()
        else:
            raise BadItem(f"category of {label!r} is {shown(category)}, a name is expected", path)
    if not classes:
        raise BadItem("no label has a category", path)
    return ClassMap(classes, tuple(ignored))
