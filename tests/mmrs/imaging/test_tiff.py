"""TIFFs of every depth, layout and codec give the pixels that rasterio and tifffile read, or are refused by name."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

from mmrs.errors import BadItem
from mmrs.imaging.probe import probe
from mmrs.imaging.raster import UnreadableScene
from mmrs.imaging.store import read_upright
from tests.support.rasters import write_tiff
from tests.support.rendering import render_to_8bit

RNG = np.random.default_rng(9)
LEVELS = RNG.integers(0, 256, (4, 40, 56), dtype=np.uint8)
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def picture(path: Path, sensor="optical") -> np.ndarray:
    return read_upright(path, probe(path), sensor).pixels


def raw(path: Path) -> np.ndarray:
    """``(B, H, W)`` as rasterio reads it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path) as scene:
            return scene.read()


def expected(bands: np.ndarray) -> np.ndarray:
    shown = bands[0] if len(bands) < 3 else np.moveaxis(bands[:3], 0, -1)
    return render_to_8bit(shown, "optical")[0]


@pytest.mark.parametrize("kind", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("layout", ["pixel", "band"])
@pytest.mark.parametrize("blocks", ["strips", "tiles"])
def test_depth_and_layout(tmp_path, kind, count, layout, blocks):
    values = LEVELS[:count].astype(kind) if kind == "uint8" else (LEVELS[:count] // 2).astype(kind)
    if np.dtype(kind).itemsize > 1:
        values = values * np.array(250, kind)
    tiles = {"tiled": True, "blockxsize": 16, "blockysize": 16} if blocks == "tiles" else {"blockysize": 7}
    path = write_tiff(tmp_path / "a.tif", values, interleave=layout, **tiles)
    np.testing.assert_array_equal(raw(path), values)
    np.testing.assert_array_equal(picture(path), expected(values))
    assert probe(path).reencode == "format TIFF" if kind == "uint8" else kind in probe(path).reencode


@pytest.mark.parametrize("codec", ["lzw", "deflate", "packbits", "zstd", "lzma", "lerc", "jpeg", "webp"])
@pytest.mark.parametrize("layout", ["pixel", "band"])
def test_codecs(tmp_path, codec, layout):
    if codec == "webp" and layout == "band":
        pytest.skip("libtiff writes WebP pixel by pixel only")
    path = write_tiff(tmp_path / "a.tif", LEVELS[:3], compress=codec, interleave=layout)
    np.testing.assert_array_equal(picture(path), np.moveaxis(raw(path), 0, -1))
    if codec not in ("jpeg", "webp"):
        np.testing.assert_array_equal(picture(path), np.moveaxis(LEVELS[:3], 0, -1))


@pytest.mark.parametrize("codec", ["lzw", "deflate", "zstd"])
@pytest.mark.parametrize("kind", ["uint16", "float32"])
def test_predictors(tmp_path, codec, kind):
    values = LEVELS[:3].astype(kind) * 3
    path = write_tiff(tmp_path / "a.tif", values, compress=codec, predictor=2 if kind == "uint16" else 3)
    np.testing.assert_array_equal(picture(path), expected(values))


@pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"byteorder": ">"}, {"bigtiff": True, "byteorder": ">"}])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_tifffile_writes_what_we_read(tmp_path, options, planar):
    values = RNG.integers(0, 60000, (40, 56, 3), dtype=np.uint16)
    written = values if planar == "contig" else np.moveaxis(values, -1, 0)
    tifffile.imwrite(tmp_path / "a.tif", written, photometric="rgb", planarconfig=planar, **options)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), written)
    np.testing.assert_array_equal(picture(tmp_path / "a.tif"), render_to_8bit(values, "optical")[0])


@pytest.mark.parametrize("bits", [1, 2, 4, 6, 7])
def test_levels_of_few_bits_are_spread_over_eight(tmp_path, bits):
    values = LEVELS[0] >> (8 - bits)
    path = write_tiff(tmp_path / "a.tif", values, nbits=bits)
    np.testing.assert_array_equal(picture(path), np.floor(values * (255 / (2**bits - 1)) + 0.5).astype(np.uint8))


def test_twelve_bits_and_half_floats(tmp_path):
    values = LEVELS[0].astype(np.uint16) * 16
    np.testing.assert_array_equal(picture(write_tiff(tmp_path / "a.tif", values, nbits=12)), expected(values[None]))
    tifffile.imwrite(tmp_path / "half.tif", LEVELS[0].astype(np.float16))
    np.testing.assert_array_equal(picture(tmp_path / "half.tif"), expected(LEVELS[:1].astype(np.float32)))


@pytest.mark.parametrize("kind", ["complex64", "complex128", "complex_int16"])
def test_complex_radar_is_shown_by_its_modulus(tmp_path, kind):
    values = (LEVELS[0].astype(np.complex64) + 1) * (1 + 1j)
    profile = {"driver": "GTiff", "width": 56, "height": 40, "count": 1, "dtype": kind}
    with rasterio.open(tmp_path / "a.tif", "w", **profile) as file:
        file.write(values[None].astype("complex64" if kind == "complex_int16" else kind))
    modulus = np.abs(raw(tmp_path / "a.tif")[0])
    shown = picture(tmp_path / "a.tif", "sar")
    assert (np.diff(shown.ravel()[np.argsort(modulus.ravel(), kind="stable")].astype(int)) >= 0).all()
    assert shown.max() == 255


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_where_zero_is_white_the_picture_is_no_negative(tmp_path, kind):
    values = LEVELS[0].astype(kind)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="miniswhite")
    shown = render_to_8bit(values, "optical")[0]
    np.testing.assert_array_equal(picture(tmp_path / "a.tif"), 255 - shown)


@pytest.mark.parametrize("compression", ["raw", "group4"])
def test_black_and_white_stays_grey(tmp_path, compression):
    image = Image.fromarray(LEVELS[0]).convert("1")
    image.save(tmp_path / "a.tif", compression=compression)
    np.testing.assert_array_equal(picture(tmp_path / "a.tif"), np.asarray(image.convert("L")))


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_palettes_are_resolved(tmp_path, kind):
    colours = RNG.integers(0, 256, (3, 2 ** (8 * np.dtype(kind).itemsize)), dtype=np.uint16) * 257
    tifffile.imwrite(tmp_path / "a.tif", LEVELS[0].astype(kind), photometric="palette", colormap=colours)
    np.testing.assert_array_equal(picture(tmp_path / "a.tif"), np.moveaxis(colours[:, LEVELS[0]] // 257, 0, -1))


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "RGBA", "LA"])
def test_other_colours_become_rgb_or_grey(tmp_path, mode):
    smooth = Image.fromarray(np.moveaxis(LEVELS[:3], 0, -1)).resize((8, 6)).resize((56, 40))
    image = smooth.convert("RGBA").convert(mode) if mode == "LA" else smooth.convert(mode)
    image.save(tmp_path / "a.tif")
    shown = picture(tmp_path / "a.tif")
    wanted = np.asarray(image.convert("L" if mode == "LA" else "RGB")).astype(int)
    assert shown.shape == wanted.shape and np.abs(shown - wanted).max() <= 3


def test_jpeg_inside_in_ycbcr_is_read_as_rgb(tmp_path):
    smooth = np.asarray(Image.fromarray(np.moveaxis(LEVELS[:3], 0, -1)).resize((8, 6)).resize((56, 40)))
    path = write_tiff(tmp_path / "a.tif", np.moveaxis(smooth, -1, 0), compress="jpeg", photometric="ycbcr")
    np.testing.assert_array_equal(picture(path), np.moveaxis(raw(path), 0, -1))
    assert np.abs(picture(path).astype(int) - smooth).mean() < 12


def test_sparse_blocks_hold_no_noise(tmp_path):
    profile = {"driver": "GTiff", "width": 300, "height": 200, "count": 3, "dtype": "uint8", "tiled": True}
    with rasterio.open(tmp_path / "a.tif", "w", sparse_ok=True, blockxsize=64, blockysize=64, **profile) as file:
        file.write(LEVELS[:3], window=((0, 40), (0, 56)))
    shown = picture(tmp_path / "a.tif")
    np.testing.assert_array_equal(shown[:40, :56], np.moveaxis(LEVELS[:3], 0, -1))
    assert shown.sum() == LEVELS[:3].sum()


def test_the_first_of_several_pages_is_taken_and_that_is_said(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for level in LEVELS[:3]:
            writer.write(level, photometric="minisblack")
    assert probe(tmp_path / "a.tif").reencode == "format TIFF, first of 3 pages"
    np.testing.assert_array_equal(picture(tmp_path / "a.tif"), LEVELS[0])


def test_overviews_and_masks_are_no_pages(tmp_path):
    path = write_tiff(tmp_path / "a.tif", np.tile(LEVELS[:3], (1, 4, 4)), tiled=True, blockxsize=64, blockysize=64)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
        file.write_mask(np.full((160, 224), 255, np.uint8))
        file.build_overviews([2, 4])
    assert probe(path).reencode == "format TIFF"
    np.testing.assert_array_equal(picture(path), np.tile(np.moveaxis(LEVELS[:3], 0, -1), (4, 4, 1)))


def test_declared_nodata_is_black_and_moves_no_limit(tmp_path):
    values = LEVELS[:1].astype(np.uint16) * 9 + 1
    values[0, :10] = 65535
    shown = picture(write_tiff(tmp_path / "a.tif", values, nodata=65535))
    assert shown[:10].max() == 0
    np.testing.assert_array_equal(shown[10:], expected(values[:, 10:]))


@pytest.mark.parametrize(
    ("bands", "kind", "options", "reason"),
    [
        (5, "uint8", {}, "5 bands; 1 to 4"),
        (4, "uint16", {"photometric": "cmyk"}, "bands cyan, magenta, yellow, black of uint16; convert it to RGB"),
        (3, "uint16", {"photometric": "cielab"}, r"CIE L\*a\*b\*, no grey or RGB; convert it to RGB"),
    ],
)
def test_what_is_no_picture_is_refused_by_name(tmp_path, bands, kind, options, reason):
    path = write_tiff(tmp_path / "a.tif", np.ones((bands, 20, 20), kind), **options)
    with pytest.raises(BadItem, match=reason):
        probe(path)


@pytest.mark.parametrize("orientation", [2, 3, 6])
def test_turned_cmyk_is_read_by_pillow_which_the_reason_says(tmp_path, orientation):
    upright = Image.fromarray(np.moveaxis(LEVELS, 0, -1), "CMYK")
    turn = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 6: "ROTATE_90"}[orientation]
    upright.transpose(Image.Transpose[turn]).save(tmp_path / "a.tif", tiffinfo={274: orientation})
    header = probe(tmp_path / "a.tif")
    assert header.reencode == f"format TIFF, read by Pillow, EXIF orientation {orientation}"
    assert header.upright_size == (56, 40)
    np.testing.assert_array_equal(picture(tmp_path / "a.tif"), np.asarray(upright.convert("RGB")))


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_a_decode_error_is_tried_with_pillow_up_to_eight_bits(tmp_path, monkeypatch, kind):
    path = write_tiff(tmp_path / "a.tif", LEVELS[0].astype(kind))
    header = probe(path)

    def refuse(*arguments, **options):
        raise UnreadableScene("scene cannot be read: no such codec", str(path))

    monkeypatch.setattr("mmrs.imaging.store.read_rendered_windows", refuse)
    if kind == "uint8":
        found = read_upright(path, header, "optical")
        np.testing.assert_array_equal(found.pixels, LEVELS[0])
        assert found.remark == ", read by Pillow"
    else:
        with pytest.raises(BadItem, match="no such codec; with Pillow: only 1 to 8 bits are read, not 16"):
            read_upright(path, header, "optical")


@pytest.mark.parametrize("codec", [None, "lzw", "deflate", "jpeg"])
def test_a_cut_off_file_is_never_stored(tmp_path, codec):
    path = write_tiff(tmp_path / "a.tif", np.tile(LEVELS[:3], (1, 4, 4)), **({"compress": codec} if codec else {}))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(BadItem, match=r"cannot be read.*; with Pillow: "):
        picture(path)
