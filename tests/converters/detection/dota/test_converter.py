import shutil
from collections import Counter

import numpy as np
import pytest

import converters
from mmrs.errors import BadItem, UserError
from mmrs.geometry import signed_area
from mmrs.source import Tiling

RELEASES = ("1.0", "1.5", "2.0")
LINE = "10 10 20 10 20 30 10 30 plane"


def read_all(root, split="train", **options):
    converter = converters.get("dota", **options)
    found = converter.discover(root, split)
    return found, {item.stem: converter.read(item) for item in found.items}


def write_labels(root, text):
    """Replace the first scene's labels; returns its stem."""
    path = root / "train" / "labelTxt" / "P0000.txt"
    path.write_bytes(text.encode())
    return path


def test_genuine_objects_and_classes(genuine):
    found, read = read_all(genuine("dota-v1.0"))
    assert found.problems == ()
    counts = {stem: Counter(obj.label for obj in known.objects) for stem, known in read.items()}
    assert {stem: sum(labels.values()) for stem, labels in counts.items()} == {"P0003": 55, "P0004": 107, "P0005": 130}
    assert set().union(*counts.values()) <= {"small-vehicle", "large-vehicle"}
    assert read["P0003"].metadata == {"image_source": "GoogleEarth", "gsd_m": 0.115726939386}
    assert all((signed_area([obj.quad for obj in known.objects]) >= 0).all() for known in read.values())
    first = read["P0003"].objects[0]
    assert first.quad == ((937.0, 913.0), (921.0, 912.0), (923.0, 874.0), (940.0, 875.0))


def test_genuine_edge_cases(genuine, tmp_path):
    edge = genuine("dota-edge-cases")
    shutil.copytree(edge, tmp_path / "train")
    found, read = read_all(tmp_path)
    assert [len(known.objects) for known in read.values()] == [4]
    assert [obj.difficult for obj in read["P0004__1__0___0"].objects] == [False, False, True, False]
    assert [reason for _, reason in found.problems] == ["label file without an image"]


@pytest.mark.parametrize("release", RELEASES)
def test_fake_of_every_release(fake, release):
    root = fake("dota", release=release)
    found, read = read_all(root, release=release)
    assert found.problems == () and len(read) == 4
    labels = {obj.label for known in read.values() for obj in known.objects}
    assert labels <= set(converters.get("dota", release=release).labels)
    assert [item.scene for item in found.items] == list(read)
    assert any(not known.objects for known in read.values())
    assert read["P0001"].metadata["image_source"] == "GF" and "gsd_m" not in read["P0001"].metadata
    assert read["P0000"].metadata["gsd_m"] == 0.115726939386


def test_meta_files_of_v2_are_annotations_of_the_item(fake):
    found, _ = read_all(fake("dota", release="2.0"), release="2.0")
    assert {path.parent.name for path in found.items[0].annotations} == {"labelTxt-v2.0", "meta"}


def test_class_sets_grow_with_the_release():
    sizes = [len(converters.get("dota", release=release).categories) for release in RELEASES]
    assert sizes == [15, 16, 18]
    assert "baseball diamond" in converters.get("dota").categories


def test_first_corner_stays_and_winding_becomes_clockwise(fake):
    root = fake("dota")
    write_labels(root, "gsd:1\n20 30 10 30 10 10 20 10 plane 0\n20 30 20 10 10 10 10 30 plane 0\n")
    objects = read_all(root)[1]["P0000"].objects
    expected = ((20.0, 30.0), (10.0, 30.0), (10.0, 10.0), (20.0, 10.0))
    assert [obj.quad for obj in objects] == [expected, expected]


def test_flags_of_difficult_and_zero_area(fake):
    root = fake("dota")
    write_labels(root, f"{LINE} 0\n{LINE} 1\n{LINE} 2\n{LINE}\n1 187 1 187 1 219 1 219 plane 2\n")
    objects = read_all(root)[1]["P0000"].objects
    assert [(obj.difficult, obj.truncated) for obj in objects] == [
        (False, False),
        (True, False),
        (False, True),
        (False, False),
        (False, True),
    ]
    assert [obj.ignore for obj in objects] == [False] * 4 + [True]
    assert objects[-1].flags == {"zero_area": True} and objects[0].flags == {}


def test_corners_outside_the_image_are_kept(fake):
    root = fake("dota")
    write_labels(root, "-5 -5 20 -5 20 11000 -5 11000 plane 0\n")
    assert np.array(read_all(root)[1]["P0000"].objects[0].quad).max() == 11000


@pytest.mark.parametrize(
    ("text", "words", "line"),
    [
        (f"gsd:1\n{LINE.replace('plane', 'container-crane')} 0", "unknown class 'container-crane'", 2),
        ("gsd:1\nhello world\n", "8 numbers, a class", 2),
        (f"{LINE} nan", "unknown class 'plane nan'", 1),
    ],
)
def test_bad_labels(fake, text, words, line):
    root = fake("dota")
    path = write_labels(root, text)
    converter = converters.get("dota")
    known = converter.read(converter.discover(root, "train").items[0])
    (row,) = known.unread
    assert (row.path, row.line) == (str(path), line) and words in row.reason


def test_a_header_that_is_no_number_costs_the_image(fake):
    root = fake("dota")
    path = write_labels(root, "gsd:far\n")
    converter = converters.get("dota")
    with pytest.raises(BadItem, match="gsd is 'far'") as caught:
        converter.read(converter.discover(root, "train").items[0])
    assert caught.value.path == str(path)


def test_releases_are_never_mixed(fake):
    root = fake("dota", release="1.5")
    with pytest.raises(UserError, match=r"no labels of DOTA 2.0 for train; .*labelTxt-v1.5 .*choose release=1.5"):
        read_all(root, release="2.0")
    with pytest.raises(UserError, match="never mixed"):
        read_all(root, release="1.0")


def test_a_folder_with_its_release_goes_before_one_without(fake):
    root = fake("dota")
    (root / "train" / "labelTxt-v1.5").mkdir()
    for number in range(4):
        (root / "train" / "labelTxt-v1.5" / f"P{number:04d}.txt").write_text(f"{LINE} 0\n")
    assert all(len(known.objects) == 1 for known in read_all(root, release="1.5")[1].values())
    found, read = read_all(root, release="1.0")
    assert sum(len(known.objects) for known in read.values()) > 4
    assert any("labelTxt states no release" in note for note in found.notes)


def test_labels_one_folder_down_beside_horizontal_ones(fake):
    root = fake("dota")
    (root / "train" / "labelTxt").rename(root / "train" / "inner")
    folder = root / "train" / "labelTxt-v1.0"
    folder.mkdir()
    (root / "train" / "inner").rename(folder / "labelTxt")
    (folder / "trainset_reclabelTxt").mkdir()
    found, read = read_all(root)
    assert len(read) == 4 and any("one folder down" in note for note in found.notes)


def test_images_and_labels_without_a_partner(fake):
    root = fake("dota")
    (root / "train" / "labelTxt" / "P0001.txt").rename(root / "train" / "labelTxt" / "P7777.txt")
    found, read = read_all(root)
    assert len(read) == 3
    assert [reason for _, reason in found.problems] == ["image without a label file", "label file without an image"]


def test_wrong_roots(fake, tmp_path):
    root = fake("dota")
    with pytest.raises(UserError, match="found:"):
        read_all(tmp_path / "absent")
    assert "one folder down" in read_all(root.parent)[0].notes[0]
    assert "one folder up" in read_all(root / "train")[0].notes[0]
    shutil.rmtree(root / "val")
    with pytest.raises(UserError, match="has no val/images"):
        read_all(root, "val")


def test_tiling_options():
    assert converters.get("dota").tiling == Tiling(1024, 200, 0.7, 0.0)
    assert converters.get("dota", tile_size=512, tile_overlap=64, keep_empty=0.1).tiling == Tiling(512, 64, 0.7, 0.1)
