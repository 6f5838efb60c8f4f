import io

import numpy as np
import pytest
from PIL import Image

import converters
from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.errors import BadItem, UserError
from mmrs.imaging.probe import probe
from mmrs.progress import Progress
from mmrs.shards.reader import ShardSet
from mmrs.source import SourceBuild
from tests.support.rendering import render_to_8bit

QUIET = Progress(quiet=True)


def read_all(root, split="train", **options):
    converter = converters.get("air-sarship", **options)
    found = converter.discover(root, split)
    return found, {item.stem: converter.read(item) for item in found.items}


def ring(*points):
    inner = "".join(f"<point>{x}, {y}</point>" for x, y in points)
    return (
        "<annotation><objects><object><possibleresult><name>ship</name></possibleresult>"
        f"<points>{inner}</points></object></objects></annotation>"
    )


@pytest.mark.parametrize("release", ["1.0", "2.0"])
def test_both_releases_and_their_splits(fake, release):
    root = fake("air-sarship", release=release)
    first = {"1.0": "SARShip-1.0-22", "2.0": "201"}[release]
    for split, count in (("train", 3), ("test", 2)):
        found, read = read_all(root, split, release=release)
        assert len(read) == count and found.problems == ()
        assert (first in read) == (split == "test")
        assert all(ship.category == "ship" and ship.hbb for known in read.values() for ship in known.objects)
        assert {known.declared_size for known in read.values()} == {(1300, 1300) if release == "1.0" else None}
    assert found.items[0].scene == found.items[0].stem


def test_images_are_16_bit_and_one_band(fake):
    item = read_all(fake("air-sarship"))[0].items[0]
    assert (probe(item.image).mode, probe(item.image).raster) == ("1 x uint16", True)


def test_the_sample_of_the_reference(fake):
    root = fake("air-sarship")
    corners = [(412, 230), (455, 230), (455, 268), (412, 268)]
    path = root / "AIR-SARShip-2.0-xml" / "1.xml"
    for points in (corners, [*corners, corners[0]], [corners[2], corners[3], corners[0], corners[1]]):
        path.write_text(ring(*points))
        (ship,) = read_all(root)[1]["1"].objects
        assert ship.hbb == (412, 230, 455, 268) and ship.quad == tuple(corners)


def test_negative_numbers_are_reported(fake):
    root = fake("air-sarship")
    (root / "AIR-SARShip-2.0-xml" / "1.xml").write_text(ring((-1, 2), (9, 2), (9, 8), (-1, 8)))
    assert read_all(root)[1]["1"].objects[0].flags == {"negative_coordinate": True}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ring((1, 2), (3, 4)), "four corners"),
        (ring((1, 2), (3, 4), (5, 6), (7, "x")), "a finite number is expected"),
        (ring((1, 2), (9, 2), (9, 8), (1, 8)).replace(">ship<", ">plane<"), "unknown class 'plane'"),
        ("<annotation><objects><object/></objects></annotation>", "without <possibleresult>"),
    ],
)
def test_bad_labels(fake, text, words):
    root = fake("air-sarship")
    (root / "AIR-SARShip-2.0-xml" / "1.xml").write_text(text)
    known = read_all(root)[1]["1"]
    assert known.objects == () and [words in row.reason for row in known.unread] == [True]


def test_an_empty_label_file(fake):
    root = fake("air-sarship")
    (root / "AIR-SARShip-2.0-xml" / "1.xml").write_text("")
    with pytest.raises(BadItem, match="empty file"):
        read_all(root)


def test_files_without_a_partner_or_a_number(fake):
    root = fake("air-sarship")
    (root / "AIR-SARShip-2.0-xml" / "2.xml").rename(root / "AIR-SARShip-2.0-xml" / "900.xml")
    (root / "AIR-SARShip-2.0-data" / "3.tiff").rename(root / "AIR-SARShip-2.0-data" / "sea.tiff")
    (root / "AIR-SARShip-2.0-data" / "notes.txt").touch()
    found, read = read_all(root)
    assert list(read) == ["1"]
    assert sorted(reason.split(",")[0] for _, reason in found.shared_problems) == [
        "file name has no scene number",
        "image without a label file",
        "label file without an image",
        "label file without an image",
    ]
    assert not any("notes.txt" in path for path in found.looked_at())
    assert found.problems == read_all(root, "test")[0].problems == ()
    assert read_all(root, "test")[0].shared_problems == found.shared_problems


def test_roots_and_refusals(fake, tmp_path):
    root = fake("air-sarship")
    assert len(read_all(root / "AIR-SARShip-2.0-data")[1]) == 3
    assert len(read_all(root.parent)[1]) == 3
    with pytest.raises(UserError, match=r"expected: AIR-SARShip-2\.0-data"):
        read_all(root, release="1.0")
    (root / "AIR-SARShip-2.0-xml").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"no AIR-SARShip-2\.0-xml"):
        read_all(root)


def test_options():
    assert converters.get("air-sarship").tiling is None
    assert converters.get("air-sarship").options() == {"release": "2.0", "stretch": "log"}
    assert converters.get("air-sarship", release=1.0, tile_size=512).tiling.size == 512
    assert converters.get("air-sarship", release="1.0").published("test").images == 10
    with pytest.raises(UserError, match="overlap"):
        converters.get("air-sarship", release="1.0", tile_overlap=1000)


@pytest.mark.parametrize(("stretch", "kind"), [("log", "20*log10"), ("linear", "linear")])
def test_tiles_of_large_scenes_share_the_stretch_of_their_scene(fake, tmp_path, stretch, kind):
    root = fake("air-sarship", release="1.0", images_per_split={"train": 1})
    source = converters.get("air-sarship", release="1.0", stretch=stretch, keep_empty=1.0)
    recipe = BuildRecipe.model_validate({"sources": [{"name": "air-sarship"}]})
    plan = plan_build([SourceBuild(source, root, ("train",))], recipe, 1, QUIET)
    build(plan, recipe, tmp_path / "out", 1, QUIET)
    data = ShardSet(tmp_path / "out")
    rows = data.table("train").to_pylist()
    records = [data.record(row) for row in rows]
    assert len(records) == 4 and len({str(record.image.render) for record in records}) == 1
    assert records[0].image.render["kind"] == kind
    with Image.open(source.discover(root, "train").items[0].image) as image:
        scene = render_to_8bit(np.asarray(image), "sar", source.bands)[0]
    for row, record in zip(rows, records, strict=True):
        window = record.image.window
        cut = scene[window.y : window.y + 1000, window.x : window.x + 1000]
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data.image(row)))), cut)
