import contextlib
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import converters
from converters.detection.ssdd.xml import parse_ssdd
from converters.scan import scan_source
from mmrs.errors import BadItem, UserError
from mmrs.geometry import quad_from_rotated
from mmrs.imaging.probe import probe
from mmrs.polygons import quad_iou
from mmrs.progress import Progress

EVERY_SUBSET = ("BBox_RBox_PSeg_SSDD", "RBox_SSDD", "PSeg_SSDD", "BBox_SSDD")
BOX = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax></bndbox>"
CORNERS = "<x1>1</x1><y1>2</y1><x2>9</x2><y2>2</y2><x3>9</x3><y3>5</y3><x4>1</x4><y4>5</y4>"


def read_all(root, split="train", **options):
    converter = converters.get("ssdd", **options)
    found = converter.discover(root, split)
    return found, {item.stem: converter.read(item) for item in found.items}


def annotation(inner):
    return f"<annotation><object>\n<name>ship</name>{inner}</object></annotation>".encode()


def test_genuine_official_files(genuine):
    found, read = read_all(genuine("ssdd-official"))
    assert found.problems == () and {stem: len(known.objects) for stem, known in read.items()} == {
        "000002": 1,
        "000006": 3,
    }
    (ship,) = read["000002"].objects
    assert ship.hbb == (211, 152, 261, 167)
    assert ship.quad == ((210.0, 155.0), (260.0, 151.0), (261.0, 165.0), (211.0, 169.0))
    assert ship.flags == {"rotated": [235.0, 160.0, 13.0, 49.0, 85.03025817871094]}
    assert read["000002"].declared_size == (501, 355)
    assert [probe(item.image).upright_size for item in found.items] == [known.declared_size for known in read.values()]


def test_genuine_angles_are_degrees_of_the_w_side(genuine):
    for known in read_all(genuine("ssdd-official"))[1].values():
        for ship in known.objects:
            cx, cy, w, h, theta = ship.flags["rotated"]
            right = quad_from_rotated([(cx, cy, w, h, np.deg2rad(theta))])
            wrong = quad_from_rotated([(cx, cy, w, h, -np.deg2rad(theta))])
            assert quad_iou([ship.quad], right)[0, 0] > max(0.8, quad_iou([ship.quad], wrong)[0, 0])
            assert "angle_disagrees_px" not in ship.flags


@pytest.mark.parametrize(("split", "images", "objects"), [("train", 150, 334), ("test", 40, 123)])
def test_genuine_pack(genuine, split, images, objects):
    found, read = read_all(genuine("ssdd-mmrotate-pack"), split)
    assert found.problems == () and "annotations taken from mmrotate" in found.notes
    assert (len(read), sum(len(known.objects) for known in read.values())) == (images, objects)
    headers = {(item.image.suffix, probe(item.image).format, probe(item.image).suffix) for item in found.items}
    assert headers == {(".png", "JPEG", "jpg")}
    assert all(obj.hbb is None and obj.label == "ship" for known in read.values() for obj in known.objects)


@pytest.mark.parametrize(("split", "objects"), [("train", 334), ("test", 120)])
def test_genuine_pack_json_names_other_suffixes_and_a_number_as_class(genuine, split, objects):
    found, read = read_all(genuine("ssdd-mmrotate-pack"), split, layout="mmrotate_json")
    ships = [obj for known in read.values() for obj in known.objects]
    assert found.problems == () and len(ships) == objects
    assert {(ship.label, ship.category) for ship in ships} == {("0", "ship")}
    sizes = {item.stem: probe(item.image).upright_size for item in found.items}
    assert sizes == {stem: known.declared_size for stem, known in read.items()}


def test_genuine_pack_images_that_are_filed_offshore(genuine, tmp_path):
    root = shutil.copytree(genuine("ssdd-mmrotate-pack"), tmp_path / "pack")
    folder = root / "test" / "offshore" / "labelTxt"
    folder.mkdir(parents=True)
    shutil.copy(root / "test" / "all" / "labelTxt" / "000011.txt", folder)
    read = read_all(root, "test")[1]
    assert read["000011"].metadata == {"place": "offshore"} and read["000019"].metadata == {}


@pytest.mark.parametrize("subset", EVERY_SUBSET)
@pytest.mark.parametrize("layout", ["voc", "coco"])
def test_every_subset_in_both_styles(fake, subset, layout):
    if (layout, subset) == ("coco", "RBox_SSDD"):
        pytest.skip("a COCO style of RBox_SSDD was never seen")
    root = fake("ssdd", subsets=EVERY_SUBSET)
    for split, count in (("train", 6), ("test", 4)):
        found, read = read_all(root, split, layout=layout, subset=subset)
        assert len(read) == count and found.problems == ()
        ships = [obj for known in read.values() for obj in known.objects]
        assert all((ship.hbb is None) == (subset == "RBox_SSDD") for ship in ships)
        if subset != "BBox_SSDD" or layout == "coco":
            expected = [obj.quad for known in read_all(root, split)[1].values() for obj in known.objects]
            overlap = np.diag(quad_iou([ship.quad for ship in ships], expected))
            assert overlap.min() > 0.55 and overlap.mean() > 0.8


def test_whole_numbers_of_xml_are_floors_of_the_json(fake):
    root = fake("ssdd")
    voc, coco = (read_all(root, layout=layout)[1] for layout in ("voc", "coco"))
    for stem, known in voc.items():
        for coarse, fine in zip(known.objects, coco[stem].objects, strict=True):
            assert coarse.hbb == tuple(np.floor(fine.hbb))
    assert {item.payload["layout"] for item in converters.get("ssdd").discover(root, "train").items} == {
        "BBox_RBox_PSeg_SSDD/voc_style"
    }


def test_test_images_know_whether_they_lie_inshore(fake):
    places = {stem: known.metadata["place"] for stem, known in read_all(fake("ssdd"), "test")[1].items()}
    assert set(places.values()) == {"inshore", "offshore"}


def test_one_folder_of_all_images_is_split_by_last_digits(fake):
    root = fake("ssdd")
    folder = root / "BBox_RBox_PSeg_SSDD" / "voc_style"
    for what in ("Annotations", "JPEGImages"):
        (folder / what).mkdir()
        for split in ("train", "test"):
            for path in (folder / f"{what}_{split}").iterdir():
                path.rename(folder / what / path.name)
            shutil.rmtree(folder / f"{what}_{split}")
    assert {stem[-1] for stem in read_all(root, "test")[1]} == {"1", "9"}
    assert not {stem[-1] for stem in read_all(root, "train")[1]} & {"1", "9"}


def test_a_test_image_among_the_train_files_is_said(fake):
    root = fake("ssdd") / "BBox_RBox_PSeg_SSDD" / "voc_style"
    for what, suffix in (("Annotations", "xml"), ("JPEGImages", "jpg")):
        shutil.copy(root / f"{what}_test" / f"000001.{suffix}", root / f"{what}_train")
    assert any("1 files of train belong to the other split" in note for note in read_all(root.parents[1])[0].notes)


@pytest.mark.parametrize("depth", [1, 2])
def test_the_archives_own_folders(fake, tmp_path, depth):
    outer = tmp_path / "outer"
    target = outer.joinpath(*["Official-SSDD-OPEN"] * depth)
    target.parent.mkdir(parents=True)
    fake("ssdd").rename(target)
    assert len(read_all(outer)[1]) == 6
    assert len(read_all(target / "BBox_RBox_PSeg_SSDD")[1]) == 6


def test_junk_and_files_without_a_partner(fake):
    root = fake("ssdd")
    folder = root / "BBox_RBox_PSeg_SSDD" / "voc_style"
    for junk in ("._000002.xml", ".DS_Store"):
        (folder / "Annotations_train" / junk).write_bytes(b"\0")
    (folder / "JPEGImages_train" / "000002.jpg").unlink()
    (folder / "Annotations_train" / "000003.xml").unlink()
    found, read = read_all(root)
    assert {reason for _, reason in found.problems} == {"image without a label file", "label file without an image"}
    assert len(read) == 4


def test_wrong_angles_are_flagged():
    angle = "<rotated_bbox_{}>{}</rotated_bbox_{}>"
    numbers = dict(zip(("cx", "cy", "w", "h", "theta"), (50, 50, 60, 10, 30), strict=True))
    corners = quad_from_rotated([(50, 50, 60, 10, np.deg2rad(30))])[0]
    nodes = "".join(angle.format(name, value, name) for name, value in numbers.items())
    nodes += "".join(f"<x{i}>{round(x)}</x{i}><y{i}>{round(y)}</y{i}>" for i, (x, y) in enumerate(corners, 1))
    text = f"<rotated_bndbox>{nodes}</rotated_bndbox>"
    good = parse_ssdd(annotation(text), "a.xml").objects[0]
    assert good.flags == {"rotated": [50.0, 50.0, 60.0, 10.0, 30.0]}
    bad = parse_ssdd(annotation(text.replace(">30<", ">60<", 1)), "a.xml").objects[0]
    assert bad.flags["angle_disagrees_px"] > 10 and bad.corners == good.corners


@pytest.mark.parametrize(
    ("inner", "words"),
    [
        ("", "none of <bndbox>, <rotated_bndbox> and <segm>"),
        ("<segm><point-1>1,2</point-1><point-2>1,9</point-2></segm>", "2 points"),
        ("<segm><point-1>1;2</point-1></segm>", "the text x,y"),
        ("<segm><point-1>1,b</point-1></segm>", "point-1 is 'b'"),
        (BOX.replace(">1<", ">31<"), "is inverted"),
        (f"<rotated_bndbox>{CORNERS.replace('<y4>5</y4>', '')}</rotated_bndbox>", "without <y4>"),
    ],
)
def test_bad_objects(inner, words):
    (row,) = parse_ssdd(annotation(inner), "a.xml").unread
    assert words in row.reason and (row.path, row.line) == ("a.xml", 1)


def test_a_polygon_alone_gives_both_boxes():
    points = "".join(f"<point-{n}>{p}</point-{n}>" for n, p in enumerate(("0,0", "10,10", "8,12", "-2,2"), 1))
    (ship,) = parse_ssdd(annotation(f"<segm>{points}</segm>"), "a.xml").objects
    assert ship.box == (-2, 0, 10, 12)
    corners = sorted(np.reshape(ship.corners, (4, 2)).tolist())
    np.testing.assert_allclose(corners, [[-2, 2], [0, 0], [8, 12], [10, 10]], atol=1e-9)


def test_refusals(fake, tmp_path):
    root = fake("ssdd", subsets=("BBox_SSDD",))
    with pytest.raises(UserError, match="choose subset=BBox_SSDD"):
        read_all(root, layout="voc")
    assert converters.get("ssdd", subset="BBox_SSDD").tasks == ("detection-hbb",)
    with pytest.raises(UserError, match="no labels for layout=mmrotate"):
        read_all(root, layout="mmrotate")
    with pytest.raises(UserError, match="found:"):
        read_all(tmp_path / "none")


def test_published_counts_follow_the_layout():
    assert converters.get("ssdd").published("train").objects == 2041
    assert converters.get("ssdd", layout="mmrotate").published("test").objects == 532


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_bytes_cost_an_item_and_never_crash(data):
    whole = bytearray(
        annotation(BOX + f"<rotated_bndbox>{CORNERS}</rotated_bndbox><segm><point-1>1,2</point-1></segm>")
    )
    start = data.draw(st.integers(0, len(whole)))
    pieces = st.sampled_from([b"", b"NaN", b"-1e999", b"<", b"</", b"\xff", b"\0", b"&x;", b"1,2", b"-"])
    whole[start : start + data.draw(st.integers(0, 12))] = data.draw(pieces | st.binary(max_size=6))
    with contextlib.suppress(BadItem):
        assert all(obj.box or obj.corners for obj in parse_ssdd(bytes(whole), "x").objects)


def test_scan_compares_with_the_counts_of_the_layout_that_it_took(genuine):
    scanned = scan_source("ssdd", genuine("ssdd-mmrotate-pack"), {}, Progress(quiet=True))
    assert [part.published_objects for part in scanned.splits] == [2017, 532]
