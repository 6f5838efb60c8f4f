import unicodedata

import pytest
from PIL import Image

import converters
from converters.formats.labels import parse_labels, read_labels
from mmrs.errors import UserError


def read_all(root, split="train"):
    converter = converters.get("dscr")
    found = converter.discover(root, split)
    return found, {item.stem: converter.read(item) for item in found.items}


def edit(root, split, extra):
    path = root / "annotations" / f"{split}.csv"
    path.write_text(path.read_text(encoding="utf-8") + extra, encoding="utf-8")


def test_splits_come_from_the_tables(fake):
    root = fake("dscr")
    read = {split: read_all(root, split)[1] for split in ("train", "val", "test")}
    assert [len(part) for part in read.values()] == [14, 7, 7]
    assert {known.label for known in read["train"].values()} == set(converters.get("dscr").categories)
    known = next(known for known in read["train"].values() if known.source_label == "civil")
    assert known.label == "civilian ship" and known.provenance.annotation == "train.csv"


def test_rows_said_twice_are_counted(fake):
    found, read = read_all(fake("dscr"), "val")
    assert found.problems == () and len(read) == 7
    assert found.notes == ("val.csv: 1 rows repeat another one and were counted, not kept",)


def test_chinese_and_decomposed_names(fake):
    root = fake("dscr")
    edit(root, "train", "café_1.bmp,civil\n")
    Image.new("RGB", (90, 90)).save(root / "images" / unicodedata.normalize("NFD", "café_1.bmp"))
    found, read = read_all(root)
    assert found.problems == () and "café_1" in read
    assert any("吉萨普" in stem for stem in read)


@pytest.mark.parametrize("place", ["", "train", "images/train"])
def test_where_images_may_lie(fake, place):
    root = fake("dscr")
    (root / place).mkdir(parents=True, exist_ok=True)
    for path in list((root / "images").iterdir()):
        if path.is_file():
            path.rename(root / place / path.name)
    assert len(read_all(root)[1]) == 14


def test_rows_that_cannot_be_used(fake):
    root = fake("dscr")
    edit(root, "test", "a.bmp\n../b.bmp,civil\nc.bmp,civil\n20090531吉萨普_22.bmp,submarine\n")
    first = (root / "annotations" / "test.csv").read_text(encoding="utf-8").splitlines()[1].split(",")[0]
    edit(root, "test", f"{first},other ship\n")
    reasons = [reason for _, reason in read_all(root, "test")[0].problems]
    assert "row ['a.bmp'] is not a file name and a label" in reasons
    assert any("is not a plain name" in reason for reason in reasons)
    assert "image c.bmp is named but is not there" in reasons
    assert any("the first was kept" in reason for reason in reasons)


def test_unknown_class_is_a_problem(fake):
    root = fake("dscr")
    path = root / "annotations" / "test.csv"
    path.write_text(path.read_text(encoding="utf-8").replace(",civil", ",submarine"), encoding="utf-8")
    found, read = read_all(root, "test")
    assert len(read) == 6 and "unknown class 'submarine'" in found.problems[0][1]


def test_missing_table_and_missing_images(fake):
    root = fake("dscr")
    (root / "annotations" / "val.csv").unlink()
    with pytest.raises(UserError, match=r"has no annotations/val\.csv"):
        read_all(root, "val")
    (root / "images").rename(root / "pictures")
    with pytest.raises(UserError, match=r"has annotations/train\.csv but no image"):
        read_all(root)


def test_byte_order_mark_crlf_and_the_header_that_lies():
    found = parse_labels("\ufeffclass,label\r\n吉_1.bmp,civil\r\n\r\n".encode(), "x")
    assert found.labels == {"吉_1.bmp": "civil"} and found.problems == ()


def test_genuine_tables(genuine):
    labels = set()
    for split in ("train", "val", "test"):
        found = read_labels(genuine("dscr") / "annotations" / f"{split}.csv")
        assert len(found.labels) + found.repeats == 199 and found.problems == ()
        labels |= set(found.labels.values())
    assert labels <= set(converters.facts("dscr").classes)
    assert any(not name.isascii() for name in found.labels)
