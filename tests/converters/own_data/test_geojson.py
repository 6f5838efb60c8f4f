"""GeoJSON over GeoTIFFs as a user's own data: a file an image, or one for all, by name or by place."""

import json

import numpy as np
import pytest
import rasterio
import yaml
from rasterio.transform import Affine

import converters
from converters.formats.geojson import LONGITUDE_LATITUDE
from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.errors import UserError
from mmrs.progress import Progress
from mmrs.source import SourceBuild

QUIET = Progress(quiet=True)


@pytest.fixture
def town(tmp_path):
    """Two GeoTIFFs of 96 x 64 pixels beside each other, one metre a pixel, the second in another zone."""
    root = tmp_path / "town"
    (root / "images").mkdir(parents=True)
    for number, crs in enumerate(("EPSG:32633", "EPSG:32633")):
        transform = Affine(1, 0, 500_000 + 96 * number, 0, -1, 5_000_000)
        size = {"width": 96, "height": 64, "count": 3, "dtype": "uint8"}
        path = root / "images" / f"{'ab'[number]}.tif"
        with rasterio.open(path, "w", driver="GTiff", crs=crs, transform=transform, **size) as scene:
            scene.write(np.full((3, 64, 96), 60 + number, dtype=np.uint8))

    def make(features, crs="EPSG:32633", name="all.geojson", **options):
        rows = []
        for (x1, y1, x2, y2), properties in features:
            ring = [[x1, y1], [x2, y1], [x2, y2], [x1, y2], [x1, y1]]
            on_map = [[500_000 + x, 5_000_000 - y] for x, y in ring]
            if crs == LONGITUDE_LATITUDE:
                from rasterio.warp import transform as warp

                on_map = [
                    list(point) for point in zip(*warp("EPSG:32633", crs, *zip(*on_map, strict=True)), strict=True)
                ]
            geometry = {"type": "Polygon", "coordinates": [on_map]}
            rows.append({"type": "Feature", "properties": properties, "geometry": geometry})
        content = {"type": "FeatureCollection", "features": rows}
        if crs != LONGITUDE_LATITUDE:
            content["crs"] = {"type": "name", "properties": {"name": crs}}
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(json.dumps(content))
        described = {"name": "town", "format": "geojson", "sensor": "optical", "images": "images", "classes": ["house"]}
        described |= {"annotations": "labels" if name.startswith("labels") else name, "options": options}
        (tmp_path / "town.yaml").write_text(yaml.safe_dump(described))
        return root, converters.get("generic", description=str(tmp_path / "town.yaml"))

    return make


def boxes(root, converter):
    found = converter.discover(root, "train")
    known = {item.stem: converter.read(item) for item in found.items}
    return found, {
        stem: [tuple(round(value, 2) + 0.0 for value in thing.extent()) for thing in one.objects]
        for stem, one in known.items()
    }


@pytest.mark.parametrize("crs", ["EPSG:32633", LONGITUDE_LATITUDE])
def test_features_of_one_file_go_where_they_lie(town, crs):
    """One on the border belongs to both images, one that lies on none is counted."""
    root, converter = town(
        [((10, 10, 20, 30), {}), ((90, 5, 100, 9), {}), ((150, 40, 160, 50), {}), ((300, 1, 310, 9), {})], crs
    )
    found, placed = boxes(root, converter)
    assert placed == {"a": [(10, 10, 20, 30), (90, 5, 100, 9)], "b": [(-6, 5, 4, 9), (54, 40, 64, 50)]}
    assert found.unread_rows == ((f"{root}/all.geojson", "features[3] lies on none of the images"),)
    assert converter.read(found.items[0]).declared_size == (96, 64)


def test_images_by_a_property(town):
    root, converter = town(
        [
            ((10, 10, 20, 30), {"image": "a.tif"}),
            ((150, 40, 160, 50), {"image": "b"}),
            ((1, 1, 2, 2), {}),
            ((1, 1, 2, 2), {"image": "../../a.tif"}),
        ],
        image_property="image",
    )
    found, placed = boxes(root, converter)
    assert placed == {"a": [(10, 10, 20, 30)], "b": [(54, 40, 64, 50)]}
    assert [reason for _, reason in found.unread_rows] == ["features[2] names no image: None"]
    assert "leads to another folder" in found.shared_problems[0][1]


def test_a_file_an_image_and_features_outside_of_it(town, tmp_path):
    """As for every format: an object outside of its image costs itself and what is said of all objects."""
    root, converter = town([((10, 10, 20, 30), {"ignore": True}), ((300, 1, 310, 9), {})], name="labels/a.geojson")
    town([((100, 5, 110, 9), {"class": "house"})], name="labels/b.geojson")
    assert boxes(root, converter)[1] == {"a": [(10, 10, 20, 30), (300, 1, 310, 9)], "b": [(4, 5, 14, 9)]}
    recipe = BuildRecipe.model_validate({"sources": [{"name": "generic"}], "quarantine_ceiling": 1.0})
    plan = plan_build([SourceBuild(converter, root, ("train",))], recipe, 1, QUIET)
    result = build(plan, recipe, tmp_path / "out", 1, QUIET)
    assert [(entry.level, entry.id) for entry in result.quarantine] == [("object", "town/train/a")]
    assert "outside the 96x64 image" in result.quarantine[0].reason


def test_classes_by_a_property(town):
    root, converter = town(
        [((1, 1, 9, 9), {"kind": "house"}), ((1, 1, 5, 5), {"kind": 7}), ((2, 2, 9, 9), {"kind": None})],
        label_property="kind",
    )
    known = converter.read(converter.discover(root, "train").items[0])
    assert len(known.objects) == 1
    assert sorted(row.reason.partition(" ")[0] for row in known.unread) == ["features[2]", "unknown"]


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
def test_an_image_without_a_place_costs_itself(town):
    root, converter = town([((10, 10, 20, 30), {})])
    with rasterio.open(
        root / "images" / "c.tif", "w", driver="GTiff", width=9, height=9, count=1, dtype="uint8"
    ) as scene:
        scene.write(np.zeros((1, 9, 9), dtype=np.uint8))
    found, placed = boxes(root, converter)
    assert list(placed) == ["a", "b"] and "no place on a map" in found.shared_problems[0][1]


def test_several_classes_need_a_property(town, tmp_path):
    root, _ = town([((10, 10, 20, 30), {})])
    path = tmp_path / "town.yaml"
    path.write_text(path.read_text().replace("- house", "- house\n- road"))
    with pytest.raises(UserError, match=r"needs options\.label_property"):
        converters.get("generic", description=str(path)).discover(root, "train")
