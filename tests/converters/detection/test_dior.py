import shutil
from collections import Counter

import numpy as np
import pytest
from click.testing import CliRunner

import cli
import converters
from mmrs.errors import BadItem, UserError
from mmrs.geometry import signed_area
from mmrs.shards.manifest import load_manifest
from tests.support.hints import commands_in, words_of

KINDS = ("horizontal", "oriented")
GENUINE = {"train": 40, "val": 20, "test": 20}


def read_all(root, split="train", **options):
    converter = converters.get("dior", **options)
    found = converter.discover(root, split)
    return found, {item.stem: converter.read(item) for item in found.items}


@pytest.fixture
def genuine_with_images(genuine, tmp_path):
    """The genuine label files beside empty images: nothing here opens an image."""
    root = shutil.copytree(genuine("dior"), tmp_path / "dior")
    (root / "JPEGImages").mkdir()
    for path in (root / "Annotations" / "Horizontal Bounding Boxes").glob("*.xml"):
        (root / "JPEGImages" / f"{path.stem}.jpg").touch()
    return root


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("split", GENUINE)
def test_genuine_files(genuine_with_images, kind, split):
    found, read = read_all(genuine_with_images, split, boxes=kind)
    assert found.problems == () and found.notes == () and len(read) == GENUINE[split]
    objects = [obj for known in read.values() for obj in known.objects]
    assert {obj.category for obj in objects} <= set(converters.get("dior").categories)
    assert (signed_area([obj.quad for obj in objects]) >= 0).all()
    assert all((obj.hbb is None) == (kind == "oriented" or "zero_area" in obj.flags) for obj in objects)


def test_genuine_kinds_agree_in_counts_and_differ_in_order(genuine_with_images):
    orders_differ = 0
    for split in GENUINE:
        one, other = (read_all(genuine_with_images, split, boxes=kind)[1] for kind in KINDS)
        for stem, known in one.items():
            labels, others = ([obj.label for obj in side.objects] for side in (known, other[stem]))
            assert Counter(labels) == Counter(others)
            orders_differ += labels != others
    assert orders_differ


def test_genuine_defects(genuine_with_images):
    read = {}
    for split in GENUINE:
        read |= read_all(genuine_with_images, split)[1]
    duplicates = {stem for stem, known in read.items() for obj in known.objects if "duplicate" in obj.flags}
    assert duplicates == {"00594"}
    objects = [obj for known in read.values() for obj in known.objects if obj.hbb]
    edges = np.array([obj.hbb for obj in objects])
    assert edges.min() >= 0 and edges.max() <= 800
    assert all(known.declared_size == (800, 800) for known in read.values())


def test_one_based_edges_become_exclusive(fake):
    root = fake("dior")
    path = root / "Annotations" / "Horizontal Bounding Boxes" / "00001.xml"
    path.write_text(
        "<annotation><object><name>golffield</name><bndbox><xmin>1</xmin><ymin>0</ymin><xmax>684</xmax>"
        "<ymax>800</ymax></bndbox></object></annotation>"
    )
    (obj,) = read_all(root)[1]["00001"].objects
    assert obj.hbb == (0, 0, 684, 800)
    assert obj.quad == ((0, 0), (684, 0), (684, 800), (0, 800))
    assert (obj.category, obj.label) == ("golf field", "golffield")


def test_classes_in_other_spellings_keep_the_verbatim_label(fake):
    root = fake("dior")
    path = root / "Annotations" / "Horizontal Bounding Boxes" / "00001.xml"
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>8</ymax></bndbox>"
    names = ("Expressway-Service-area", "expressway service area", "golf field", "Storage_Tank")
    objects = "".join(
        f"<object><name>{name}</name>{box.replace('9', str(9 + i))}</object>" for i, name in enumerate(names)
    )
    path.write_text(f"<annotation>{objects}</annotation>")
    known = read_all(root)[1]["00001"]
    assert [obj.label for obj in known.objects] == list(names)
    assert [obj.category for obj in known.objects] == [
        "expressway service area", "expressway service area", "golf field", "storage tank",
    ]  # fmt: skip


def test_fake_holds_the_quirks(fake):
    root = fake("dior")
    horizontal = root / "Annotations" / "Horizontal Bounding Boxes"
    contents = [path.read_bytes() for path in sorted(horizontal.glob("*.xml"))]
    assert {b"\r\n" in data for data in contents} == {True, False}
    assert {data.startswith(b"<?xml") for data in contents} == {True, False}
    assert all(b"difficult" not in data for data in contents)
    assert (root / "ImageSets" / "Main" / "train.txt").read_bytes().count(b"\r\n") == 3
    oriented = [path.read_text() for path in (root / "Annotations" / "Oriented Bounding Boxes").glob("*.xml")]
    assert any("影像" in text for text in oriented) and all("e-17" in text for text in oriented)


def test_boxes_without_width_are_ignored_not_fatal(fake):
    known = read_all(fake("dior", degenerate=True))[1]["00002"]
    assert [obj.flags.get("zero_area", False) for obj in known.objects] == [False] * (len(known.objects) - 1) + [True]
    assert known.objects[-1].ignore and known.objects[-1].hbb is None


def test_oriented_corners_outside_the_image_and_wrong_sizes_are_kept(fake):
    read = read_all(fake("dior"), boxes="oriented")[1]
    quads = np.array([obj.quad for known in read.values() for obj in known.objects])
    assert quads.min() < 0
    assert read["00003"].metadata["stated_size"] == [800, 816]
    assert all(known.declared_size is None for known in read.values())


def test_tasks_follow_the_kind_of_boxes():
    assert converters.get("dior").tasks == ("detection-hbb",)
    assert converters.get("dior", boxes="oriented").tasks == ("detection-hbb", "detection-obb")


def test_boxes_of_the_other_kind(fake):
    root = fake("dior")
    folder = root / "Annotations" / "Horizontal Bounding Boxes"
    shutil.copy(root / "Annotations" / "Oriented Bounding Boxes" / "00001.xml", folder / "00001.xml")
    with pytest.raises(BadItem, match="of the kind oriented, not horizontal"):
        read_all(root)


def test_label_files_of_a_copy_without_the_two_folders(fake):
    root = fake("dior")
    shutil.rmtree(root / "Annotations" / "Oriented Bounding Boxes")
    for path in (root / "Annotations" / "Horizontal Bounding Boxes").glob("*.xml"):
        path.rename(root / "Annotations" / path.name)
    (root / "Annotations" / "Horizontal Bounding Boxes").rmdir()
    found, read = read_all(root)
    assert len(read) == 3 and "read as horizontal" in found.notes[0]


def test_missing_kind_names_what_is_there(fake):
    root = fake("dior")
    shutil.rmtree(root / "Annotations" / "Oriented Bounding Boxes")
    with pytest.raises(
        UserError, match="no folder of oriented boxes; folders in Annotations: Horizontal Bounding Boxes"
    ):
        read_all(root, boxes="oriented")


@pytest.mark.parametrize("nested", ["JPEGImages-trainval/JPEGImages-trainval", "Images_trainval"])
def test_image_folders_as_unpacked(fake, nested):
    root = fake("dior")
    (root / "JPEGImages-trainval").rename(root / "moved")
    (root / nested).parent.mkdir(exist_ok=True)
    (root / "moved").rename(root / nested)
    assert len(read_all(root)[1]) == 3


def test_listed_images_that_are_absent(fake):
    root = fake("dior")
    (root / "JPEGImages-trainval" / "00002.jpg").unlink()
    (root / "ImageSets" / "Main" / "train.txt").write_text("00001\n00002\n00003\n00003\n../00001\n")
    (root / "JPEGImages-trainval" / "99999.jpg").touch()
    found, read = read_all(root)
    assert set(read) == {"00001", "00003"}
    reasons = [reason for _, reason in found.problems]
    assert reasons[:2] == ["line 2: 00002 has no image", "line 4: 00003 is listed twice"]
    assert "not a plain name" in reasons[2] and len(reasons) == 3
    assert found.notes == ("1 images are named by no list and belong to no split",)
    assert read_all(root, "val")[0].notes == found.notes


def test_no_image_of_a_split_is_one_error(fake):
    root = fake("dior")
    shutil.rmtree(root / "JPEGImages-test")
    with pytest.raises(UserError, match="no image with a label file for split test"):
        read_all(root, "test")
    (root / "ImageSets" / "Main" / "val.txt").unlink()
    with pytest.raises(UserError, match=r"has no ImageSets/Main/val.txt"):
        read_all(root, "val")


def test_torchgeo_s_package_has_the_same_boxes(fake):
    official = fake("dior")
    expected = {split: read_all(official, split)[1] for split in ("train", "val")}
    shutil.rmtree(official)
    root = fake("dior", layout="torchgeo")
    for split, known in expected.items():
        found, read = read_all(root, split)
        assert found.problems == found.shared_problems == ()
        assert {stem: one.objects for stem, one in read.items()} == {stem: one.objects for stem, one in known.items()}
        assert found.notes == (f"the split was taken from {root / 'sample_df.csv'}",)


@pytest.mark.parametrize(
    ("split", "boxes", "words"),
    [("test", "horizontal", "no labels of them"), ("train", "oriented", "no oriented boxes")],
)
def test_what_torchgeo_s_package_lacks_ends_with_what_can_be_built(fake, tmp_path, monkeypatch, split, boxes, words):
    root = fake("dior", layout="torchgeo")
    with pytest.raises(UserError, match=words) as caught:
        read_all(root, split, boxes=boxes)
    command = commands_in(str(caught.value))[-1]
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(cli.main, words_of(command)[1:]).exit_code == 0
    assert list(load_manifest(tmp_path / "DIR").sources["dior"].splits) == ["train", "val"]


def test_rows_of_the_table_that_lead_nowhere(fake, tmp_path):
    root = fake("dior", layout="torchgeo")
    secret = tmp_path / "secret.xml"
    secret.write_text("<annotation/>")
    lines = (root / "sample_df.csv").read_text().splitlines()
    bad = [
        "Images/trainval/00001.jpg,../secret.xml,train",
        "Images/trainval/99999.jpg,Annotations/trainval/99999.xml,train",
    ]
    (root / "sample_df.csv").write_text("\n".join([*lines, *bad, lines[1]]) + "\n")
    found, read = read_all(root)
    assert len(read) == 3
    assert [(type(problem).__name__, problem[1].partition(": ")[2][:25]) for problem in found.problems] == [
        ("tuple", "file name '../secret.xml'"),
        ("Absent", "image Images/trainval/999"),
        ("tuple", ""),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "no column image_path"),
        ("image_path,label_path,split\nx\n", r"line 2\): row is shorter"),
        ('image_path,label_path,split\n"x', "not CSV"),
    ],
)
def test_a_table_that_is_none(fake, text, words):
    root = fake("dior", layout="torchgeo")
    (root / "sample_df.csv").write_text(text)
    with pytest.raises(UserError, match=words):
        read_all(root)
