"""Each sensor's rule, its limits from the whole scene, and files that only rasterio reads."""

import io
import warnings

import numpy as np
import pytest
import rasterio
from PIL import Image

from mmrs.errors import BadItem
from mmrs.imaging.limits import SizeLimit
from mmrs.imaging.probe import probe
from mmrs.imaging.raster import CACHE_BYTES
from mmrs.imaging.store import store_file
from mmrs.imaging.windows import plan_windows, read_rendered_windows
from mmrs.record import Window
from mmrs.source import BandSelection, Tiling
from tests.support.rasters import write_tiff
from tests.support.rendering import render_to_8bit

RNG = np.random.default_rng(3)
SEA = RNG.rayleigh(120, (90, 110)).astype(np.uint16)
DECIBELS = RNG.normal(-13, 5, (40, 50)).astype(np.float32)
EUROSAT = BandSelection((4, 3, 2), 0, 3000)


def stored(path, sensor, selection=None):
    header = probe(path, selection=selection)
    result = store_file(path, header, "png", sensor, "L1", selection)
    with Image.open(io.BytesIO(result.data)) as image:
        return header, result, np.asarray(image)


def test_sar_amplitude_goes_through_a_logarithm_and_its_percentiles():
    pixels, rule = render_to_8bit(SEA, "sar")
    decibels = 20 * np.log10(np.maximum(SEA[SEA > 0].astype(float), 1))
    assert (rule["low"], rule["high"]) == pytest.approx(np.percentile(decibels, [0.5, 99.5]), abs=1e-5)
    assert rule["kind"] == "20*log10" and rule["percentiles"] == [0.5, 99.5] and rule["bits"] == 16
    undone = 10 ** ((rule["low"] + pixels / 255 * (rule["high"] - rule["low"])) / 20)
    middle = (pixels > 0) & (pixels < 255)
    assert np.abs(undone[middle] / SEA[middle] - 1).max() < 0.02


def test_complex_sar_is_its_modulus():
    phase = np.exp(1j * RNG.uniform(0, 6, SEA.shape))
    pixels, rule = render_to_8bit((SEA * phase).astype(np.complex64), "sar")
    assert rule["kind"] == "20*log10" and rule["bits"] == 64
    assert np.abs(pixels.astype(int) - render_to_8bit(SEA, "sar")[0].astype(int)).max() <= 1


def test_decibels_have_fixed_limits_for_all_images():
    pixels, rule = render_to_8bit(DECIBELS, "sar")
    assert (rule["kind"], rule["low"], rule["high"]) == ("dB", -28, 3) and "percentiles" not in rule
    np.testing.assert_array_equal(pixels, np.floor(np.clip((DECIBELS.astype(float) + 28) / 31, 0, 1) * 255 + 0.5))


def test_backscatter_becomes_decibels():
    pixels, rule = render_to_8bit((10 ** (DECIBELS / 10)).astype(np.float32), "sar")
    assert (rule["kind"], rule["low"], rule["high"]) == ("10*log10", -28, 3)
    assert np.abs(pixels.astype(int) - render_to_8bit(DECIBELS, "sar")[0].astype(int)).max() <= 1


def test_signed_sar_numbers_of_no_known_unit_stay_linear():
    assert render_to_8bit(RNG.integers(-500, 500, (20, 20)).astype(np.int16), "sar")[1]["kind"] == "linear"


def test_cross_polarisation_is_known_by_the_band_description(tmp_path):
    path = write_tiff(tmp_path / "a.tif", np.stack([DECIBELS, DECIBELS - 8]), ("sigma0_VV", "sigma0_VH"))
    whole = [Window(x=0, y=0, width=50, height=40)]
    ((_, rule),) = read_rendered_windows(path, whole, "sar")
    ((_, cross),) = read_rendered_windows(path, whole, "sar", BandSelection((2,)))
    assert (rule["low"], rule["high"], cross["low"], cross["high"]) == (-28, 3, -38, -3)


@pytest.mark.parametrize(("sensor", "shares"), [("infrared", (1, 99)), ("optical", (2, 98))])
def test_linear_sensors(sensor, shares):
    values = RNG.integers(7000, 9000, (50, 60)).astype(np.uint16)
    rule = render_to_8bit(values, sensor)[1]
    assert rule["kind"] == "linear" and rule["percentiles"] == list(shares)
    assert (rule["low"], rule["high"]) == pytest.approx(np.percentile(values, shares))


def test_linear_option_and_fixed_range_of_a_source():
    assert render_to_8bit(SEA, "sar", BandSelection((1,), linear=True))[1]["kind"] == "linear"
    rule = render_to_8bit(SEA, "sar", BandSelection((1,), 1, 1000))[1]
    assert (rule["kind"], rule["low"], rule["high"]) == ("20*log10", 0, 60)
    thermal = render_to_8bit(SEA, "infrared", BandSelection((1,), 0, 510))
    np.testing.assert_array_equal(thermal[0], np.floor(np.clip(SEA / 510, 0, 1) * 255 + 0.5))


@pytest.mark.parametrize("limits", [(1, None), (5, 5)])
def test_impossible_limits(limits):
    with pytest.raises(ValueError, match="limits"):
        BandSelection((1,), *limits)


@pytest.mark.parametrize("bands", [(), (0,), (1, 2)])
def test_impossible_bands(bands):
    with pytest.raises(ValueError, match="one or three numbers"):
        BandSelection(bands)


@pytest.mark.parametrize("options", [{}, {"tiled": True, "blockxsize": 32, "blockysize": 16}, {"endianness": "BIG"}])
@pytest.mark.parametrize(("sensor", "kind"), [("sar", np.uint16), ("infrared", np.float32), ("sar", np.int32)])
def test_a_tile_is_the_cut_of_the_rendered_scene(tmp_path, sensor, kind, options):
    scene = np.vstack([SEA, SEA * 40]).astype(kind)
    expected, whole_rule = render_to_8bit(scene, sensor)
    path = write_tiff(tmp_path / "scene.tiff", scene, **options)
    windows = plan_windows(110, 180, Tiling(64, 8))
    for window, (tile, rule) in zip(windows, read_rendered_windows(path, windows, sensor), strict=True):
        cut = expected[window.y : window.y + window.height, window.x : window.x + window.width]
        np.testing.assert_array_equal(tile, cut)
        assert rule == whole_rule


def test_limits_of_many_strips_are_those_of_the_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("mmrs.imaging.raster._STRIP_PIXELS", 700)
    path = write_tiff(tmp_path / "a.tif", np.stack([SEA, SEA * 2, SEA * 3]))
    ((pixels, rule),) = read_rendered_windows(path, [Window(x=0, y=0, width=110, height=90)], "optical")
    expected, whole_rule = render_to_8bit(np.stack([SEA, SEA * 2, SEA * 3], axis=-1), "optical")
    assert rule == whole_rule
    np.testing.assert_array_equal(pixels, expected)


def test_eight_bit_scenes_are_not_stretched(tmp_path):
    path = write_tiff(tmp_path / "a.tif", SEA.clip(0, 90).astype(np.uint8))
    ((pixels, rule),) = read_rendered_windows(path, [Window(x=5, y=6, width=30, height=20)], "sar")
    assert rule is None
    np.testing.assert_array_equal(pixels, SEA.clip(0, 90)[6:26, 5:35])


def test_declared_nodata_and_black_borders(tmp_path):
    bordered = np.pad(SEA, 30)
    _, result, pixels = stored(write_tiff(tmp_path / "a.tif", bordered), "sar")
    plain_rule = render_to_8bit(SEA, "sar")[1]
    assert (result.render["low"], result.render["high"]) == (plain_rule["low"], plain_rule["high"])
    assert (pixels[:30] == 0).all()
    marked = np.pad(SEA.astype(np.float32), 30, constant_values=-9999)
    _, result, pixels = stored(write_tiff(tmp_path / "b.tif", marked, nodata=-9999), "infrared")
    assert result.render["nodata"] == -9999 and result.render["low"] >= 0
    assert (pixels[:30] == 0).all()


def test_a_scene_without_data_is_a_bad_item(tmp_path):
    path = write_tiff(tmp_path / "a.tif", np.zeros((20, 20), np.uint16))
    with pytest.raises(BadItem, match="no valid pixel"):
        list(read_rendered_windows(path, [Window(x=0, y=0, width=20, height=20)], "sar"))


def test_thirteen_bands_by_the_sources_selection(tmp_path):
    scene = (np.arange(13)[:, None, None] * 100 + RNG.integers(0, 3200, (13, 64, 64))).astype(np.uint16)
    path = write_tiff(tmp_path / "a.tif", scene)
    header, result, pixels = stored(path, "optical", EUROSAT)
    assert (header.width, header.height, header.raster) == (64, 64, True)
    assert result.reencoded == "format TIFF, uint16, bands 4, 3, 2 of 13"
    assert result.render == {"kind": "linear", "low": 0, "high": 3000, "bits": 16, "bands": [4, 3, 2]}
    chosen = np.moveaxis(scene[[3, 2, 1]].astype(float), 0, -1)
    np.testing.assert_array_equal(pixels, np.floor(np.clip(chosen / 3000, 0, 1) * 255 + 0.5))


def test_bands_that_are_not_there_and_bands_nobody_chose(tmp_path):
    path = write_tiff(tmp_path / "a.tif", np.ones((5, 8, 8), np.uint16))
    with pytest.raises(BadItem, match="5 bands; 1 to 4 are known without a band selection"):
        probe(path)
    with pytest.raises(BadItem, match="5 bands; bands 13, 3, 2 are asked for"):
        probe(path, selection=BandSelection((13, 3, 2)))
    with pytest.raises(BadItem, match="not found"):
        probe(tmp_path / "b.tif", selection=EUROSAT)
    (tmp_path / "c.tif").write_bytes(b"II*\0 nothing")
    with pytest.raises(BadItem, match="cannot be read"):
        probe(tmp_path / "c.tif", selection=EUROSAT)
    with pytest.raises(BadItem, match="64 pixels, more than the limit of 10"):
        probe(path, SizeLimit(pixels=10), BandSelection((1,)))


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bit_colour_keeps_its_lower_bytes(tmp_path, name):
    """Pillow would open both as 8-bit RGB, and a PNG would have passed through unchanged."""
    colour = np.stack([SEA, SEA + 100, SEA + 200])
    driver = {"driver": "PNG"} if name.endswith("png") else {"photometric": "RGB"}
    profile = {"driver": "GTiff", "width": 110, "height": 90, "count": 3, "dtype": "uint16"} | driver
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(tmp_path / name, "w", **profile) as file:
            file.write(colour)
    header, result, pixels = stored(tmp_path / name, "optical")
    assert header.raster and "uint16" in result.reencoded
    np.testing.assert_array_equal(pixels, render_to_8bit(np.moveaxis(colour, 0, -1), "optical")[0])


@pytest.mark.parametrize("width", [16, 160, 1600])
def test_eight_bit_tiffs_of_any_width_are_what_rasterio_reads(tmp_path, width):
    colour = np.arange(width * 4 * 3, dtype=np.uint32).astype(np.uint8).reshape(4, width, 3)
    Image.fromarray(colour).save(tmp_path / "a.tif")
    header, result, pixels = stored(tmp_path / "a.tif", "optical")
    assert header.raster and header.mode == "3 x uint8" and result.reencoded == "format TIFF"
    np.testing.assert_array_equal(pixels, colour)


def test_deep_pixels_are_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(SEA).save(tmp_path / "a.tif", exif=exif)
    header, result, pixels = stored(tmp_path / "a.tif", "infrared")
    assert (result.width, result.height) == header.upright_size == (90, 110)
    np.testing.assert_array_equal(pixels, np.rot90(render_to_8bit(SEA, "infrared")[0], -1))


@pytest.mark.parametrize("kind", [np.float64, np.int16, np.uint32, np.int64, np.complex64, np.int8])
def test_types_that_pillow_does_not_read(tmp_path, kind):
    values = (SEA.clip(0, 120) if kind is np.int8 else SEA).astype(kind)
    _, result, pixels = stored(write_tiff(tmp_path / "a.tif", values), "sar")
    assert result.mode == "L" and pixels.shape == SEA.shape


def test_the_block_cache_holds_a_row_of_windows_of_a_large_scene():
    assert 1024 * 20_000 * 3 * 4 <= CACHE_BYTES <= 2**29
