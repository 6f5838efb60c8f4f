import math

import pytest

from converters.formats.cvat import parse_cvat, shape_object
from mmrs.errors import BadItem


def objects(body):
    image = f'<image id="0" name="a.jpg" width="96" height="64">{body}</image>'
    (image,) = parse_cvat(f"<annotations><version>1.1</version>{image}</annotations>".encode(), "a.xml").images
    return [shape_object(shape, "a.xml") for shape in image.shapes]


def test_every_shape():
    things = objects(
        '<box label="ship" occluded="0" xtl="1.5" ytl="2" xbr="30" ybr="40" z_order="0"/>'
        '<box label="ship" xtl="0" ytl="0" xbr="20" ybr="10" rotation="90.0"/>'
        '<polygon label="ship" points="10,0;20,10;10,20;0,10"/>'
        '<mask label="ship" rle="3, 4, 5" left="2" top="3" width="10" height="20"/>'
        '<ellipse label="ship" cx="10" cy="10" rx="5" ry="3"/>'
        '<ellipse label="ship" cx="10" cy="10" rx="5" ry="3" rotation="90"/>'
    )
    assert things[0].box == (1.5, 2, 30, 40) and things[0].rotated is None
    assert things[1].rotated == (10, 5, 20, 10, math.radians(90)) and things[1].box is None
    assert things[2].box == (0, 0, 20, 20) and len(things[2].corners) == 8
    assert things[3].box == (2, 3, 12, 23)
    assert things[4].box == (5, 7, 15, 13) and things[4].rotated is None
    assert things[5].box == pytest.approx((7, 5, 13, 15)) and things[5].rotated == (10, 10, 10, 6, math.radians(90))
    assert {thing.line for thing in things} == {1}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('<polyline label="road" points="1,2;3,4"/>', "'polyline', which is no box"),
        ('<points label="road" points="1,2"/>', "'points', which is no box"),
        ('<cuboid label="x" xtl1="1"/>', "'cuboid', which is no box"),
        ('<skeleton label="x"><points label="y" points="1,2"/></skeleton>', "'skeleton', which is no box"),
        ('<box xtl="1" ytl="2" xbr="3" ybr="4"/>', "without label"),
        ('<box label="x" xtl="1" ytl="2" xbr="3"/>', "ybr of a box is None"),
        ('<box label="x" xtl="9" ytl="2" xbr="3" ybr="4"/>', "inverted"),
        ('<box label="x" xtl="1" ytl="2" xbr="nan" ybr="4"/>', "finite"),
        ('<box label="x" xtl="1" ytl="2" xbr="3" ybr="4"><attribute name="theta">0.5</attribute></box>', "unknown"),
        ('<polygon label="x" points="1,2;3,4"/>', "has the points"),
        ('<polygon label="x" points="1,2;3;5,6"/>', "has the points"),
        ('<polygon label="x" points="1,2;3,x;5,6"/>', "a point"),
        ('<ellipse label="x" cx="1" cy="1" rx="-1" ry="2"/>', "negative size"),
        ('<mask label="x" left="1" top="1" width="-1" height="2"/>', "inverted"),
    ],
)
def test_a_shape_that_is_no_box_is_named(body, words):
    with pytest.raises(BadItem, match=words):
        objects(body)


def test_images_tags_and_lines():
    text = (
        '<?xml version="1.0"?>\n<annotations>\n <image id="0" name="sub/a.jpg" width="96" height="64">\n'
        '  <tag label="harbour" source="manual"/>\n </image>\n <image id="1"/>\n'
        ' <image id="2" name="b" width="x" height="1"/>\n'
        "</annotations>"
    )
    known = parse_cvat(text.encode(), "a.xml")
    assert [(image.name, image.size, image.tags, image.shapes) for image in known.images] == [
        ("sub/a.jpg", (96, 64), ("harbour",), ())
    ]
    assert [path for path, _ in known.problems] == ["a.xml:6", "a.xml:7"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('<annotations><track id="0" label="x"/></annotations>', "1 tracks of a video"),
        ("<annotation/>", "<annotations> expected"),
        ("", "empty file"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>', "refused"),
    ],
)
def test_files_of_something_else(text, words):
    with pytest.raises(BadItem, match=words):
        parse_cvat(text.encode(), "a.xml")
