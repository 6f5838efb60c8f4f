"""Fields beside a box that turn it, or order its numbers otherwise: honoured, or the row is named."""

import numpy as np
import pytest

from converters.formats.coco import box_fields, row_object
from converters.formats.objects import annotated, labelled, object_quads
from converters.formats.turned import box_object
from converters.formats.voc import parse_voc
from mmrs.errors import BadItem

CLASSES = {"ship": "ship"}
UPRIGHT = [20.0, 90.0, 160.0, 20.0]
TURNED = {(90.0, 20.0), (110.0, 20.0), (110.0, 180.0), (90.0, 180.0)}


def row(**fields):
    return {"id": 1, "image_id": 1, "category_id": 1, "label": "ship", "bbox": UPRIGHT, **fields}


def read(**fields):
    """As converters read a row: what they keep of it becomes the object."""
    return row_object(box_fields(row(**fields)), "x.json")


def corners(obj):
    (found,) = annotated([labelled([obj], CLASSES, "x")])[0]
    return set(found.quad)


@pytest.mark.parametrize(
    "fields",
    [
        {"rotation": 90}, {"rotation": "90.0"}, {"attributes": {"rotation": 90.0}}, {"attributes": {"Rotation": 450}},
        {"attributes": {"occluded": False, "rotation": -270}}, {"rotation": 90, "theta": 0, "angle": None},
    ],
)  # fmt: skip
def test_a_rotation_turns_the_box_clockwise_about_its_centre(fields):
    obj = read(**fields)
    assert corners(obj) == TURNED and annotated([labelled([obj], CLASSES, "x")])[0][0].hbb is None


@pytest.mark.parametrize("fields", [{}, {"rotation": 0}, {"attributes": {"rotation": 360.0}}, {"angle": 0.0}])
def test_a_box_that_is_not_turned_stays_as_it_is(fields):
    (found,) = annotated([labelled([read(**fields)], CLASSES, "x")])[0]
    assert found.hbb == (20, 90, 180, 110)


def test_the_turn_is_clockwise_on_screen():
    (quad,) = object_quads([read(bbox=[0, 0, 10, 10], rotation=30)])
    centre, first = quad.mean(axis=0), read(bbox=[0, 0, 10, 10], rotation=30).rotated
    assert first[:2] == tuple(centre) and first[4] == pytest.approx(np.deg2rad(30))


@pytest.mark.parametrize(
    ("values", "mode"),
    [
        ([20, 90, 180, 110], 0), ([20, 90, 180, 110], "XYXY_ABS"), ([20, 90, 180, 110], "BoxMode.XYXY_ABS"),
        (UPRIGHT, 1), (UPRIGHT, "xywh"), ([100, 100, 160, 20, 0], 4),
    ],
)  # fmt: skip
def test_the_order_of_the_numbers_may_be_stated(values, mode):
    assert corners(read(bbox=values, bbox_mode=mode)) == {(20, 90), (180, 90), (180, 110), (20, 110)}


def test_detectron2_turns_against_the_clock():
    obj = read(bbox=[100, 100, 160, 20, 30], bbox_mode=4)
    assert obj.rotated[4] == pytest.approx(np.deg2rad(330))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"theta": 0.5}, "theta 0.5, of which unit and direction are unknown"),
        ({"attributes": {"angle": 90}}, "angle 90, of which"),
        ({"rotation": "a bit"}, "rotation is 'a bit'"),
        ({"rotation": float("inf")}, "rotation is inf"),
        ({"bbox_mode": 2}, "bbox_mode is 2"),
        ({"bbox_mode": "XYWH_REL"}, "bbox_mode is 'XYWH_REL'"),
        ({"bbox": [20, 90, 160, 20, 90]}, "5 numbers for x, y, width, height"),
        ({"bbox_mode": 4}, "4 numbers for centre x"),
        ({"bbox": [0.1, 0.2, 0.3, 0.4]}, "in fractions"),
        ({"bbox": [20, 90, -5, 20]}, "inverted"),
        ({"bbox": None}, "neither bbox nor polygons"),
        ({"bbox": [], "segmentation": {"counts": "abc", "size": [9, 9]}}, "segmentation of annotation 1"),
        ({"label": None}, "category id 1, of which the file has no name"),
    ],
)
def test_what_is_not_understood_is_named(fields, words):
    with pytest.raises(BadItem, match=words):
        read(**fields)


def test_a_row_without_a_box_has_the_extent_of_its_polygons():
    assert read(bbox=None, segmentation=[[1, 2, 9, 2, 5, 8]]).box == (1, 2, 9, 8)


BNDBOX = "<bndbox><xmin>20</xmin><ymin>90</ymin><xmax>180</xmax><ymax>110</ymax></bndbox>"
PAIR = "<attribute><name>{}</name><value>{}</value></attribute>"


def voc(inner: str):
    (row,) = parse_voc(f"<annotation><object><name>ship</name>{inner}</object></annotation>".encode(), "a.xml").rows
    return row


@pytest.mark.parametrize(
    "inner",
    [
        f"{BNDBOX}<attributes>{PAIR.format('occluded', 0)}{PAIR.format('rotation', '90.0')}</attributes>",
        f"{BNDBOX}<attributes><rotation>90</rotation></attributes>", f"<rotation>90</rotation>{BNDBOX}",
        BNDBOX.replace("</bndbox>", "<rotation>90</rotation></bndbox>"),
    ],
)  # fmt: skip
def test_attributes_of_voc_turn_a_box_too(inner):
    assert corners(voc(inner)) == TURNED


@pytest.mark.parametrize("inner", [f"{BNDBOX}<theta>0.3</theta>", f"{BNDBOX}<rotated>1</rotated>"])
def test_a_turn_of_voc_that_is_not_understood_is_named(inner):
    assert "unit and direction are unknown" in voc(inner).reason


@pytest.mark.parametrize(("word", "expected"), [("0", False), ("1", True), ("true", True), ("No", False), ("", False)])
def test_flags_of_voc_are_numbers_or_words(word, expected):
    assert voc(f"{BNDBOX}<truncated>{word}</truncated>").truncated is expected


def test_unturned_numbers_are_the_usual_order():
    assert box_object((1.0, 2.0, 3.0, 4.0), {}, "ship", "x").box == (1, 2, 4, 6)
