import re

import pytest

import converters
from converters.grounding.dior_rsvg import read_numbers
from mmrs.errors import BadItem, UserError

SPLITS = ("train", "val", "test")
BASE = "DIOR_RSVG"


def read_all(root, split="train", **options):
    converter = converters.get("dior-rsvg", **options)
    found = converter.discover(root, split)
    return found, {item.stem: converter.read(item) for item in found.items}


def descriptions(root):
    """All descriptions by running number, found without the converter."""
    found = []
    for path in sorted((root / BASE / "Annotations").glob("*.xml")):
        found += [(path.stem, text) for text in re.findall("<description>(.*?)</description>", path.read_text())]
    return found


def test_genuine_lists_number_all_expressions_once(genuine):
    numbers = {split: read_numbers(genuine("dior-rsvg") / f"{split}.txt") for split in SPLITS}
    assert {split: len(found) for split, found in numbers.items()} == {"train": 26991, "val": 3829, "test": 7500}
    assert sorted(number for found in numbers.values() for number in found) == list(range(38320))
    published = {split: converters.get("dior-rsvg").published(split).objects for split in SPLITS}
    assert published == {split: len(found) for split, found in numbers.items()}


def test_lists_index_expressions_over_sorted_files(fake):
    root = fake("dior-rsvg")
    every = descriptions(root)
    for split in SPLITS:
        listed = read_numbers(root / BASE / f"{split}.txt")
        _, read = read_all(root, split)
        texts = [(stem, expression.text) for stem, known in read.items() for expression in known.expressions]
        assert texts == [every[number] for number in listed]


def test_an_image_has_a_record_in_every_split_of_its_expressions(fake):
    root = fake("dior-rsvg")
    found, records = zip(*(read_all(root, split) for split in SPLITS), strict=True)
    names = [set(read) for read in records]
    shared = names[0] & (names[1] | names[2])
    assert shared and f"{len(shared)} images of train also have expressions" in found[0].notes[0]
    for stem in shared:
        positions = [read[stem].metadata["object_positions"] for read in records if stem in read]
        flat = [position for part in positions for position in part]
        assert len(set(flat)) == len(flat)
        assert all(len(read[stem].objects) == len(read[stem].expressions) for read in records if stem in read)


def test_expressions_point_at_their_own_objects(fake):
    root = fake("dior-rsvg")
    for known in read_all(root)[1].values():
        for expression in known.expressions:
            assert expression.text.startswith(f"A {known.objects[expression.object].label} ")


def test_image_disjoint_keeps_an_image_in_its_last_split(fake):
    root = fake("dior-rsvg")
    usual = {split: set(read_all(root, split)[1]) for split in SPLITS}
    expected = {"test": usual["test"], "val": usual["val"] - usual["test"]}
    expected["train"] = usual["train"] - usual["test"] - usual["val"]
    for split in (split for split in SPLITS if expected[split]):
        found, read = read_all(root, split, image_disjoint=True)
        assert set(read) == expected[split]
        if usual[split] != expected[split]:
            assert f"{len(usual[split] - expected[split])} images of {split} were left out" in found.notes[0]


def test_one_based_edges(fake):
    root = fake("dior-rsvg")
    path = sorted((root / BASE / "Annotations").glob("*.xml"))[0]
    edges = [int(value) for value in re.findall(r"<[xy]m\w+>(\d+)<", path.read_text())[:4]]
    known = next(
        read[path.stem].objects[read[path.stem].metadata["object_positions"].index(0)]
        for read in (read_all(root, split)[1] for split in SPLITS)
        if path.stem in read and 0 in read[path.stem].metadata["object_positions"]
    )
    assert known.hbb == (edges[0] - 1, edges[1] - 1, edges[2], edges[3])


def test_a_missing_file_would_shift_the_others_and_is_refused(fake):
    root = fake("dior-rsvg")
    sorted((root / BASE / "Annotations").glob("*.xml"))[1].unlink()
    with pytest.raises(UserError, match="shifts the numbers of all later ones"):
        read_all(root)


def test_a_broken_file_costs_itself_only(fake):
    root = fake("dior-rsvg")
    before = read_all(root)[1]
    path = root / BASE / "Annotations" / f"{next(iter(before))}.xml"
    path.write_text(path.read_text().replace("</annotation>", ""))
    converter = converters.get("dior-rsvg")
    first, *others = converter.discover(root, "train").items
    with pytest.raises(BadItem, match="not XML"):
        converter.read(first)
    assert {item.stem: converter.read(item) for item in others} == {
        stem: known for stem, known in before.items() if stem != first.stem
    }


def test_overlapping_lists_of_the_older_release_are_refused(fake):
    root = fake("dior-rsvg")
    with (root / BASE / "test.txt").open("a") as file:
        file.write(f"{read_numbers(root / BASE / 'train.txt')[0]}\n")
    with pytest.raises(UserError, match="name 1 expressions twice"):
        read_all(root)


def test_labels_without_expressions_are_told(fake):
    root = fake("dior-rsvg")
    for path in (root / BASE / "Annotations").glob("*.xml"):
        path.write_text(re.sub("<description>.*?</description>", "", path.read_text()))
    with pytest.raises(BadItem, match="no object has a <description>, as in the first published archive"):
        read_all(root)


def test_two_expressions_of_one_box_both_stay(fake):
    root = fake("dior-rsvg")
    box = "<bndbox><xmin>5</xmin><ymin>6</ymin><xmax>70</xmax><ymax>80</ymax></bndbox>"
    for path in (root / BASE / "Annotations").glob("*.xml"):
        count = path.read_text().count("<object>")
        rows = [f"<object><name>ship</name>{box}<description>ship {i}</description></object>" for i in range(count)]
        path.write_text(f"<annotation>{''.join(rows)}</annotation>")
    read = read_all(root)[1]
    assert not any(obj.ignore or obj.flags for known in read.values() for obj in known.objects)


@pytest.mark.parametrize(
    ("line", "words"), [("00001.jpg", "is '00001.jpg'"), ("-1", "negative"), ("1.5", "whole number")]
)
def test_lists_of_something_else(fake, line, words):
    root = fake("dior-rsvg")
    (root / BASE / "val.txt").write_text(f"1\n{line}\n")
    with pytest.raises(UserError, match=rf"\(line 2\).*{words}"):
        read_all(root)


def test_images_and_lists_that_are_absent(fake):
    root = fake("dior-rsvg")
    first = next(iter(read_all(root)[1]))
    (root / BASE / "JPEGImages" / f"{first}.jpg").unlink()
    found, read = read_all(root)
    assert first not in read and [reason for _, reason in found.problems] == [f"{first} has no image in JPEGImages"]
    (root / BASE / "val.txt").unlink()
    with pytest.raises(UserError, match=r"has no val.txt"):
        read_all(root)


@pytest.mark.parametrize("where", [".", BASE])
def test_roots_that_are_understood(fake, where):
    assert read_all(fake("dior-rsvg") / where)[1]
