"""GeoJSON over GeoTIFF: a file an image, or one for all images of a split.

In one file for all, a property names the image of each feature (`image_property`); without it, a feature belongs to
every image that it lies on, for which the headers of the images are read when they are listed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from converters.formats.geojson import (
    GeoFeature,
    GeoJsonFile,
    MapRaster,
    on_earth,
    parse_geojson,
    read_geojson,
    read_map_raster,
    reprojected,
)
from converters.formats.polygons import outlined_object
from converters.formats.rows import rows_apart
from converters.formats.shapes import BoxObject
from converters.formats.text import read_bytes, shown
from converters.formats.tree import FileTree
from converters.layout import Problem
from converters.own_data.box_rows import BoxRows, boxes_of_classes
from converters.own_data.description import DescribedSet, Description
from converters.own_data.items import (
    FoundItems,
    OwnFormat,
    ReadImage,
    images_and_file,
    images_named_in,
    labelled_images,
)
from mmrs.errors import BadItem
from mmrs.geometry import Array
from mmrs.record import UnreadRow
from mmrs.source import Item

_SUFFIX = ".geojson"
_FLAGS = ("difficult", "truncated", "ignore")


def _find(described: DescribedSet, root: Path, split: str) -> FoundItems:
    own = described.content
    if (root / own.path(own.annotations or "", split)).is_dir():
        return labelled_images(own, root, split, _SUFFIX)
    images, source, parsed = images_and_file(described, root, split, read_geojson)
    if own.options.image_property is None:
        return _by_place(images, source, parsed)
    by_image: dict[str, list[dict[str, Any]]] = {}
    nameless: list[Problem] = []
    for feature in parsed.features:
        name = feature.properties.get(own.options.image_property)
        if isinstance(name, str | int) and str(name):
            by_image.setdefault(str(name), []).append(_plain(feature))
        else:
            nameless.append((str(source), f"features[{feature.number}] names no image: {shown(name)}"))
    rows = ((name, {"crs": parsed.crs, "features": same}) for name, same in by_image.items())
    return replace(images_named_in(images, source, rows), unread_rows=tuple(nameless))


def _plain(feature: GeoFeature) -> dict[str, Any]:
    properties = {key: value for key, value in feature.properties.items() if not isinstance(value, dict | list)}
    return {
        "number": feature.number,
        "properties": properties,
        "points": feature.points.tolist(),
        "fault": feature.fault,
    }


def _by_place(images: FileTree, source: Path, parsed: GeoJsonFile) -> FoundItems:
    """Each image with the features on it; a feature on no image is a row that is not read."""
    features = [on_earth(feature, parsed.crs) for feature in parsed.features]
    whole = [feature for feature in features if feature.fault is None]
    unread = [(str(source), feature.fault) for feature in features if feature.fault is not None]
    places = _Places(whole, parsed.crs, source)
    items, problems = [], list(images.problems)
    placed: set[int] = set()
    for stem, image in images.by_stem.items():
        try:
            own_features = places.on(read_map_raster(image))
        except BadItem as error:
            problems.append((str(image), error.reason))
            continue
        placed.update(feature.number for feature in own_features)
        payload = {"crs": parsed.crs, "features": [_plain(feature) for feature in own_features]}
        items.append(Item(stem, image, (source,), payload))
    lost = [feature for feature in whole if feature.number not in placed]
    unread += [(str(source), f"features[{feature.number}] lies on none of the images") for feature in lost]
    return FoundItems(tuple(items), problems=tuple(problems), unread_rows=tuple(unread), consulted=frozenset({source}))


class _Places:
    """Features in the reference system of each raster; those of one system are computed once."""

    def __init__(self, features: Sequence[GeoFeature], crs: str, source: Path) -> None:
        self._features, self._crs, self._source = features, crs, source
        self._starts = np.cumsum([0, *(len(feature.points) for feature in features)])[:-1]
        self._by_system: dict[str, Array] = {}

    def on(self, raster: MapRaster) -> list[GeoFeature]:
        """The features that a raster shows a part of. Raises `BadItem`."""
        if not self._features:
            return []
        if raster.crs not in self._by_system:
            points = np.concatenate([feature.points for feature in self._features])
            self._by_system[raster.crs] = reprojected(points, self._crs, raster.crs, str(self._source))
        pixels = raster.pixels(self._by_system[raster.crs])
        low, high = (extreme.reduceat(pixels, self._starts, axis=0) for extreme in (np.minimum, np.maximum))
        is_there = (high > 0).all(axis=1) & (low < raster.size).all(axis=1)
        return [self._features[place] for place in np.flatnonzero(is_there).tolist()]


def _read(own: Description, item: Item) -> ReadImage:
    source = item.annotations[0]
    path = str(source)
    if item.payload is None:
        parsed = parse_geojson(read_bytes(source), path)
        features = list(parsed.features)
        crs = parsed.crs
    else:
        crs = item.payload["crs"]
        features = [
            GeoFeature(row["number"], row["properties"], np.array(row["points"]).reshape(-1, 2), row["fault"])
            for row in item.payload["features"]
        ]
    size = None
    if own.options.coordinates == "map":
        features = [on_earth(feature, crs) for feature in features]
    whole = [feature for feature in features if feature.fault is None]
    pixels = [feature.points for feature in whole]
    if own.options.coordinates == "map":
        raster = read_map_raster(item.file)
        size = raster.size
        pixels = [raster.pixels(reprojected(points, crs, raster.crs, path)) for points in pixels]
    faults = tuple(UnreadRow(reason=feature.fault) for feature in features if feature.fault is not None)
    objects, unread = rows_apart(
        list(zip(whole, pixels, strict=True)), lambda pair: _object(own, pair[0], pair[1], path)
    )
    return boxes_of_classes(own, item, BoxRows(objects, faults + unread, size))


def _object(own: Description, feature: GeoFeature, pixels: Array, path: str) -> BoxObject:
    label: Any = next(iter(own.classes))
    if own.options.label_property is not None:
        label = feature.properties.get(own.options.label_property)
    if isinstance(label, bool) or not isinstance(label, str | int) or not str(label).strip():
        raise BadItem(f"features[{feature.number}] has the class {shown(label)}", path)
    found = outlined_object(str(label).strip(), pixels)
    flags: Mapping[str, Any] = {key: feature.properties.get(key) is True for key in _FLAGS}
    found.difficult, found.truncated, found.ignore = (flags[key] for key in _FLAGS)
    return found


GEOJSON_FORMAT = OwnFormat(_find, _read)
