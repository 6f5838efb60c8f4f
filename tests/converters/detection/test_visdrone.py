import pytest

import converters
from converters.detection.visdrone import parse_visdrone
from mmrs.errors import BadItem, UserError

LABELS = converters.get("visdrone").labels
# Lines of the real set, as its users quote them.
QUOTED = "684,8,273,116,0,0,0,0\n406,119,265,70,0,0,0,0\n708,471,74,33,1,4,0,1\n639,425,61,46,1,4,0,0\n"


def read_all(root, split="train"):
    converter = converters.get("visdrone")
    found = converter.discover(root, split)
    return found, {item.stem: converter.read(item) for item in found.items}


def put(root, text):
    path = sorted((root / "VisDrone2019-DET-train" / "annotations").glob("*.txt"))[0]
    path.write_text(text)
    return path.stem


def test_quoted_lines(fake):
    root = fake("visdrone")
    stem = put(root, QUOTED)
    objects = read_all(root)[1][stem].objects
    assert [obj.label for obj in objects] == ["ignored regions", "ignored regions", "car", "car"]
    assert [obj.ignore for obj in objects] == [True, True, False, False]
    assert objects[2].hbb == (708, 471, 782, 504)
    assert objects[2].flags == {"score": 1, "truncation": 0, "occlusion": 1}
    assert objects[0].category == "ignored region" and "ignored region" not in converters.get("visdrone").categories


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_fake_of_every_split(fake, split):
    found, read = read_all(fake("visdrone"), split)
    assert found.problems == () and len(read) == len(found.items) > 0
    objects = [obj for known in read.values() for obj in known.objects]
    assert all(obj.ignore for obj in objects if obj.label in ("ignored regions", "others"))
    assert any(obj.truncated for obj in objects)


def test_others_are_ignored_with_either_score():
    zero, one, car = parse_visdrone(b"1,2,3,4,0,11,0,0\n1,2,3,4,1,11,0,0\n1,2,3,4,0,4,0,0\n", "x", LABELS)
    assert (zero.label, one.label) == ("others", "others") and zero.ignore and not one.ignore and car.ignore


def test_category_numbers():
    lines = "".join(f"1,2,3,4,1,{number},0,0\n" for number in range(12))
    names = [obj.label for obj in parse_visdrone(lines.encode(), "x", LABELS)]
    assert names[0] == "ignored regions" and names[4] == "car" and names[10] == "motor" and names[11] == "others"


def test_trailing_commas_and_blanks():
    for line in ("1,2,3,4,1,4,0,0,", "1,2,3,4,1,4,0,0,\r", " 1, 2, 3, 4, 1, 4, 0, 0", "1,2,3,4,1,4,0,0,,"):
        assert parse_visdrone(f"{line}\n".encode(), "x", LABELS)[0].box == (1, 2, 4, 6)


def test_boxes_without_area_are_ignored(fake):
    root = fake("visdrone")
    stem = put(root, "100,60,12,0,1,4,0,0\n5,6,0,9,1,1,0,0\n")
    obj, other = read_all(root)[1][stem].objects
    assert obj.ignore and other.ignore and obj.flags["zero_area"] and obj.hbb is None


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("1,0,1,2,3,4,1,4,0,0", "10 columns .*video tasks"),
        ("1,2,3,4", "4 columns"),
        ("1,2,3,4,1,12,0,0", "category 12 is out of range 0 to 11"),
        ("1,2,-3,4,1,4,0,0", "inverted"),
        ("1,2,3,4,1,car,0,0", "flag is 'car'"),
        ("0 0.5 0.5 0.1 0.1", "1 columns"),
    ],
)
def test_bad_lines(line, words):
    with pytest.raises(BadItem, match=words) as caught:
        parse_visdrone(f"{QUOTED}{line}\n".encode(), "x.txt", LABELS)
    assert (caught.value.path, caught.value.line) == ("x.txt", 5)


def test_frames_of_a_sequence_are_one_scene(fake):
    found, _ = read_all(fake("visdrone"))
    assert [item.scene for item in found.items] == [item.stem.split("_")[0] for item in found.items]
    assert len({item.scene for item in found.items}) < len(found.items)


def test_folders_as_unpacked(fake):
    root = fake("visdrone")
    inner = root / "VisDrone2019-DET-train"
    inner.rename(root / "moved")
    inner.mkdir()
    (root / "moved").rename(inner / "VisDrone2019-DET-train")
    assert len(read_all(root)[1]) == 4
    found, read = read_all(root / "VisDrone2019-DET-val", "val")
    assert len(read) == 2 and "one folder up" in found.notes[0]


def test_missing_split_and_partners(fake):
    root = fake("visdrone")
    (root / "VisDrone2019-DET-test-dev").rename(root / "VisDrone2019-DET-test-challenge")
    with pytest.raises(UserError, match="has no folder VisDrone2019-DET-test-dev"):
        read_all(root, "test")
    labels = root / "VisDrone2019-DET-train" / "annotations"
    first = sorted(labels.iterdir())[0]
    first.rename(labels / "1_1_d_1.txt")
    reasons = [reason for _, reason in read_all(root)[0].problems]
    assert reasons == ["image without a label file", "label file without an image"]
