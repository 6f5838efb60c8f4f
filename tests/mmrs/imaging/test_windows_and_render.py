"""Windows cover a scene exactly; rendering to 8 bits is monotone and leaves 8 bits alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmrs.errors import BadItem
from mmrs.imaging.windows import plan_windows, read_rendered_windows
from mmrs.source import Tiling
from tests.support.rendering import render_to_8bit


@settings(deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), st.integers(10, 120), st.integers(0, 9))
def test_windows_cover_every_pixel_and_stay_inside(width, height, size, overlap):
    covered = np.zeros((height, width), dtype=int)
    windows = plan_windows(width, height, Tiling(size, overlap))
    for window in windows:
        assert window.x + window.width <= width and window.y + window.height <= height
        assert (window.width, window.height) == (min(size, width), min(size, height))
        covered[window.y : window.y + window.height, window.x : window.x + window.width] += 1
    assert covered.min() >= 1
    assert len({(w.x, w.y) for w in windows}) == len(windows)


@pytest.mark.parametrize(
    ("mode", "shape"), [("L", (30, 40)), ("RGB", (30, 40, 3)), ("RGBA", (30, 40, 3)), ("P", (30, 40, 3))]
)
def test_windows_are_cuts_of_the_scene(tmp_path, mode, shape):
    pixels = np.random.default_rng(1).integers(0, 256, (90, 100, 3), dtype=np.uint8)
    scene = Image.fromarray(pixels).convert(mode)
    scene.save(tmp_path / "P0001.png")
    expected = np.asarray(scene.convert("L" if mode == "L" else "RGB"))
    windows = plan_windows(100, 90, Tiling(40, 10))[:1] + [
        w for w in plan_windows(100, 90, Tiling(40, 10)) if w.x == 60
    ]
    windows = [w.model_copy(update={"height": 30}) for w in windows if w.y <= 60]
    tiles = read_rendered_windows(tmp_path / "P0001.png", windows, "optical")
    for window, (tile, rule) in zip(windows, tiles, strict=True):
        assert tile.shape == shape and rule is None
        np.testing.assert_array_equal(tile, expected[window.y : window.y + 30, window.x : window.x + 40])


def test_a_broken_scene_is_a_bad_item(tmp_path):
    (tmp_path / "P0001.png").write_bytes(b"no scene")
    with pytest.raises(BadItem, match="cannot be read"):
        list(read_rendered_windows(tmp_path / "P0001.png", plan_windows(10, 10, Tiling(10, 0)), "optical"))


@pytest.mark.parametrize("sensor", ["optical", "sar", "infrared"])
@given(seed=st.integers(0, 1000))
def test_rendering_is_monotone_and_idempotent(sensor, seed):
    values = np.random.default_rng(seed).integers(1, 60000, (9, 11)).astype(np.uint16)
    pixels, rule = render_to_8bit(values, sensor)
    order = np.argsort(values.ravel(), kind="stable")
    assert (np.diff(pixels.ravel()[order].astype(int)) >= 0).all()
    again, none = render_to_8bit(pixels, sensor)
    assert none is None and again is pixels
    assert rule["kind"] == ("20*log10" if sensor == "sar" else "linear")


def test_one_hot_pixel_does_not_darken_the_picture():
    values = np.full((100, 100), 1000, np.uint16) + np.arange(100, dtype=np.uint16)
    values[0, 0] = 65535
    pixels, _ = render_to_8bit(values, "infrared")
    assert pixels.std() > 60


def test_constant_and_invalid_images():
    assert render_to_8bit(np.full((4, 4), 700, np.uint16), "optical")[0].max() == 0
    with pytest.raises(BadItem, match="no valid pixel"):
        render_to_8bit(np.full((4, 4), np.nan), "optical")
    with pytest.raises(BadItem, match="type bool have no rendering rule"):
        render_to_8bit(np.ones((4, 4), bool), "sar")


def test_nodata_stays_black_and_does_not_shift_the_limits():
    values = np.random.default_rng(0).uniform(10, 20, (50, 50)).astype(np.float32)
    full = render_to_8bit(values, "infrared")[1]
    holed = np.vstack([values, np.full((50, 50), np.nan, np.float32)])
    pixels, rule = render_to_8bit(holed, "infrared")
    assert (pixels[50:] == 0).all()
    assert (rule["low"], rule["high"]) == pytest.approx((full["low"], full["high"]))
