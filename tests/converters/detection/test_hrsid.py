import json

import numpy as np
import pytest

import converters
from mmrs.errors import UserError
from mmrs.geometry import hbb_from_quad


def read_all(root, split="train", **options):
    converter = converters.get("hrsid", **options)
    found = converter.discover(root, split)
    return found, {item.stem: converter.read(item) for item in found.items}


def rewrite(root, change, split="train", folder="HRSID_JPG"):
    path = root / folder / "annotations" / f"{split}2017.json"
    tables = json.loads(path.read_text())
    change(tables)
    path.write_text(json.dumps(tables))


def one_ship(root, **fields):
    """Make the first row of the train file the only one and change it; returns the ship that is read."""

    def change(tables):
        tables["annotations"] = [tables["annotations"][0] | fields]

    rewrite(root, change)
    return next(known.objects[0] for known in read_all(root)[1].values() if known.objects)


@pytest.mark.parametrize("flavour", ["jpg", "png"])
@pytest.mark.parametrize(("split", "count"), [("train", 4), ("test", 3)])
def test_both_releases(fake, flavour, split, count):
    found, read = read_all(fake("hrsid", flavours=("jpg", "png")), split, flavour=flavour)
    assert len(read) == count and found.problems == ()
    assert {item.image.suffix for item in found.items} == {f".{flavour}"}
    assert all(known.declared_size == (800, 800) for known in read.values())
    assert all(ship.category == "ship" and ship.hbb for known in read.values() for ship in known.objects)


def test_releases_agree_and_the_uncompressed_one_goes_first(fake):
    root = fake("hrsid", flavours=("jpg", "png"))
    jpg, png, auto = (read_all(root, flavour=flavour) for flavour in ("jpg", "png", "auto"))
    boxes = [
        {stem: sorted(ship.hbb for ship in known.objects) for stem, known in part[1].items()} for part in (jpg, png)
    ]
    for stem, expected in boxes[0].items():
        np.testing.assert_allclose(boxes[1][stem], expected, atol=1)
    assert auto[0].items == png[0].items
    assert [item.payload["layout"] for item in auto[0].items] == ["png"] * 4


def test_ids_restart_in_every_file_and_are_never_merged(fake):
    root = fake("hrsid")
    ids = [{item.payload["id"] for item in read_all(root, split)[0].items} for split in ("train", "test")]
    assert ids == [{0, 1, 2, 3}, {0, 1, 2}]
    assert not read_all(root)[1].keys() & read_all(root, "test")[1].keys()


def test_a_pixel_contour_covers_its_last_pixels(fake):
    # The official sample: the contour's columns 794..799 give the width 6.
    contour = [794, 97, 794, 101, 799, 101, 799, 97]
    ship = one_ship(fake("hrsid"), segmentation=[contour], bbox=[794.0, 97.0, 6.0, 5.0])
    assert ship.hbb == (794, 97, 800, 102)
    np.testing.assert_allclose(hbb_from_quad([ship.quad])[0], ship.hbb, atol=1e-3)


def test_a_hand_drawn_polygon_is_taken_as_it_is(fake):
    polygon = [10.5, 10.0, 30.5, 30.0, 26.5, 34.0, 6.5, 14.0]
    ship = one_ship(fake("hrsid"), segmentation=[polygon], bbox=[6.0, 10.0, 26.0, 25.0])
    expected = sorted(map(list, zip(polygon[::2], polygon[1::2], strict=True)))
    np.testing.assert_allclose(sorted(map(list, ship.quad)), expected, atol=1e-3)


def test_a_ship_of_one_pixel_row_still_has_an_oriented_box(fake):
    ship = one_ship(fake("hrsid"), segmentation=[[5, 7, 9, 7]], bbox=[5, 7, 5, 1])
    assert not ship.ignore and sorted(ship.quad) == [(5.0, 7.0), (5.0, 8.0), (10.0, 7.0), (10.0, 8.0)]


def test_several_parts_are_one_ship_and_no_polygon_leaves_the_box(fake):
    root = fake("hrsid")
    parts = [[0, 0, 1, 0, 1, 1], [8, 8, 9, 8, 9, 9]]
    assert hbb_from_quad([one_ship(root, segmentation=parts, bbox=[0, 0, 10, 10]).quad])[0, 2] > 9
    assert one_ship(root, segmentation=[], bbox=[2, 3, 4, 5]).quad == ((2, 3), (6, 3), (6, 8), (2, 8))


def test_relabelled_files_use_other_ids_and_have_a_box_without_size(fake):
    root = fake("hrsid")

    def relabel(tables):
        tables["categories"] = [{"id": 0, "name": "ship"}]
        for row in tables["annotations"]:
            row["category_id"] = 0
            row["image_id"] += 20180000000
        for image in tables["images"]:
            image["id"] += 20180000000
        tables["annotations"][0] |= {"bbox": [5, 5, 0, 0], "segmentation": []}

    rewrite(root, relabel)
    found, read = read_all(root)
    ships = [ship for known in read.values() for ship in known.objects]
    assert found.problems == () and [ship.flags for ship in ships if ship.ignore] == [{"zero_area": True}]


def test_scene_and_window_come_from_the_name(fake):
    root = fake("hrsid", images_per_split={"train": 5})
    found, read = read_all(root)
    scenes = {item.stem: item.scene for item in found.items}
    assert scenes["P0001_600_1400_3000_3800"] == "P0001" and scenes["P0137_4"] is None
    assert read["P0001_600_1400_3000_3800"].metadata == {"name_window": [600, 1400, 3000, 3800]}
    assert read["P0137_4"].metadata == {}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"segmentation": {"counts": "x", "size": [1, 1]}}, "lists of x, y are expected"),
        ({"segmentation": [[1, 2, 3]]}, "lists of x, y are expected"),
        ({"segmentation": [["a", "b"]]}, "a finite number is expected"),
        ({"bbox": [1, 2, 3]}, "4 numbers are expected"),
        ({"bbox": [1, 2, -3, 4]}, "is inverted"),
        ({"category_id": 9}, "of which the file has no name"),
    ],
)
def test_bad_rows(fake, fields, words):
    root = fake("hrsid")
    rewrite(root, lambda tables: tables["annotations"][0].update(fields))
    (row,) = [row for known in read_all(root)[1].values() for row in known.unread]
    assert words in row.reason.replace("\\", "") and row.path.endswith("train2017.json")


def test_images_that_are_absent_or_lead_elsewhere(fake):
    root = fake("hrsid")
    next((root / "HRSID_JPG" / "JPEGImages").glob("P0001_0_*")).unlink()

    def rename(tables):
        tables["images"][1]["file_name"] = "../secret.jpg"

    rewrite(root, rename)
    found, read = read_all(root)
    assert len(read) == 2
    assert ["is not in the image folder" in reason or "never followed" in reason for _, reason in found.problems] == [
        True,
        True,
    ]


@pytest.mark.parametrize("where", [".", "HRSID_JPG"])
def test_roots_that_are_understood(fake, where):
    root = fake("hrsid")
    assert len(read_all(root / where)[1]) == 4
    (root / "HRSID_JPG").rename(root / "HRSID")
    assert len(read_all(root)[1]) == 4


def test_refusals(fake, tmp_path):
    root = fake("hrsid")
    with pytest.raises(UserError, match="expected: HRSID_JPG"):
        read_all(tmp_path / "none")
    with pytest.raises(UserError, match="does not hold"):
        read_all(root, flavour="png")
    (root / "HRSID_JPG" / "annotations" / "test2017.json").write_text("{")
    with pytest.raises(UserError, match=r"not JSON.*A whole split depends on this file"):
        read_all(root, "test")
    (root / "HRSID_JPG" / "annotations" / "test2017.json").unlink()
    with pytest.raises(UserError, match=r"has no annotations/test2017\.json"):
        read_all(root, "test")
