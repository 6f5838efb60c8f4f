"""Which files drawing tools wrote: Labelme, Supervisely, CVAT, masks and GeoJSON, by the first that can be parsed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from converters.formats.cvat import parse_cvat
from converters.formats.folders import normal_form
from converters.formats.geojson import LONGITUDE_LATITUDE, GeoFeature, parse_geojson
from converters.formats.labelme import parse_labelme
from converters.formats.masks import VOID, parse_mask
from converters.formats.supervisely import parse_supervisely
from converters.formats.text import read_bytes
from converters.own_data.guess.survey import FileGroup
from mmrs.errors import BadItem

GEOJSON_SUFFIX = ".geojson"
_MOST_XML_BYTES = 2**30
_MOST_CLASSES, _LOOKED_AT = 1000, 8
_MOST_DEGREES = 180
_CLASS_PROPERTIES = ("class", "label", "category", "classname", "type", "typeid", "name", "building")
_IMAGE_PROPERTIES = ("image", "imageid", "imagename", "filename", "file")
_MASK_WORDS = ("mask", "label", "annotation", "segment", "class", "gt")

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


def mask_kinds(
    root: Path, groups: Sequence[FileGroup], class_names: Callable[[int], tuple[list[str], str]]
) -> Iterator[DrawnKind]:
    """Descriptions of folders of PNGs that are called like masks and hold few values; `class_names` names these."""
    for group in groups:
        paths = [path for path in group.some() if path.lower().endswith(".png")][:_LOOKED_AT]
        is_called_so = any(word in group.template.lower() for word in _MASK_WORDS)
        values = _mask_values(root, paths) if is_called_so and len(groups) > 1 else set()
        if values - {0, VOID}:
            names, where = class_names(max(values - {VOID}))
            said = f"PNGs in {group.template} hold the values {', '.join(map(str, sorted(values)[:12]))}"
            first = normal_form(names[0])
            known = {"format": "masks", "annotations": group.template, "splits": list(group.splits) or ["train"]}
            options = {} if first == "background" else {"options": {"background": names[:1]}}
            yield (
                {**known, "classes": names, **options},
                (said, where, f"background is the value 0, {names[0]}"),
            )


def _mask_values(root: Path, paths: Iterable[str]) -> set[int]:
    """The values of the masks that can be read; nothing where one cannot."""
    values: set[int] = set()
    for path in paths:
        try:
            found = parse_mask(read_bytes(root / path), path, {}, ())
        except BadItem:
            return set()
        values |= found.values
    return values


def geojson_kinds(root: Path, group: FileGroup) -> Iterator[DrawnKind]:
    """Descriptions of GeoJSON files, each of one image or one of all, by the properties of their features."""
    features: list[GeoFeature] = []
    systems = set()
    for path in group.some():
        try:
            parsed = parse_geojson(read_bytes(root / path), path)
        except BadItem:
            continue
        systems.add(parsed.crs)
        features += parsed.features
    whole = [feature for feature in features if feature.fault is None]
    if not whole:
        return
    named = {normal_form(key): key for feature in whole for key in feature.properties}
    label = next((named[form] for form in _CLASS_PROPERTIES if form in named), None)
    found = (
        sorted({str(feature.properties[label]) for feature in whole if label in feature.properties}) if label else []
    )
    options: dict[str, Any] = {"label_property": label} if found and len(found) <= _MOST_CLASSES else {}
    said = [f"{len(whole)} polygons in {group.template}, classes by {label}" if options else "no property is a class"]
    is_beyond = any(abs(feature.points).max() > _MOST_DEGREES for feature in whole)
    if systems == {LONGITUDE_LATITUDE} and is_beyond:
        options["coordinates"] = "pixels"
        said.append("the coordinates are no degrees: pixels")
    known = {"format": "geojson", "classes": found if "label_property" in options else ["object"]}
    yield known | {"options": options}, tuple(said)
    image = next((named[form] for form in _IMAGE_PROPERTIES if form in named), None)
    if image is not None:
        yield known | {"options": options | {"image_property": image}}, (*said, f"images by {image}")
