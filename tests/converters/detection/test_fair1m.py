import shutil

import numpy as np
import pytest

import converters
from converters.detection.fair1m import parse_fair1m
from mmrs.errors import BadItem, UserError
from mmrs.geometry import signed_area
from mmrs.source import Tiling

# The first object of the real part1/0.xml, a ring that is anticlockwise on screen.
RING = ("1275.000000,458.000000", "1494.000000,88.000000", "1418.000000,43.000000", "1200.000000,414.000000")


def read_all(root, split="train", **options):
    converter = converters.get("fair1m", **options)
    found = converter.discover(root, split)
    return found, {item.stem: converter.read(item) for item in found.items}


def document(points, name="Liquid Cargo Ship"):
    rows = "".join(f"<point>{point}</point>" for point in points)
    return (
        "<annotation><source><filename>0.tif</filename></source><size><width>1500</width><height>1500</height></size>"
        f"<objects>\n<object><possibleresult><name>{name}</name></possibleresult><points>{rows}</points></object>"
        "</objects></annotation>"
    )


def test_equal_names_of_the_parts_stay_apart(fake):
    found, read = read_all(fake("fair1m"))
    assert list(read) == ["part1-0", "part1-1", "part2-0", "part2-1"] and found.problems == ()
    assert read["part2-1"].provenance.annotation == "train/part2/labelXml/1.xml"


def test_validation_has_label_folders_of_another_name(fake):
    root = fake("fair1m")
    assert (root / "validation" / "labelXmls").is_dir()
    assert list(read_all(root, "val")[1]) == ["0", "1"]


def test_quoted_ring_becomes_clockwise(fake):
    root = fake("fair1m")
    (root / "train" / "part1" / "labelXml" / "0.xml").write_text(document([*RING, RING[0]]))
    (obj,) = read_all(root)[1]["part1-0"].objects
    assert obj.quad == ((1418, 43), (1494, 88), (1275, 458), (1200, 414))
    assert (obj.label, obj.category, obj.hbb) == ("Liquid Cargo Ship", "liquid cargo ship", None)


def test_all_quads_are_clockwise_and_some_reach_past_the_border(fake):
    read = read_all(fake("fair1m"))[1]
    quads = np.array([obj.quad for known in read.values() for obj in known.objects])
    assert (signed_area(quads) > 0).all()
    assert quads[..., 1].max() > 1100


@pytest.mark.parametrize("name", ["liquid_cargo_ship", "LiquidCargoShip", "Liquid Cargo Ship"])
def test_spellings_of_a_class(name):
    (obj,) = parse_fair1m(document([*RING, RING[0]], name).encode(), "x").objects
    assert obj.label == name


@pytest.mark.parametrize("points", [RING, [*RING, RING[0]], [point.replace(",", ", ") for point in [*RING, RING[0]]]])
def test_forms_of_a_ring(points):
    (obj,) = parse_fair1m(document(points).encode(), "x").objects
    assert obj.corners == (1275, 458, 1494, 88, 1418, 43, 1200, 414)


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ([*RING, RING[1]], "5 points"),
        (RING[:3], "3 points"),
        ([], "0 points"),
        ([*RING[:3], "1;2"], "not of the form x,y"),
        ([*RING[:3], "1,far"], "point is 'far'"),
        ([*RING[:3], ""], "not of the form"),
    ],
)
def test_bad_rings(points, words):
    parsed = parse_fair1m(document(points).encode(), "0.xml")
    (row,) = parsed.unread
    assert words in row.reason and (row.path, row.line) == ("0.xml", 2) and parsed.objects == ()


def test_unknown_class_and_other_image(fake):
    root = fake("fair1m")
    path = root / "train" / "part1" / "labelXml" / "0.xml"
    path.write_text(document([*RING, RING[0]], "Zeppelin"))
    unread = [row.reason for known in read_all(root)[1].values() for row in known.unread]
    assert unread == ["unknown class 'Zeppelin'"]
    path.write_text(document([*RING, RING[0]]).replace("0.tif", "7.tif"))
    with pytest.raises(BadItem, match="label file of another image"):
        read_all(root)


def test_images_and_labels_without_a_partner(fake):
    root = fake("fair1m")
    (root / "train" / "part2" / "labelXml" / "1.xml").rename(root / "train" / "part2" / "labelXml" / "9.xml")
    reasons = [reason for _, reason in read_all(root)[0].problems]
    assert reasons == ["image without a label file", "label file without an image"]


def test_missing_validation_and_roots(fake):
    root = fake("fair1m")
    assert "one folder up" in read_all(root / "train")[0].notes[0]
    shutil.rmtree(root / "validation")
    with pytest.raises(UserError, match="no folder validation with images and labelXml"):
        read_all(root, "val")


def test_tiling_options():
    assert converters.get("fair1m").tiling == Tiling(1024, 200, 0.7, 0.0)
    with pytest.raises(UserError, match="tiling overlap 600"):
        converters.get("fair1m", tile_size=600, tile_overlap=600)
