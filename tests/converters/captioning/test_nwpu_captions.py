import json

import pytest

import converters
from converters.formats.captions import parse_class_captions
from mmrs.errors import BadItem, UserError


def discover(root, split="train"):
    return converters.get("nwpu-captions").discover(root, split)


def test_five_numbered_sentences_by_class():
    row = {"filename": "airplane_001.jpg", "imgid": 30800, "split": "train", "raw": "One .", "sentids": 154000}
    row |= {f"raw_{number}": f"Text {number} ." for number in range(1, 5)}
    (image,) = parse_class_captions(json.dumps({"airplane": [row]}).encode(), "x").images
    assert image.raw == ("One .", "Text 1 .", "Text 2 .", "Text 3 .", "Text 4 .")
    assert (image.image_id, image.split) == ("30800", "train")


@pytest.mark.parametrize("content", [[], {}, {"images": {}}, {"airplane": [], "beach": None}])
def test_another_schema_is_refused(content):
    with pytest.raises(BadItem, match="lists of image rows by class"):
        parse_class_captions(json.dumps(content).encode(), "x")


def test_rows_that_cannot_be_used_are_named():
    rows = {"beach": [{"filename": "a.jpg", "split": "train"}, {"filename": "b.jpg", "split": "test", "raw": 3}, 7]}
    found = parse_class_captions(json.dumps(rows).encode(), "x")
    assert [reason for _, reason in found.problems] == [
        "beach[0] ('a.jpg') lacks filename, split or sentences",
        "beach[2] is no object",
    ]
    # A sentence that is no text is one without words, and costs no other one.
    assert [image.raw for image in found.images] == [("",)]


def test_image_that_the_archive_lacks_is_a_problem(fake):
    root = fake("nwpu-captions")
    (root / "NWPU_images" / "airport" / "airport_001.jpg").unlink()
    found = discover(root)
    assert "image airport_001.jpg is named but is not in NWPU_images" in [reason for _, reason in found.problems]
    assert len(found.items) == 13


def test_class_folders_with_blanks_and_junk(fake):
    root = fake("nwpu-captions")
    images = root / "NWPU_images"
    (images / "storagetanks").rename(images / "storage tanks")
    (images / "beach" / ".DS_Store").touch()
    found = discover(root)
    assert len(found.items) == 14 and found.notes == ()


def test_missing_file(fake):
    root = fake("nwpu-captions")
    (root / "dataset_nwpu.json").unlink()
    with pytest.raises(UserError, match=r"has NWPU_images but no dataset_nwpu\.json"):
        discover(root)
