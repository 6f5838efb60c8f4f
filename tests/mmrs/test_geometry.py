"""Geometry against shapely and against its own definitions."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from mmrs.geometry import (
    SquareFrame,
    as_quads,
    box_iou,
    canonical_quad,
    clockwise,
    hbb_from_quad,
    quad_from_hbb,
    quad_from_rotated,
    signed_area,
)
from mmrs.polygons import iof_in_window, quad_iou

coordinate = st.floats(-100, 1000, allow_nan=False)
side = st.floats(1, 300)
rotated = st.tuples(coordinate, coordinate, side, side, st.floats(-7, 7)).map(list)
box = st.tuples(coordinate, coordinate, side, side).map(lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]])


@given(st.lists(rotated, min_size=1, max_size=5))
def test_rotated_boxes_keep_their_sides_centre_and_winding(boxes):
    quads = quad_from_rotated(boxes)
    expected = np.array(boxes)
    np.testing.assert_allclose(quads.mean(axis=1), expected[:, :2], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(quads[:, 1] - quads[:, 0], axis=1), expected[:, 2], rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(quads[:, 2] - quads[:, 1], axis=1), expected[:, 3], rtol=1e-6)
    np.testing.assert_allclose(signed_area(quads), expected[:, 2] * expected[:, 3], rtol=1e-6)


def test_rotation_is_clockwise_on_screen():
    # A quarter turn clockwise (y down) moves the top left corner to the top right.
    quad = quad_from_rotated([[10, 10, 8, 4, np.pi / 2]])[0]
    np.testing.assert_allclose(quad[0], [12, 6], atol=1e-9)


@given(st.lists(rotated, min_size=1, max_size=5), st.integers(0, 3), st.booleans())
def test_canonical_quad_forgets_the_start_and_the_winding(boxes, shift, reverse):
    quads = quad_from_rotated(boxes)
    changed = np.roll(quads[:, ::-1] if reverse else quads, shift, axis=1)
    np.testing.assert_array_equal(canonical_quad(changed), canonical_quad(quads))
    first = canonical_quad(quads)[:, 0].sum(axis=1)
    assert (first <= quads.sum(axis=2).min(axis=1) + 1e-5).all()


@given(st.lists(rotated, min_size=1, max_size=5))
def test_clockwise_keeps_the_first_corner(boxes):
    mirrored = quad_from_rotated(boxes)[:, ::-1]
    turned = clockwise(mirrored)
    assert (signed_area(turned) > 0).all()
    np.testing.assert_array_equal(turned[:, 0], mirrored[:, 0])


@given(st.lists(box, min_size=1, max_size=6), st.lists(box, min_size=1, max_size=6))
def test_box_iou_equals_shapely(first, second):
    a, b = shapely.box(*np.array(first).T), shapely.box(*np.array(second).T)
    union = shapely.area(shapely.union(a[:, None], b[None, :]))
    expected = shapely.area(shapely.intersection(a[:, None], b[None, :])) / union
    np.testing.assert_allclose(box_iou(first, second), expected, atol=1e-9)


@given(st.lists(box, min_size=1, max_size=4), st.lists(box, min_size=1, max_size=4))
def test_quad_iou_of_upright_quads_is_box_iou(first, second):
    np.testing.assert_allclose(quad_iou(quad_from_hbb(first), quad_from_hbb(second)), box_iou(first, second), atol=1e-9)


def test_disjoint_boxes_in_fractions_do_not_overlap():
    # The "+1 pixel" IoU of published scorers gives 0.503 here.
    assert box_iou([[0.1, 0.1, 0.2, 0.2]], [[0.3, 0.3, 0.4, 0.4]])[0, 0] == 0


def test_crossing_quad_has_no_iou():
    bow_tie = [[0, 0], [10, 10], [10, 0], [0, 10]]
    assert quad_iou([bow_tie], [[[0, 0], [10, 0], [10, 10], [0, 10]]])[0, 0] == 0


@given(box)
def test_iof_is_the_share_inside(b):
    polygon, window = shapely.box(*b), (0, 0, 200, 100)
    expected = polygon.intersection(shapely.box(*window)).area / polygon.area
    np.testing.assert_allclose(iof_in_window(quad_from_hbb([b]), window), [expected], atol=1e-9)


def test_iof_of_a_quad_without_area_counts_its_centre():
    point = np.full((1, 4, 2), 5.0)
    assert iof_in_window(point, (0, 0, 10, 10)) == [1.0]
    assert iof_in_window(point, (6, 0, 10, 10)) == [0.0]


@pytest.mark.parametrize(("size", "offset"), [((640, 512), (0, 64)), ((512, 641), (64, 0)), ((800, 800), (0, 0))])
def test_frame_follows_the_released_rule(size, offset):
    frame = SquareFrame(*size)
    assert frame.offset == offset
    assert frame.side == max(size)
    # The release's example: int((long - short) / 2) added to the short axis, everything divided by the long side.
    np.testing.assert_allclose(
        frame.to_fractions([[10, 20]]), [[(10 + offset[0]) / frame.side, (20 + offset[1]) / frame.side]]
    )


@given(st.integers(1, 5000), st.integers(1, 5000), st.lists(st.tuples(coordinate, coordinate), min_size=1, max_size=5))
def test_frame_round_trip(width, height, points):
    frame = SquareFrame(width, height)
    np.testing.assert_allclose(frame.to_pixels(frame.to_fractions(points)), points, atol=1e-6)


def test_hbb_from_quad_is_the_extent():
    np.testing.assert_array_equal(hbb_from_quad([[[3, 1], [7, 2], [6, 9], [2, 5]]]), [[2, 1, 7, 9]])


def test_as_quads_refuses_a_broken_count():
    with pytest.raises(ValueError, match="7 numbers"):
        as_quads(range(7))
