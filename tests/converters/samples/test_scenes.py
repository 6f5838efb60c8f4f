import numpy as np

from converters.catalog import facts
from converters.samples.noise import make_pool
from converters.samples.scenes import SCENES, paint_scene
from converters.samples.shapes import AERIAL, THERMAL, place


def features(image):
    """Colour means and spreads and edge strengths of the picture at 112 pixels: a weak classifier's view."""
    pixels = np.asarray(image.resize((112, 112)), dtype=float)
    edges = [np.abs(np.diff(pixels, n=1, axis=axis)).mean() for axis in (0, 1)]
    return np.array([*pixels.mean(axis=(0, 1)), *pixels.std(axis=(0, 1)), *np.percentile(pixels, (5, 95)), sum(edges)])


def test_every_class_has_a_scene():
    assert set(SCENES) == set(facts("ucmerced").classes)
    assert set(AERIAL) == set(facts("dota").classes)
    assert set(THERMAL) == {*facts("hit-uav").classes, *facts("hit-uav").ignored_labels}


def test_classes_are_apart_even_for_nearest_centroids():
    rng = np.random.default_rng(0)
    pool = make_pool(rng, 300, 300)
    seen = {scene: np.array([features(paint_scene(scene, rng, pool)) for _ in range(10)]) for scene in SCENES}
    scale = np.concatenate(list(seen.values())).std(axis=0)
    centroids = np.array([values[:6].mean(axis=0) / scale for values in seen.values()])
    right = [
        np.linalg.norm(centroids - value / scale, axis=1).argmin() == index
        for index, values in enumerate(seen.values())
        for value in values[6:]
    ]
    assert np.mean(right) > 0.75


def test_images_of_one_class_differ():
    rng = np.random.default_rng(0)
    pool = make_pool(rng, 300, 300)
    one, other = (np.asarray(paint_scene("river", rng, pool), dtype=float) for _ in range(2))
    assert np.abs(one - other).mean() > 10


def test_shapes_fill_their_box():
    for shape in [*THERMAL.values(), *(row[0] for row in AERIAL.values())]:
        points = np.concatenate([points for points, _ in shape.parts])
        assert np.allclose([points.min(axis=0), points.max(axis=0)], [[-0.5, -0.5], [0.5, 0.5]])


def test_place_turns_the_long_axis_with_the_box():
    tip = np.array([[0.5, 0.0]])
    assert np.allclose(place(tip, (10, 20, 8, 2, 0)), [[14, 20]])
    assert np.allclose(place(tip, (10, 20, 8, 2, np.pi / 2)), [[10, 24]])
    assert np.allclose(place(tip, (10, 20, 2, 8, 0)), [[10, 24]])
