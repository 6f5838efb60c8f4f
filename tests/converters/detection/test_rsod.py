import shutil

import pytest

import converters
from converters.detection.rsod import parse_rsod
from mmrs.errors import BadItem


def read_all(root, **options):
    converter = converters.get("rsod", **options)
    found = [converter.discover(root, split) for split in converter.splits]
    return found, {item.stem: converter.read(item) for part in found for item in part.items}


def test_xml_and_txt_hold_the_same_boxes(fake):
    root = fake("rsod")
    xml, txt = read_all(root)[1], read_all(root, labels="txt")[1]
    assert len(xml) == 12
    assert {stem: known.objects for stem, known in xml.items()} == {stem: known.objects for stem, known in txt.items()}
    known = xml["oiltank_1"]
    assert {obj.category for obj in known.objects} == {"oil tank"} and known.metadata == {
        "labelled_classes": ["oil tank"]
    }


def test_sizes_that_are_not_stated_and_suffixes_in_capitals(fake):
    """The second image of a class; its size then comes from the image alone."""
    root = fake("rsod")
    assert (root / "oiltank" / "JPEGImages" / "oiltank_3.JPG").is_file()
    read = read_all(root)[1]
    sizes = {stem: known.declared_size for stem, known in read.items()}
    assert sizes["oiltank_1"] == (1044, 915) and sizes["oiltank_3"] is None and len(sizes) == 12


def test_unlabelled_playgrounds_are_a_note_and_no_background(fake):
    found, read = read_all(fake("rsod"))
    assert found[0].notes == ("2 images of playground have no label file: unlabelled, left out",)
    assert found[0].problems == () and sum(stem.startswith("playground") for stem in read) == 3


def test_unlabelled_images_of_other_classes_are_problems_once(fake):
    root = fake("rsod")
    (root / "aircraft" / "Annotation" / "xml" / "aircraft_1.xml").rename(
        root / "aircraft" / "Annotation" / "xml" / "aircraft_2.xml"
    )
    shutil.rmtree(root / "overpass")
    found, _ = read_all(root)
    assert sorted(reason for _, reason in found[0].shared_problems) == [
        "class folder is missing", "image without a label file", "label file without an image",
    ]  # fmt: skip
    assert (found[1].problems, found[1].shared_problems) == ((), found[0].shared_problems)


def test_split_is_cut_within_each_class(fake):
    found, _ = read_all(fake("rsod"))
    assert [len(part.items) for part in found] == [8, 4]
    assert {item.stem.split("_")[0] for item in found[1].items} == {"aircraft", "oiltank", "overpass", "playground"}


@pytest.mark.parametrize("nested", [False, True])
def test_archives_unpacked_in_folders_of_their_own(fake, nested):
    root = fake("rsod")
    if nested:
        (root / "aircraft").rename(root / "inner")
        (root / "aircraft").mkdir()
        (root / "inner").rename(root / "aircraft" / "aircraft")
    (root / "oiltank" / "Annotation").rename(root / "oiltank" / "Annotations")
    assert len(read_all(root)[1]) == 12


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a.jpg\toiltank\t1\t2\t3", "5 words"),
        ("b.jpg\toiltank\t1\t2\t3\t4\na.jpg\toiltank\t1\t2\t3\t4", "of image 'b.jpg', not 'a'"),
        ("a.jpg\toiltank\t1\t2\tx\t4", "edge is 'x'"),
        ("a.jpg\toiltank\t5\t2\t3\t4", "inverted"),
    ],
)
def test_bad_lines(line, words):
    with pytest.raises(BadItem, match=words) as caught:
        parse_rsod(line.encode(), "a.txt", "a")
    assert caught.value.line == 1


def test_a_label_file_whose_lines_all_name_another_image():
    with pytest.raises(BadItem, match="label file of another image") as caught:
        parse_rsod(b"b.jpg\toiltank\t1\t2\t3\t4", "a.txt", "a")
    assert caught.value.line is None
