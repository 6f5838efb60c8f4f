"""Scenes are cut and put together again: each object once, where it is, however windows cut it."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from mmrs.geometry import quad_from_hbb, quad_from_rotated
from mmrs.imaging.windows import plan_windows
from mmrs.polygons import quad_iou
from mmrs.record import Window
from mmrs.source import Tiling
from training.evaluation.boxes.windows import WindowBoxes, merge_windows

SCENE = (1400, 1000)
TILING = Tiling(size=400, overlap=120)


def seen(quads, names, window, oriented, generator, noise=0.5, least_share=0.25):
    """What a good detector finds in a window: the visible part of each object, give or take a pixel."""
    box = shapely.box(window.x, window.y, window.x + window.width, window.y + window.height)
    found, found_names = [], []
    for quad, name in zip(quads, names, strict=True):
        part = shapely.intersection(shapely.Polygon(quad), box)
        if part.area < least_share * shapely.Polygon(quad).area:
            continue
        low_high = np.array(part.bounds)
        corners = quad_from_hbb(low_high[None])[0]
        if oriented:
            corners = shapely.get_coordinates(shapely.minimum_rotated_rectangle(part))[:4]
        corners = corners + generator.normal(0, noise, (1, 2)) - [window.x, window.y]
        found.append(np.clip(corners, 0, [window.width, window.height]) if not oriented else corners)
        found_names.append(name)
    return WindowBoxes(window, found_names, np.array(found).reshape(-1, 4, 2))


def scattered(generator, oriented, count=60):
    """Objects of 12 to 60 pixels that do not touch each other."""
    chosen = np.zeros((0, 4, 2))
    while len(chosen) < count:
        centre, sides = generator.uniform(40, [SCENE[0] - 40, SCENE[1] - 40]), generator.uniform(12, 60, 2)
        angle = generator.uniform(0, np.pi) if oriented else 0.0
        quad = quad_from_rotated([[*centre, *sides, angle]])
        if not len(chosen) or shapely.distance(shapely.polygons(chosen), shapely.Polygon(quad[0])).min() > 6:
            chosen = np.concatenate((chosen, quad))
    return chosen


@pytest.mark.parametrize("oriented", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_every_object_is_found_once(oriented, seed):
    generator = np.random.default_rng(seed)
    quads = scattered(generator, oriented)
    names = [("ship", "car")[number % 2] for number in range(len(quads))]
    windows = plan_windows(*SCENE, TILING)
    found = [seen(quads, names, window, oriented, generator) for window in windows]
    assert sum(len(each.names) for each in found) > 1.3 * len(quads)
    boxes = merge_windows(found, *SCENE)
    merged_names, merged = boxes.names, boxes.quads_N42
    iou = quad_iou(quads, merged)
    assert len(merged) == len(quads) and (iou.max(1) > 0.6).all() and len(set(iou.argmax(1))) == len(quads)
    assert [merged_names[place] for place in iou.argmax(1)] == names


@pytest.mark.parametrize("angle", [0.0, 0.3])
def test_an_object_that_no_window_sees_whole_is_put_together(angle):
    """A pier through four windows."""
    generator = np.random.default_rng(0)
    pier = quad_from_rotated([[700, 480, 1100, 40, angle]])
    windows = plan_windows(*SCENE, TILING)
    found = [seen(pier, ["pier"], window, angle > 0, generator, 0.3, least_share=0.01) for window in windows]
    boxes = merge_windows(found, *SCENE)
    names, merged = boxes.names, boxes.quads_N42
    assert names == ("pier",) and quad_iou(pier, merged)[0, 0] > (0.6 if angle else 0.95)


def test_neighbours_and_other_classes_stay_apart():
    windows = [Window(x=0, y=0, width=100, height=100), Window(x=60, y=0, width=100, height=100)]
    row = quad_from_hbb([[62 + 8 * place, 40, 69 + 8 * place, 60] for place in range(4)])
    found = [WindowBoxes(window, ["car"] * 4, row - [window.x, 0]) for window in windows]
    boxes = merge_windows(found, 160, 100)
    names, merged = boxes.names, boxes.quads_N42
    assert names == ("car",) * 4 and np.allclose(merged, row)
    other = [WindowBoxes(window, [name], row[:1] - [window.x, 0]) for window, name in zip(windows, "ab", strict=True)]
    assert merge_windows(other, 160, 100).names == ("a", "b")
    nested = quad_from_hbb([[62, 20, 98, 80]]), quad_from_hbb([[70, 30, 80, 40]])
    found = [WindowBoxes(window, ["car"], quads - [window.x, 0]) for window, quads in zip(windows, nested, strict=True)]
    assert len(merge_windows(found, 160, 100).names) == 2
    twice = WindowBoxes(windows[0], ["car", "car"], np.concatenate((row[:1], row[:1])))
    assert len(merge_windows([twice], 160, 100).names) == 2


def test_the_whole_box_counts_and_the_border_of_the_scene_cuts_nothing():
    windows = [Window(x=0, y=0, width=100, height=100), Window(x=60, y=0, width=100, height=100)]
    cut, whole = quad_from_hbb([[80, 30, 100, 50]]), quad_from_hbb([[20, 30, 70, 50]])
    found = [WindowBoxes(windows[0], ["ship"], cut), WindowBoxes(windows[1], ["ship"], whole)]
    boxes = merge_windows(found, 160, 100)
    names, merged = boxes.names, boxes.quads_N42
    assert names == ("ship",) and np.allclose(merged, whole + np.array([60, 0]))
    edge = WindowBoxes(windows[0], ["ship"], quad_from_hbb([[0, 0, 70, 20]]))
    part = WindowBoxes(windows[1], ["ship"], quad_from_hbb([[0, 0, 10, 20]]))
    assert np.allclose(merge_windows([edge, part], 160, 100).quads_N42, quad_from_hbb([[0, 0, 70, 20]]))


def test_an_object_is_as_sure_as_the_surest_of_its_boxes():
    windows = [Window(x=0, y=0, width=100, height=100), Window(x=60, y=0, width=100, height=100)]
    cut, whole, other = (quad_from_hbb([box]) for box in ([80, 30, 100, 50], [20, 30, 70, 50], [10, 70, 30, 90]))
    found = [
        WindowBoxes(windows[0], ["ship", "ship"], np.concatenate((cut, other)), [0.9, 0.2]),
        WindowBoxes(windows[1], ["ship"], whole, [0.4]),
    ]
    boxes = merge_windows(found, 160, 100)
    assert np.allclose(boxes.quads_N42, np.concatenate((whole + np.array([60, 0]), other)))
    assert boxes.confidences_N.tolist() == [0.9, 0.2]
    assert merge_windows([WindowBoxes(windows[0], ["ship"], other)], 160, 100).confidences_N.tolist() == [1.0]


def test_nothing_found_is_nothing_and_a_lost_name_is_told():
    assert merge_windows([], 10, 10).names == () and merge_windows([], 10, 10).quads_N42.shape == (0, 4, 2)
    with pytest.raises(ValueError, match="1 names for 0 boxes"):
        merge_windows([WindowBoxes(Window(x=0, y=0, width=9, height=9), ["a"], np.zeros((0, 4, 2)))], 9, 9)
    with pytest.raises(ValueError, match="2 confidences for 0 boxes"):
        merge_windows([WindowBoxes(Window(x=0, y=0, width=9, height=9), [], np.zeros((0, 4, 2)), [1, 1])], 9, 9)
