"""Which files drawing tools wrote: Labelme, Supervisely and CVAT, by the first ones that can be parsed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from converters.formats.cvat import parse_cvat
from converters.formats.labelme import parse_labelme
from converters.formats.supervisely import parse_supervisely
from converters.formats.text import read_bytes
from converters.own_data.guess.survey import FileGroup
from mmrs.errors import BadItem

_MOST_XML_BYTES = 2**30

DrawnKind = tuple[dict[str, Any], tuple[str, ...]]
"""The keys of a description that files suggest, and what was seen."""


def drawn_json_kind(root: Path, group: FileGroup) -> DrawnKind | None:
    """The description of a folder of JSON files, each of one image; None where they are of another kind."""
    readers: dict[str, Callable[[bytes, str], Iterable[str]]] = {
        "labelme": lambda data, path: [thing.label for thing in parse_labelme(data, path).objects],
        "supervisely": lambda data, path: [thing.label for thing in parse_supervisely(data, path).objects],
    }
    paths = group.some()
    for name, labels_of in readers.items():
        labels: Counter[str] = Counter()
        read = 0
        for path in paths:
            with suppress(BadItem):
                labels.update(labels_of(read_bytes(root / path), path))
                read += 1
        if labels and 2 * read >= len(paths):
            said = f"{read} of {len(paths)} JSON files in {group.template} that were looked at are those of {name}"
            return {"format": name, "classes": sorted(labels)}, (said,)
    return None


def cvat_kind(root: Path, group: FileGroup) -> DrawnKind | None:
    """The description of XML files of CVAT, one a split; None where they are something else."""
    labels: Counter[str] = Counter()
    tags: Counter[str] = Counter()
    for path in (root / paths[0] for paths in group.paths.values()):
        if path.stat().st_size > _MOST_XML_BYTES:
            return None
        try:
            parsed = parse_cvat(read_bytes(path), str(path))
        except BadItem:
            return None
        labels.update(str(shape.get("label", "")) for image in parsed.images for shape in image.shapes)
        tags.update(tag for image in parsed.images for tag in image.tags)
    said = f"{group.template} has {labels.total()} shapes and {tags.total()} tags of CVAT for images"
    if labels:
        return {"format": "cvat", "classes": sorted(filter(None, labels))}, (said,)
    if tags:
        return {"format": "cvat", "classes": sorted(filter(None, tags)), "options": {"task": "classification"}}, (said,)
    return None
