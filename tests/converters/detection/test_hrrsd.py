import shutil

import pytest

import converters
from mmrs.errors import UserError

GENUINE = {"train": 18, "val": 13, "test": 29}


def read_all(root, split="train"):
    converter = converters.get("hrrsd")
    found = converter.discover(root, split)
    return found, {item.stem: converter.read(item) for item in found.items}


@pytest.mark.parametrize("split", GENUINE)
def test_genuine_files(genuine, tmp_path, split):
    root = shutil.copytree(genuine("hrrsd"), tmp_path / "hrrsd")
    (root / "OPT2017" / "JPEGImages").mkdir()
    for path in (root / "OPT2017" / "Annotations").glob("*.xml"):
        (root / "OPT2017" / "JPEGImages" / f"{path.stem}.jpg").touch()
    found, read = read_all(root, split)
    assert len(read) == GENUINE[split] and found.problems == ()
    objects = [obj for known in read.values() for obj in known.objects]
    assert {obj.category for obj in objects} <= set(converters.get("hrrsd").categories)
    assert all(obj.hbb and not obj.difficult and not obj.truncated for obj in objects)
    if split == "train":
        assert found.notes == ()


def test_genuine_values(genuine):
    from converters.formats.voc import read_voc

    voc = read_voc(genuine("hrrsd") / "OPT2017" / "Annotations" / "00740.xml")
    assert voc.size == (920, 704) and voc.objects[0].box == (154, 120, 474, 398)


def test_authors_conversion_of_edges(fake):
    root = fake("hrrsd")
    (root / "OPT2017" / "Annotations" / "00001.xml").write_text(
        "<annotation><object><name>T junction</name><bndbox><xmin>294</xmin><ymin>755</ymin><xmax>758</xmax>"
        "<ymax>1067</ymax></bndbox></object></annotation>"
    )
    (obj,) = read_all(root)[1]["00001"].objects
    # The authors' COCO file has 293, 754, 465, 313 (x, y, width, height) for this box.
    assert obj.hbb == (293, 754, 293 + 465, 754 + 313)
    assert (obj.label, obj.category) == ("T junction", "T junction")


def test_lower_cased_class_is_understood(fake):
    root = fake("hrrsd")
    path = root / "OPT2017" / "Annotations" / "00001.xml"
    path.write_text(path.read_text().replace("<name>ship</name>", "<name>t junction</name>"))
    assert read_all(root)[1]["00001"].objects[0].category == "T junction"


def test_hidden_label_files_are_said_and_not_read(fake):
    found, read = read_all(fake("hrrsd"))
    assert len(read) == 3 and found.problems == ()
    assert found.notes == ("1 label files are named by no list and belong to no split",)


@pytest.mark.parametrize("where", [".", "OPT2017"])
def test_roots_that_are_understood(fake, where):
    assert len(read_all(fake("hrrsd") / where)[1]) == 3


def test_images_unpacked_in_parts(fake):
    root = fake("hrrsd") / "OPT2017"
    (root / "JPEGImages" / "part2").mkdir()
    (root / "JPEGImages" / "00002.jpg").rename(root / "JPEGImages" / "part2" / "00002.jpg")
    assert len(read_all(root)[1]) == 3


def test_missing_layout(tmp_path):
    with pytest.raises(UserError, match="expected: OPT2017/Annotations"):
        read_all(tmp_path)
