import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from converters.formats.polygons import coco_points, min_area_corners, pixel_squares
from mmrs.errors import BadItem

POINTS = st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=1, max_size=30)


@settings(deadline=None)
@given(POINTS)
def test_area_is_that_of_shapely_and_holds_every_point(points):
    corners = min_area_corners(points)
    expected = shapely.minimum_rotated_rectangle(shapely.multipoints(np.array(points, dtype=float))).area
    rectangle = shapely.Polygon(corners)
    assert rectangle.area == pytest.approx(expected, abs=1e-6)
    assert all(rectangle.buffer(1e-6).covers(shapely.Point(point)) for point in points)


@given(POINTS, st.randoms(use_true_random=False))
def test_order_and_repeats_of_points_do_not_matter(points, random):
    shuffled = [*points, points[0]]
    random.shuffle(shuffled)
    np.testing.assert_array_equal(min_area_corners(points), min_area_corners(shuffled))


def test_ties_take_the_smallest_angle():
    """A regular octagon has four rectangles of equal area."""
    turn = np.deg2rad(np.arange(8) * 45 + 22.5)
    corners = min_area_corners(np.stack([np.cos(turn), np.sin(turn)], axis=1))
    assert np.ptp(corners[:2, 1]) == pytest.approx(0, abs=1e-9)


def test_pixel_squares_only_for_whole_numbers():
    assert pixel_squares(np.array([[1.0, 2.0]])).tolist() == [[1, 2], [2, 2], [2, 3], [1, 3]]
    hand_drawn = np.array([[1.0, 2.5], [3.0, 4.0]])
    assert pixel_squares(hand_drawn) is hand_drawn


def test_points_of_coco_rows():
    assert coco_points({"segmentation": [[1, 2, 3, 4], [5, 6]]}, "x").tolist() == [[1, 2], [3, 4], [5, 6]]
    assert coco_points({}, "x").shape == (0, 2)
    with pytest.raises(BadItem, match="lists of x, y"):
        coco_points({"id": 3, "segmentation": "text"}, "x")
