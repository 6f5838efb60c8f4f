import numpy as np
import pytest

from converters.formats.objects import annotated, from_inclusive, known_label, labelled, object_quads
from converters.formats.polygons import as_corners, min_area_corners
from converters.formats.shapes import BoxObject
from mmrs.errors import BadItem

CLASSES = {"T junction": "T junction", "Expressway-toll-station": "expressway toll station", "ship": "ship"}
SHIP = BoxObject("ship", (1, 2, 30, 40))


@pytest.mark.parametrize("label", ["T junction", "t junction", "TJUNCTION", "t_Junction", "T-junction"])
def test_spellings_of_a_label(label):
    assert known_label(label, CLASSES, "x") == "T junction"


def test_unknown_label_names_path_line_and_the_nearest():
    with pytest.raises(BadItem, match=r"unknown class 'shipp' \(did you mean 'ship'\?\)") as caught:
        known_label("shipp", CLASSES, "a.xml", 7)
    assert (caught.value.path, caught.value.line) == ("a.xml", 7)


def test_corners_go_before_the_box_and_the_box_stays():
    both = BoxObject("ship", (0, 0, 9, 9), corners=(5, 0, 10, 5, 5, 10, 0, 5))
    (obj,) = annotated([labelled([both], CLASSES, "x")])[0]
    assert obj.hbb == (0, 0, 9, 9)
    assert obj.quad == ((5, 0), (10, 5), (5, 10), (0, 5))


def test_every_kind_in_one_file():
    raw = [SHIP, BoxObject("ship", rotated=(10, 10, 4, 2, 0)), BoxObject("ship", corners=(0, 4, 4, 4, 4, 0, 0, 0))]
    expected = [
        [[1, 2], [30, 2], [30, 40], [1, 40]],
        [[8, 9], [12, 9], [12, 11], [8, 11]],
        [[0, 0], [4, 0], [4, 4], [0, 4]],
    ]
    assert np.allclose(object_quads(raw), expected)
    assert annotated([labelled([], CLASSES, "x")])[0] == ()


def test_zero_area_and_repeats_are_ignored_with_a_reason():
    flat = BoxObject("ship", (5, 5, 5, 9))
    objects = annotated([labelled([SHIP, flat, SHIP, BoxObject("T junction", SHIP.box)], CLASSES, "x")])[0]
    assert [obj.ignore for obj in objects] == [False, True, True, False]
    assert [obj.flags for obj in objects] == [{}, {"zero_area": True}, {"duplicate": True}, {}]
    assert objects[1].hbb is None
    assert not any(obj.ignore for obj in annotated([labelled([SHIP, SHIP], CLASSES, "x", repeats=True)])[0])


def test_ignored_labels():
    (obj,) = annotated([labelled([BoxObject("Ignored-Regions", (1, 2, 3, 4))], CLASSES, "x", ["ignored regions"])])[0]
    assert obj.ignore and obj.category == "ignored region" and obj.label == "Ignored-Regions"


@pytest.mark.parametrize(
    ("box", "expected"),
    [((1, 1, 800, 800), (0, 0, 800, 800)), ((0, 5, 9, 9), (0, 4, 9, 9)), ((5, 5, 5, 9), (5, 5, 5, 9))],
)
def test_inclusive_edges(box, expected):
    assert from_inclusive(BoxObject("ship", box)).box == expected


def test_inclusive_edges_leave_corners_alone():
    obj = BoxObject("ship", corners=(1, 1, 2, 1, 2, 2, 1, 2))
    assert from_inclusive(obj) is obj


FLAT = [
    BoxObject("T-junction", (1, 2, 1, 9)),
    BoxObject("T-junction", rotated=(50, 50, 30, 0, 0.3)),
    BoxObject("T-junction", rotated=(50, 50, 0, 30, 1.1)),
    BoxObject("T-junction", corners=(1, 1, 9, 9, 9, 9, 1, 1)),
    BoxObject("T-junction", corners=as_corners(min_area_corners([[0.1, 0.1], [10.3, 20.7], [5.2, 10.4]]))),
    BoxObject("T-junction", (1, 2, 1, 9), corners=(1, 2, 4, 2, 4, 9, 1, 9)),
    from_inclusive(BoxObject("T-junction", (4, 2, 4, 9))),
]


@pytest.mark.parametrize("flat", FLAT)
def test_a_box_of_no_size_is_ignored_whatever_form_it_came_in(flat):
    (obj,) = annotated([labelled([flat], CLASSES, "x")])[0]
    assert obj.ignore and obj.flags == {"zero_area": True}
