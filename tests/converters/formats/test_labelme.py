import json

import pytest

from converters.formats.labelme import parse_labelme
from mmrs.errors import BadItem


def parsed(*shapes, **keys):
    content = {"shapes": list(shapes), "imagePath": "a.jpg", "imageHeight": 64, "imageWidth": 96} | keys
    return parse_labelme(json.dumps(content).encode(), "a.json")


def shape(kind, *points, label="ship", **keys):
    return {"label": label, "points": [list(point) for point in points], "shape_type": kind, **keys}


def test_every_shape():
    known = parsed(
        shape("rectangle", (30, 40), (1, 2)),
        shape("rectangle", (1, 2), (30, 2), (30, 40), (1, 40)),
        shape("polygon", (10, 0), (20, 10), (10, 20), (0, 10)),
        shape("rotation", (10, 0), (20, 10), (10, 20), (0, 10), direction=0.78, difficult=True),
        shape("circle", (10, 10), (13, 14)),
        {"label": "old", "points": [[0, 0], [4, 0], [4, 3]]},
    )
    assert [thing.box for thing in known.objects] == [
        (1, 2, 30, 40),
        (1, 2, 30, 40),
        (0, 0, 20, 20),
        (0, 0, 20, 20),
        (5, 5, 15, 15),
        (0, 0, 4, 3),
    ]
    # The rectangle of least area around a diamond is the diamond.
    assert {tuple(map(round, known.objects[2].corners[place : place + 2])) for place in range(0, 8, 2)} == {
        (10, 0),
        (20, 10),
        (10, 20),
        (0, 10),
    }
    assert [thing.difficult for thing in known.objects[2:5]] == [False, True, False]
    assert known.size == (96, 64) and known.unread == ()


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (shape("point", (1, 2)), "'point' of 1 points, which is no box"),
        (shape("linestrip", (1, 2), (3, 4), (5, 6)), "which is no box"),
        (shape("polygon", (1, 2), (3, 4)), "which is no box"),
        (shape("rectangle", (1, 2)), "which is no box"),
        (shape("polygon", (1, 2), (3, 4), (5, "x")), "a finite number is expected"),
        (shape("polygon", (1, 2), (3, 4), (5, 1e300)), "beyond"),
        (shape("rectangle", (1, 2, 3), (3, 4, 5)), "pairs of x, y"),
        (shape("rectangle", (1, 2), (3, 4), label=""), "the label ''"),
        (shape("rectangle", (1, 2), (3, 4), label=None), "the label None"),
        ({"label": "a", "points": {"x": 1}, "shape_type": "rectangle"}, "a list of x, y"),
        (7, "an object is expected"),
    ],
)
def test_a_shape_that_is_no_box_is_named_and_costs_no_other(bad, words):
    known = parsed(bad, shape("rectangle", (1, 2), (3, 4)))
    assert len(known.objects) == 1 and words in known.unread[0].reason


@pytest.mark.parametrize("named", ["..\\..\\etc\\a.jpg", "/secret/a.png", "C:\\x\\a.jpg", "a.jpg"])
def test_a_path_of_the_image_is_a_name(named):
    parsed(imagePath=named).check_names_image("a", "a.json")
    with pytest.raises(BadItem, match="label file of another image"):
        parsed(imagePath=named).check_names_image("b", "b.json")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty file"),
        (b"[1]", "no list `shapes`"),
        (b'{"shapes": {}}', "no list `shapes`"),
        (b'{"shapes": [], "imageWidth": "x", "imageHeight": 1}', "imageWidth"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_files_of_something_else(data, words):
    with pytest.raises(BadItem, match=words):
        parse_labelme(data, "a.json")


def test_the_image_inside_is_not_looked_at():
    assert parsed(imageData="A" * 1_000_000, imagePath=None).image_name is None
