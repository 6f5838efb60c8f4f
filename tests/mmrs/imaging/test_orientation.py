"""Every picture is turned upright exactly once, whichever format says which way up it lies, whole or in windows."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from mmrs.imaging.probe import probe
from mmrs.imaging.store import encode_pixels, read_upright, store_file
from mmrs.imaging.upright import upright
from mmrs.imaging.windows import plan_windows, read_rendered_windows
from mmrs.source import BandSelection, Tiling

# Rows and columns have no symmetry, so each of the eight turns gives another picture.
UPRIGHT_PIXELS = np.random.default_rng(8).integers(0, 256, (48, 80, 3), dtype=np.uint8)
# TIFF 6.0, tag 274: where the stored row 0 and column 0 lie in the upright picture.
STORED = {
    1: UPRIGHT_PIXELS,
    2: UPRIGHT_PIXELS[:, ::-1],
    3: UPRIGHT_PIXELS[::-1, ::-1],
    4: UPRIGHT_PIXELS[::-1],
    5: UPRIGHT_PIXELS.swapaxes(0, 1),
    6: np.rot90(UPRIGHT_PIXELS),
    7: np.rot90(UPRIGHT_PIXELS, 2).swapaxes(0, 1),
    8: np.rot90(UPRIGHT_PIXELS, -1),
}

TURNS = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored.swapaxes(0, 1), 2),
    8: np.rot90,
}


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def write_tiff(path: Path, orientation: int, **options) -> Path:
    pixels = np.ascontiguousarray(STORED[orientation])
    tifffile.imwrite(path, pixels, photometric="rgb", extratags=[(274, "H", 1, orientation, True)], **options)
    return path


def write_png(path: Path, orientation: int) -> Path:
    Image.fromarray(np.ascontiguousarray(STORED[orientation])).save(path, "PNG", exif=exif(orientation))
    return path


def write_late_png(path: Path, orientation: int) -> Path:
    """EXIF behind the pixels, where ExifTool writes it."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(STORED[orientation])).save(buffer, "PNG")
    content = b"eXIf" + exif(orientation).tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">L", len(content) - 4) + content + struct.pack(">L", zlib.crc32(content))
    path.write_bytes(buffer.getvalue()[:-12] + chunk + buffer.getvalue()[-12:])
    return path


def write_webp(path: Path, orientation: int) -> Path:
    image = Image.fromarray(np.ascontiguousarray(STORED[orientation]))
    image.save(path, "WEBP", lossless=True, exif=exif(orientation))
    return path


WRITERS = {
    "tiff": write_tiff,
    "big-endian": lambda path, orientation: write_tiff(path, orientation, byteorder=">"),
    "bigtiff": lambda path, orientation: write_tiff(path, orientation, bigtiff=True),
    "big-endian-bigtiff": lambda path, orientation: write_tiff(path, orientation, bigtiff=True, byteorder=">"),
    "tiled": lambda path, orientation: write_tiff(path, orientation, tile=(16, 16), compression="zlib"),
    "png": write_png,
    "late-png": write_late_png,
    "webp": write_webp,
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", WRITERS)
def test_the_stored_picture_is_upright_and_says_that_it_was_turned(tmp_path, form, orientation):
    path = WRITERS[form](tmp_path / "a.image", orientation)
    header = probe(path)
    assert header.upright_size == (80, 48)
    stored = store_file(path, header, "png", "optical", "L1")
    assert (stored.width, stored.height) == (80, 48)
    with Image.open(io.BytesIO(stored.data)) as image:
        assert image.getexif().get(0x0112, 1) == 1 or orientation == 1
        np.testing.assert_array_equal(np.asarray(image), UPRIGHT_PIXELS)
    assert (f"orientation {orientation}" in (stored.reencoded or "")) == (orientation != 1 and form != "webp")
    data = path.read_bytes()
    again = read_upright(Path("member"), probe(Path("member"), data=data), "optical", data=data)
    np.testing.assert_array_equal(again.pixels, UPRIGHT_PIXELS)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpeg_is_turned_as_it_decodes(tmp_path, mode, orientation):
    path = tmp_path / "a.jpg"
    image = Image.fromarray(np.ascontiguousarray(STORED[orientation])).convert(mode)
    image.save(path, exif=exif(orientation), quality=95)
    stored = store_file(path, probe(path), "png" if orientation > 1 else "jpg", "optical", "L1")
    assert (stored.width, stored.height) == (80, 48)
    # A JPEG decodes to slightly other values, which one turned after decoding shares.
    plain = tmp_path / "plain.jpg"
    image.save(plain, quality=95)
    with Image.open(plain) as raw, Image.open(io.BytesIO(stored.data)) as turned:
        placed = np.asarray(turned).astype(int)
        expected = TURNS[orientation](np.asarray(raw).astype(int))
        np.testing.assert_array_equal(placed, expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["tiff", "png", "tiled"])
def test_windows_lie_in_the_upright_scene(tmp_path, form, orientation):
    path = WRITERS[form](tmp_path / "a.image", orientation)
    windows = plan_windows(80, 48, Tiling(32, 8))
    tiles = read_rendered_windows(path, windows, "optical", orientation=probe(path).orientation)
    for window, (tile, _) in zip(windows, tiles, strict=True):
        cut = UPRIGHT_PIXELS[window.y : window.y + window.height, window.x : window.x + window.width]
        np.testing.assert_array_equal(tile, cut)
        assert encode_pixels(tile, "png", "tile of a scene").width == 32


@pytest.mark.parametrize("form", ["tiff", "png"])
def test_selected_bands_are_turned_too(tmp_path, form):
    path = WRITERS[form](tmp_path / "a.image", 6)
    bands = BandSelection(bands=(3, 2, 1))
    header = probe(path, selection=bands)
    assert header.upright_size == (80, 48) and header.reencode.endswith("EXIF orientation 6")
    stored = read_upright(path, header, "optical", bands)
    np.testing.assert_array_equal(stored.pixels, UPRIGHT_PIXELS[..., ::-1])


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_none(tmp_path, value):
    tifffile.imwrite(tmp_path / "a.tif", UPRIGHT_PIXELS, photometric="rgb", extratags=[(274, "H", 1, value, True)])
    assert probe(tmp_path / "a.tif").orientation == 1


def write_jpeg(path: Path, orientation: int) -> Path:
    Image.fromarray(np.ascontiguousarray(STORED[orientation])).save(path, "JPEG", exif=exif(orientation), quality=95)
    return path


# Pillow opens no BigTIFF in this byte order.
@pytest.mark.parametrize("form", sorted({*WRITERS, "jpeg"} - {"big-endian-bigtiff"}))
def test_an_open_picture_is_turned_as_a_build_turns_its_file(tmp_path, form):
    """All eight orientations, in every format that Pillow opens; once is enough, and twice changes nothing."""
    for orientation in range(1, 9):
        path = {**WRITERS, "jpeg": write_jpeg}[form](tmp_path / f"{orientation}.image", orientation)
        built = read_upright(path, probe(path), "optical").pixels
        with Image.open(path) as image:
            turned = upright(image)
            assert turned.size == (80, 48) and (orientation > 1 or turned is image)
            np.testing.assert_array_equal(np.asarray(turned), built)
            np.testing.assert_array_equal(np.asarray(upright(turned)), built)
            # What is derived from a picture keeps its tag and its stored pixels.
            np.testing.assert_array_equal(np.asarray(upright(image.convert("RGB"))), built)


def test_a_picture_without_a_file_is_upright():
    image = Image.fromarray(UPRIGHT_PIXELS)
    assert upright(image) is image
