import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converters.formats.yolo import parse_yolo, read_class_names, yolo_boxes, yolo_quads
from mmrs.errors import BadItem

OBB = "0 0.78 0.74 0.79 0.74 0.79 0.76 0.78 0.76"


def parse(text: str, form="hbb", classes=2):
    return parse_yolo(text.encode(), "a.txt", form, classes)


def test_centre_boxes_become_pixels_of_the_unpadded_image():
    found = parse("\ufeff1 0.5 0.5 0.5 0.25\r\n\r\n0 0.125 0.25 0.25 0.5\r\n")
    assert [(item.index, item.line) for item in found] == [(1, 1), (0, 3)]
    assert yolo_boxes(found, 800, 400).tolist() == [[200, 150, 600, 250], [0, 0, 200, 200]]
    assert yolo_quads(found, 800, 400)[1].tolist() == [[0, 0], [200, 0], [200, 200], [0, 200]]


def test_corners_keep_the_order_of_the_file():
    quads = yolo_quads(parse("0 0.5 0 1 0.5 0.5 1 0 0.5", "obb"), 100, 50)
    assert quads.tolist() == [[[50, 0], [100, 25], [50, 50], [0, 25]]]


def test_empty_file_has_no_objects():
    assert parse("") == parse(" \r\n\n") == ()
    assert yolo_boxes((), 10, 10).shape == (0, 4) and yolo_quads((), 10, 10).shape == (0, 4, 2)


def test_rounded_edges_are_clipped():
    assert yolo_boxes(parse("0 0.9995 0.5 0.0012 1"), 1000, 10)[0, 2] == 1000


@pytest.mark.parametrize(
    ("line", "form", "words"),
    [
        ("0 0.5 0.5 0.5", "hbb", "4 words.*class index and 4 numbers"),
        (OBB, "hbb", "9 words"),
        ("0 0.5 0.5 0.5 0.5", "obb", "class index and 8 numbers"),
        ("2 0.5 0.5 0.5 0.5", "hbb", "class index 2 is out of range; there are 2"),
        ("-1 0.5 0.5 0.5 0.5", "hbb", "out of range"),
        ("0.5 0.5 0.5 0.5 0.5", "hbb", "whole number"),
        ("ship 0.5 0.5 0.5 0.5", "hbb", "class index is 'ship'"),
        ("0 0.5 nan 0.5 0.5", "hbb", "coordinate is 'nan'"),
        ("0 320 240 50 50", "hbb", "fractions"),
        ("0 0.9 0.5 0.5 0.5", "hbb", "leaves the image"),
        ("0 0.5 0.5 -0.1 0.5", "hbb", "negative width"),
        ("0 10 20 30 20 30 40 10 40", "obb", "no fractions"),
    ],
)
def test_bad_lines_are_named(line, form, words):
    with pytest.raises(BadItem, match=words) as caught:
        parse(f"\n{line}\n", form)
    assert (caught.value.path, caught.value.line) == ("a.txt", 2)


def test_class_names(tmp_path):
    for name, text in (
        ("classes.txt", "\ufeffship\r\nstorage tank\r\n\r\n"),
        ("data.yaml", "names: [ship, storage tank]\nnc: 2\n"),
        ("map.yml", "names:\n  1: storage tank\n  0: ship\n"),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert read_class_names(tmp_path / name) == ("ship", "storage tank")


@pytest.mark.parametrize(
    ("text", "words"),
    [("names: {1: ship}", "0 to 0"), ("nc: 2", "no class names"), ("names: [", "not YAML"), ("[a]", "no class names")],
)
def test_bad_class_names(tmp_path, text, words):
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(BadItem, match=words):
        read_class_names(tmp_path / "data.yaml")


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="0123456789.-+e \n\tnaif", max_size=60) | st.text(max_size=20), st.sampled_from(["hbb", "obb"]))
def test_any_text_ends_in_objects_or_a_bad_item(text, form):
    with contextlib.suppress(BadItem):
        assert np.isfinite(yolo_quads(parse_yolo(text.encode("utf-8", "replace"), "x", form, 3), 10, 10)).all()
