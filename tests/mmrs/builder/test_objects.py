"""Objects against their image: nothing is lost without a reason."""

import numpy as np
import shapely
from hypothesis import given
from hypothesis import strategies as st

from mmrs.builder.objects import check_objects, cut_to_window, follow_objects
from mmrs.geometry import quad_from_hbb
from mmrs.polygons import crossing_edges, iof_in_window
from mmrs.record import AnnotatedObject, Expression, Window

coordinate = st.integers(-50, 150)
boxes = st.lists(st.tuples(coordinate, coordinate, st.integers(0, 60), st.integers(0, 60)), max_size=8)


def objects(rows) -> list[AnnotatedObject]:
    quads = quad_from_hbb([[x, y, x + w, y + h] for x, y, w, h in rows])
    return [AnnotatedObject(category="car", label="Car", quad=quad.tolist()) for quad in quads]


@given(boxes)
def test_every_object_is_kept_or_has_a_reason(rows):
    things = objects(rows)
    kept, reasons = check_objects([(things, (100, 80))])[0]
    assert len(kept) + len(reasons) == len(rows)
    assert [things[position].quad for position, _ in kept] == [item.quad for _, item in kept]
    for _, item in kept:
        x1, y1, x2, y2 = item.extent()
        assert x1 < 100 and y1 < 80 and x2 > 0 and y2 > 0 and x2 > x1 and y2 > y1
        outside = x1 < -1 or y1 < -1 or x2 > 101 or y2 > 81
        assert ("inside" in item.flags) == outside


def test_reasons_name_the_object():
    _, reasons = check_objects([(objects([(5, 5, 0, 9), (300, 5, 9, 9)]), (100, 80))])[0]
    assert reasons == [
        "object 0 (Car) has no area: [5.0, 5.0, 5.0, 14.0]",
        "object 1 (Car) lies outside the 100x80 image: [300.0, 5.0, 309.0, 14.0]",
    ]


def test_crossing_edges_are_flagged():
    bow_tie = AnnotatedObject(category="car", label="Car", quad=((0, 0), (30, 20), (30, 0), (0, 9)))
    ((_, item),), _ = check_objects([([bow_tie], (100, 80))])[0]
    assert item.flags["crossing"] is True


@given(boxes, st.integers(0, 60), st.integers(0, 40), st.sampled_from([0.3, 0.7, 1.0]))
def test_a_tile_shows_what_lies_in_it_by_the_iof_rule(rows, x, y, min_iof):
    window = Window(x=x, y=y, width=40, height=30)
    things = [
        item for item in objects(rows) if item.extent()[2] > item.extent()[0] and item.extent()[3] > item.extent()[1]
    ]
    shown = cut_to_window(list(enumerate(things)), window, min_iof)
    expected = []
    for item in things:
        x1, y1, x2, y2 = item.extent()
        w = max(0.0, min(x2, x + 40) - max(x1, x))
        h = max(0.0, min(y2, y + 30) - max(y1, y))
        iof = w * h / ((x2 - x1) * (y2 - y1))
        if iof > 0:
            expected.append((iof, np.array(item.quad) - [x, y]))
    assert len(shown) == len(expected)
    for (position, item), (iof, quad) in zip(shown, expected, strict=True):
        assert things[position].category == item.category
        np.testing.assert_allclose(item.quad, quad)
        whole = iof > 1 - 1e-9
        assert item.truncated == (not whole)
        if abs(iof - min_iof) > 1e-9:
            assert item.ignore == (iof < min_iof)
        assert whole or abs(item.flags["iof"] - iof) < 1e-4


def test_expressions_follow_their_objects_and_go_with_them():
    expressions = [Expression(text=text, object=number) for number, text in enumerate(("first", "second", "third"))]
    kept, _ = check_objects([(objects([(5, 5, 9, 9), (5, 5, 0, 0), (30, 30, 9, 9)]), (100, 80))])[0]
    followed = follow_objects(expressions, [position for position, _ in kept])
    assert [(e.text, kept[e.object][1].extent()[0]) for e in followed] == [("first", 5), ("third", 30)]


def test_an_ignored_object_stays_whatever_its_box():
    flat = objects([(5, 5, 0, 9)])[0].model_copy(update={"ignore": True, "flags": {"zero_area": True}})
    ((_, item),), reasons = check_objects([([flat], (100, 80))])[0]
    assert reasons == [] and item.flags["zero_area"] is True


@given(st.lists(boxes, max_size=5))
def test_images_checked_together_are_those_checked_one_by_one(images):
    asked = [(objects(rows), (100, 80 + number)) for number, rows in enumerate(images)]
    assert check_objects(asked) == [check_objects([one])[0] for one in asked]


corner = st.tuples(st.integers(-3, 12), st.integers(-3, 12))


@given(st.lists(st.tuples(corner, corner, corner, corner), min_size=1, max_size=6))
def test_only_polygons_that_may_be_unusual_are_asked_of_shapely(quads):
    assert crossing_edges(quads).tolist() == [not shapely.is_valid(shapely.Polygon(quad)) for quad in quads]
    things = [AnnotatedObject(category="car", label="Car", quad=quad) for quad in quads]
    ((kept, _),) = check_objects([(things, (10, 8))])
    shares = iof_in_window(quads, (0, 0, 10, 8))
    for position, item in kept:
        assert shares[position] > 0
        if "inside" in item.flags:
            assert item.flags["inside"] == round(float(shares[position]), 4)
