import json
import math

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from converters.formats.geojson import LONGITUDE_LATITUDE, on_earth, parse_geojson, read_map_raster, reprojected
from mmrs.errors import BadItem


def parsed(*geometries, **keys):
    rows = [{"type": "Feature", "properties": {}, "geometry": geometry} for geometry in geometries]
    return parse_geojson(json.dumps({"type": "FeatureCollection", "features": rows} | keys).encode(), "a.geojson")


def polygon(*points):
    return {"type": "Polygon", "coordinates": [[list(point) for point in points]]}


SQUARE = polygon((0, 0), (2, 0), (2, 1), (0, 0))


def raster(path, transform=None, crs="EPSG:32633", size=(96, 64), **options):
    keys = {"width": size[0], "height": size[1], "count": 1, "dtype": "uint8", "crs": crs, **options}
    with rasterio.open(path, "w", driver="GTiff", **keys, **({"transform": transform} if transform else {})) as scene:
        scene.write(np.zeros((1, size[1], size[0]), dtype=np.uint8))
    return read_map_raster(path)


def place(degrees):
    along, across = 0.5 * math.cos(math.radians(degrees)), 0.5 * math.sin(math.radians(degrees))
    return Affine(along, across, 500_000, across, -along, 5_000_000)


@pytest.mark.parametrize("degrees", [0, 30, 180, 271.5])
@pytest.mark.parametrize("crs", ["EPSG:32633", LONGITUDE_LATITUDE, "EPSG:3857", "EPSG:32632"])
def test_pixels_come_back_from_the_map(tmp_path, degrees, crs):
    """The way there is rasterio's own: pixels through `xy` of the open raster, then to another reference system."""
    from rasterio.warp import transform

    found = raster(tmp_path / "a.tif", place(degrees))
    pixels = np.array([(0, 0), (96, 0), (96, 64), (10.25, 33.5)])
    with rasterio.open(tmp_path / "a.tif") as scene:
        x, y = scene.xy(pixels[:, 1], pixels[:, 0], offset="ul")
    points = np.stack(transform("EPSG:32633", crs, list(x), list(y)), axis=1)
    back = found.pixels(reprojected(points, crs, found.crs, "a.geojson"))
    assert np.abs(back - pixels).max() < 1e-3 and found.size == (96, 64)


@pytest.mark.parametrize(
    ("stated", "crs"),
    [
        (None, LONGITUDE_LATITUDE),
        ({"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}, LONGITUDE_LATITUDE),
        ({"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}, "EPSG:32633"),
        ({"type": "name", "properties": {"name": "EPSG:4326"}}, "EPSG:4326"),
    ],
)
def test_reference_systems(stated, crs):
    assert parsed(SQUARE, crs=stated).crs == crs


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "http://localhost/x.prj", "+proj=utm +zone=33", "EPSG:", "EPSG:32633+5773", 7, "PROJCS[", ""],
)
def test_no_other_word_is_a_reference_system(name):
    """GDAL would open files and addresses."""
    with pytest.raises(BadItem, match="EPSG:number or CRS84 is expected"):
        parsed(SQUARE, crs={"type": "name", "properties": {"name": name}})


def test_polygons_have_their_outer_rings():
    hole = {
        "type": "Polygon",
        "coordinates": [[[0, 0, 5], [4, 0, 5], [4, 4, 5], [0, 0, 5]], [[1, 1], [2, 1], [2, 2], [1, 1]]],
    }
    parts = {
        "type": "MultiPolygon",
        "coordinates": [SQUARE["coordinates"], polygon((7, 7), (9, 7), (9, 9))["coordinates"]],
    }
    first, second = parsed(hole, parts).features
    assert first.points.tolist() == [[0, 0], [4, 0], [4, 4], [0, 0]]
    assert second.points.min(axis=0).tolist() == [0, 0] and second.points.max(axis=0).tolist() == [9, 9]


@pytest.mark.parametrize(
    ("geometry", "words"),
    [
        ({"type": "Point", "coordinates": [1, 2]}, "'Point', which is no box"),
        ({"type": "LineString", "coordinates": [[1, 2], [3, 4]]}, "which is no box"),
        (None, "None, which is no box"),
        ({"type": "Polygon", "coordinates": []}, "rings of points"),
        ({"type": "Polygon", "coordinates": [7]}, "points"),
        (polygon((0, 0), (1, 1)), "has 2 points"),
        (polygon((0, 0), (1, 1), (2, "x")), "a finite number"),
        (polygon((0, 0), (1, 1), (2, 1e300)), "beyond"),
        (polygon((0, 0), (1, 1), (2,)), "x, y are expected"),
        ({"type": "MultiPolygon", "coordinates": [[1, 2], 3]}, "rings of points"),
    ],
)
def test_a_feature_that_is_no_polygon_is_named(geometry, words):
    bad, good = parsed(geometry, SQUARE).features
    assert words in bad.fault and len(bad.points) == 0 and good.fault is None


@pytest.mark.parametrize(("data", "words"), [(b"{}", "no list `features`"), (b"", "empty"), (b"[[[", "not JSON")])
def test_files_of_something_else(data, words):
    with pytest.raises(BadItem, match=words):
        parse_geojson(data, "a.geojson")


@pytest.mark.parametrize(
    "keys", [{"crs": None, "transform": place(0)}, {"transform": None}, {"crs": None, "transform": None}]
)
def test_a_picture_without_a_place_is_refused(tmp_path, keys):
    with pytest.raises(BadItem, match="no place on a map"):
        raster(tmp_path / "a.tif", keys["transform"], keys.get("crs", "EPSG:32633"))


def test_points_that_have_no_place():
    with pytest.raises(BadItem, match=r"cannot be placed|no place"):
        reprojected(np.array([[15.0, 95.0], [15, 45], [16, 45]]), LONGITUDE_LATITUDE, "EPSG:32633", "a.geojson")
    with pytest.raises(BadItem, match="cannot be placed"):
        reprojected(np.array([[15.0, 45.0]]), "EPSG:999999", "EPSG:32633", "a.geojson")
    bad, good = parsed(polygon((15, 95), (15, 45), (16, 45)), SQUARE).features
    assert "latitude" in on_earth(bad, LONGITUDE_LATITUDE).fault and on_earth(bad, "EPSG:32633").fault is None
    assert on_earth(good, LONGITUDE_LATITUDE) is good
