import json

import pytest

import converters
from converters.detection.nwpu_vhr10 import parse_nwpu_vhr10
from mmrs.errors import BadItem, UserError

LABELS = tuple(converters.facts("nwpu-vhr10").classes)
BASE = "NWPU VHR-10 dataset"


def read_all(root, **options):
    converter = converters.get("nwpu-vhr10", **options)
    found = [converter.discover(root, split) for split in converter.splits]
    return found, {item.stem: converter.read(item) for part in found for item in part.items}


def test_positives_and_negatives_with_equal_names(fake):
    found, read = read_all(fake("nwpu-vhr10"))
    assert all(part.problems == () and part.notes == () for part in found)
    assert set(read) == {f"{n:03d}" for n in range(1, 7)} | {f"negative-{n:03d}" for n in range(1, 5)}
    assert all(bool(known.objects) != stem.startswith("negative") for stem, known in read.items())
    # Both kinds are cut by the same share: 5 of 6 positives and 3 of 4 negatives.
    assert [len(part.items) for part in found] == [8, 2]


def test_without_negatives(fake):
    _, read = read_all(fake("nwpu-vhr10"), negatives=False)
    assert len(read) == 6
    assert converters.get("nwpu-vhr10", negatives=False).published("train").images is None


def test_coco_boxes_are_others(fake):
    root = fake("nwpu-vhr10")
    txt, coco = read_all(root)[1]["001"], read_all(root, annotations="coco")[1]["001"]
    assert [obj.category for obj in txt.objects] == [obj.category for obj in coco.objects]
    assert txt.objects[0].hbb != coco.objects[0].hbb
    assert coco.declared_size == (958, 808) and txt.declared_size is None
    assert coco.provenance.layout == "coco"


@pytest.mark.parametrize(
    "line",
    ["(563,478),(630,573),1 ", "( 563, 478),( 630 ,573 ),1", "(563,478),(630,573), 1\r", "\ufeff(563,478),(630,573),1"],
)
def test_forms_of_a_line(line):
    (obj,) = parse_nwpu_vhr10(f"{line}\n\n".encode(), "x", LABELS)
    assert (obj.label, obj.box, obj.line) == ("airplane", (563, 478, 630, 573), 1)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("(1,2),(3,4)", "not of the form"),
        ("(1,2),(3,4),11", "class number 11 is out of range 1 to 10"),
        ("(1,2),(3,4),0", "out of range"),
        ("(5,2),(3,4),1", "inverted"),
        ("(1.5,2),(3,4),1", "not of the form"),
    ],
)
def test_bad_lines(line, words):
    with pytest.raises(BadItem, match=words) as caught:
        parse_nwpu_vhr10(f"\n{line}\n".encode(), "some.txt", LABELS)
    assert (caught.value.path, caught.value.line) == ("some.txt", 2)


def test_all_class_numbers():
    text = "".join(f"(1,2),(3,4),{number}\n" for number in range(1, 11))
    assert [obj.label for obj in parse_nwpu_vhr10(text.encode(), "x", LABELS)] == list(LABELS)


def test_images_and_labels_without_a_partner(fake):
    root = fake("nwpu-vhr10")
    (root / BASE / "ground truth" / "001.txt").rename(root / BASE / "ground truth" / "777.txt")
    found, read = read_all(root)
    assert "001" not in read
    reasons = [reason for _, reason in found[0].shared_problems]
    assert reasons == ["image without a label file", "label file without an image"]
    assert (found[1].problems, found[1].shared_problems) == ((), found[0].shared_problems)


@pytest.mark.parametrize("place", ["..", "../NWPU VHR-10_dataset_coco"])
def test_coco_file_beside_the_images(fake, place):
    root = fake("nwpu-vhr10")
    target = root / BASE / place
    target.mkdir(exist_ok=True)
    (root / BASE / "annotations.json").rename(target / "annotations.json")
    assert len(read_all(root, annotations="coco")[1]) == 10


def test_coco_rows_that_name_no_image(fake):
    root = fake("nwpu-vhr10")
    path = root / BASE / "annotations.json"
    tables = json.loads(path.read_text())
    tables["images"][0]["file_name"] = "../001.jpg"
    tables["images"][1]["file_name"] = "900.jpg"
    path.write_text(json.dumps(tables))
    found, _ = read_all(root, annotations="coco")
    reasons = [reason for _, reason in found[0].shared_problems]
    assert "not a plain name" in reasons[0] and "900.jpg is named" in reasons[1]


def test_missing_parts(fake, tmp_path):
    root = fake("nwpu-vhr10")
    (root / BASE / "annotations.json").unlink()
    with pytest.raises(UserError, match=r"no annotations.json"):
        read_all(root, annotations="coco")
    (root / BASE / "ground truth").rename(tmp_path / "labels")
    with pytest.raises(UserError, match="choose annotations=coco"):
        read_all(root)
    with pytest.raises(UserError, match="does not hold"):
        read_all(tmp_path / "labels")


def test_folder_spellings(fake):
    root = fake("nwpu-vhr10")
    (root / BASE / "positive image set").rename(root / BASE / "positive_image_set")
    (root / BASE).rename(root / "vhr10")
    assert len(read_all(root)[1]) == 10
