import pytest

import converters
from mmrs.errors import BadItem


def read_all(root, split="train", **options):
    converter = converters.get("mar20", **options)
    found = converter.discover(root, split)
    return found, {item.stem: converter.read(item) for item in found.items}


def test_both_kinds_of_boxes(fake):
    root = fake("mar20")
    horizontal, oriented = read_all(root)[1], read_all(root, boxes="oriented")[1]
    assert len(horizontal) == len(oriented) == 3
    for stem, known in horizontal.items():
        assert [obj.label for obj in known.objects] == [obj.label for obj in oriented[stem].objects]
        assert all(obj.hbb for obj in known.objects) and not any(obj.hbb for obj in oriented[stem].objects)
        assert known.declared_size in {(800, 800), (859, 831), (752, 834)}
    # The kinds were drawn separately: a horizontal box is not the extent of the oriented one.
    assert horizontal["1"].objects[0].extent() != oriented["1"].objects[0].extent()


def test_lost_closing_tags_are_mended_and_said(fake):
    root = fake("mar20")
    damaged = root / "Annotations" / "Oriented Bounding Boxes" / "3.xml"
    text = damaged.read_text()
    assert "</x_left_top>" not in text and "_left_top><y_left_top>" in text
    read = read_all(root, boxes="oriented")[1]
    assert [bool(known.metadata) for known in read.values()] == [False, False, True]
    assert "lost" in read["3"].metadata["mended"]
    quad = read["3"].objects[0].quad
    assert all(0 < x < 800 for x, _ in quad)


def test_other_malformed_files_stay_bad(fake):
    root = fake("mar20")
    path = root / "Annotations" / "Oriented Bounding Boxes" / "1.xml"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(BadItem, match="not XML"):
        read_all(root, boxes="oriented")


def test_names_of_models_or_airplane(fake):
    root = fake("mar20")
    first = read_all(root)[1]["1"].objects[0]
    assert (first.label, first.category) == ("A1", "SU-35")
    plain = converters.get("mar20", names="airplane")
    assert plain.categories == ("airplane",)
    assert {obj.category for known in read_all(root, names="airplane")[1].values() for obj in known.objects} == {
        "airplane"
    }
    assert read_all(root, names="airplane")[1]["1"].objects[0].label == "A1"


def test_evaluation_only():
    assert converters.facts("mar20").evaluation_only
