"""GeoJSON features and the rasters that they lie on: map coordinates -> pixels.

RFC 7946 knows longitude and latitude alone; the ``crs`` member of the form before it is understood too. A point on the
map goes through the raster's reference system (`rasterio.warp`) and the inverse of its transform, turned ones included.
Points and lines are no boxes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from converters.formats.text import finite, parse_json, read_bytes, shown
from mmrs.errors import BadItem
from mmrs.geometry import Array
from mmrs.imaging.headers.tiff import read_tiff_header
from mmrs.imaging.raster import open_scene
from mmrs.imaging.upright import UPRIGHT

LONGITUDE_LATITUDE = "OGC:CRS84"
# Metres of any map, and degrees; what is beyond is no place on the Earth.
_MOST_METRES = 1e9
_MOST_POINTS = 100_000
_ORDINARY_CRS = ("CRS84", "OGC:CRS84", "OGC:1.3:CRS84", "OGC::CRS84")
_EPSG = re.compile(r"EPSG:(?:[0-9.]{0,8}:)?([0-9]{3,6})", re.ASCII)


@dataclass(frozen=True, slots=True)
class GeoFeature:
    """One feature: its place in the file, its properties, and its outer points ``(N, 2)`` in map coordinates.

    `fault` says why it has no points, None where it has.
    """

    number: int
    properties: Mapping[str, Any]
    points: Array
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class GeoJsonFile:
    """The features of one file, and the reference system of their coordinates as `rasterio` takes it."""

    crs: str
    features: tuple[GeoFeature, ...]


def read_geojson(path: Path) -> GeoJsonFile:
    """Read one file. Raises `BadItem`."""
    return parse_geojson(read_bytes(path), str(path))


def parse_geojson(data: bytes, path: str) -> GeoJsonFile:
    """Parse the bytes of one file; `path` names it in errors. A feature that cannot be used has a fault.

    Raises:
        BadItem: not JSON, no FeatureCollection, or a reference system that is not named.
    """
    content = parse_json(data, path)
    rows = content.get("features") if isinstance(content, dict) else None
    if not isinstance(rows, list):
        raise BadItem("no list `features` at the top level; a FeatureCollection is expected", path)
    return GeoJsonFile(_crs(content.get("crs"), path), tuple(_feature(number, row) for number, row in enumerate(rows)))


def _crs(stated: Any, path: str) -> str:
    """The reference system as an authority's code. Other words would be looked up as files or addresses by GDAL."""
    if stated is None:
        return LONGITUDE_LATITUDE
    properties = stated.get("properties") if isinstance(stated, dict) else None
    name = properties.get("name") if isinstance(properties, dict) else None
    if isinstance(name, str):
        code = name.strip().upper().removeprefix("URN:OGC:DEF:CRS:")
        if code in _ORDINARY_CRS:
            return LONGITUDE_LATITUDE
        if (known := _EPSG.fullmatch(code)) is not None:
            return f"EPSG:{known[1]}"
    raise BadItem(f"its crs is {shown(stated)}; EPSG:number or CRS84 is expected", path)


def _feature(number: int, row: Any) -> GeoFeature:
    where = f"features[{number}]"
    properties = row.get("properties") if isinstance(row, dict) else None
    own = properties if isinstance(properties, dict) else {}
    nothing = np.zeros((0, 2))
    try:
        geometry = row.get("geometry") if isinstance(row, dict) else None
        return GeoFeature(number, own, _outer_points(geometry, where))
    except BadItem as error:
        return GeoFeature(number, own, nothing, error.reason)


def _outer_points(geometry: Any, where: str) -> Array:
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    parts = geometry.get("coordinates") if isinstance(geometry, dict) else None
    if kind == "Polygon":
        parts = [parts]
    elif kind != "MultiPolygon":
        raise BadItem(f"{where} is a {shown(kind)}, which is no box")
    if not isinstance(parts, list) or not parts or not all(isinstance(part, list) and part for part in parts):
        raise BadItem(f"{where} has the coordinates {shown(parts)}; rings of points are expected")
    points = [point for part in parts for point in (part[0] if isinstance(part[0], list) else [part[0]])]
    if not 2 < len(points) <= _MOST_POINTS:
        raise BadItem(f"{where} has {len(points)} points")
    numbers = []
    for point in points:
        # A third number is a height.
        if not isinstance(point, list) or len(point) not in (2, 3):
            raise BadItem(f"{where} has the point {shown(point)}; x, y are expected")
        numbers += [finite(value, f"a point of {where}", "", limit=_MOST_METRES) for value in point[:2]]
    return np.array(numbers, dtype=np.float64).reshape(-1, 2)


@dataclass(frozen=True, slots=True)
class MapRaster:
    """Where a raster lies: (width, height) in pixels, reference system as WKT, and the inverse of its transform.

    `inverse` is a, b, c, d, e, f: column = a x + b y + c, row = d x + e y + f.
    """

    size: tuple[int, int]
    crs: str
    inverse: tuple[float, ...]

    def pixels(self, own: Array) -> Array:
        """Points ``(N, 2)`` in the raster's own reference system -> columns and rows in pixels."""
        x, y = own.T
        a, b, c, d, e, f = self.inverse
        return np.stack([a * x + b * y + c, d * x + e * y + f], axis=1)


def read_map_raster(path: Path) -> MapRaster:
    """Read where a raster lies; no pixel is decoded. Raises `BadItem` for a picture without a place on the map."""
    with open_scene(path) as scene:
        if scene.crs is None or scene.transform.is_identity or scene.transform.determinant == 0:
            raise BadItem("the image has no place on a map: no reference system or no transform", str(path))
        inverse = tuple(float(value) for value in tuple(~scene.transform)[:6])
        size, crs = (scene.width, scene.height), scene.crs.to_wkt()
    with path.open("rb") as file:
        if read_tiff_header(file).orientation != UPRIGHT:
            raise BadItem("the image is stored turned, and its transform is that of the stored pixels", str(path))
    return MapRaster(size, crs, inverse)


def reprojected(points: Array, source: str, target: str, path: str) -> Array:
    """Points ``(N, 2)`` from one reference system to another.

    Raises:
        BadItem: an unknown system, or a point that has no place in the other; one such point costs all of the call.
    """
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import RasterioError
    from rasterio.warp import transform

    try:
        found = np.stack(transform(source, target, points[:, 0].tolist(), points[:, 1].tolist()), axis=1)
    except (RasterioError, CPLE_BaseError, ValueError) as error:
        raise BadItem(f"coordinates of {source} cannot be placed on the raster: {error}", path) from error
    if not (np.abs(found) < _MOST_METRES).all():
        raise BadItem(f"coordinates of {source} have no place in the reference system of the raster", path)
    return found


def on_earth(feature: GeoFeature, crs: str) -> GeoFeature:
    """The feature, with a fault where its longitudes and latitudes are no places on the Earth."""
    if feature.fault is None and crs == LONGITUDE_LATITUDE and (np.abs(feature.points) > (360, 90)).any():
        return replace(
            feature, fault=f"features[{feature.number}] is beyond 90 degrees of latitude or 360 of longitude"
        )
    return feature
