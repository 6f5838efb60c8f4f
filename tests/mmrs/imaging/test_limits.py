"""Bounds on memory and time: what a header states is refused before anything is decoded."""

import io
import subprocess
import time
import warnings
import zlib

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

from mmrs.curation.image_table import open_reduced
from mmrs.errors import BadItem, RunFailure
from mmrs.imaging.headers.jpeg import has_one_scan
from mmrs.imaging.limits import JPEG_SCANS, SCENE, WHOLE_IMAGE, SizeLimit, check_jpeg_scans, check_parts
from mmrs.imaging.probe import open_stored, probe
from mmrs.imaging.raster import open_scene, strips
from mmrs.imaging.store import encode_pixels, read_upright, store_file
from mmrs.imaging.windows import plan_windows, read_rendered_windows
from mmrs.record import Window
from mmrs.report.thumbnail import thumbnail
from mmrs.source import Tiling
from tests.support.rasters import write_tiff
from tests.support.sources import noise_image
from tests.support.structure import ROOT


def sparse_tiff(path, width, height, dtype, count=1, rows=4096):
    profile = {"width": width, "height": height, "dtype": dtype, "count": count, "sparse_ok": True, "blockysize": rows}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        rasterio.open(path, "w", driver="GTiff", **profile).close()
    return path


def jpeg(scans=None, **options):
    """A small JPEG; with `scans` its last scan is there so many times."""
    buffer = io.BytesIO()
    Image.fromarray(np.arange(4096, dtype=np.uint8).reshape(64, 64)).save(buffer, "JPEG", **options)
    data = buffer.getvalue()
    if scans is None:
        return data
    last = data.rfind(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


@pytest.mark.parametrize(
    ("width", "height", "dtype", "count", "reason"),
    [
        (13_000, 13_000, "complex128", 4, "8,112,000,000 bytes decoded"),
        (8_000, 8_000, "uint16", 1, "4096 times its size"),
        (1, 170_000_000, "uint16", 1, "4096 times its size"),
        (20_000, 10_000, "uint8", 1, "200,000,000 pixels"),
    ],
)
def test_a_sparse_tiff_is_refused_by_its_header(tmp_path, width, height, dtype, count, reason):
    path = sparse_tiff(tmp_path / "a.tif", width, height, dtype, count, rows=height if width == 1 else 16)
    for data in (None, path.read_bytes()):
        with pytest.raises(BadItem, match=reason):
            probe(path, data=data)


def test_a_scene_is_refused_by_its_largest_block(tmp_path):
    path = sparse_tiff(tmp_path / "a.tif", 20_000, 20_000, "uint32", rows=15_000)
    with pytest.raises(BadItem, match="a block of 20000 x 15000 pixels"):
        probe(path, SCENE)


def test_a_window_is_held_against_the_bound_too(tmp_path):
    path = sparse_tiff(tmp_path / "a.tif", 20_000, 20_000, "uint32", rows=1)
    with pytest.raises(BadItem, match="a window of 20000 x 20000 pixels"):
        next(read_rendered_windows(path, [Window(x=0, y=0, width=20_000, height=20_000)], "optical"))


def test_a_scene_has_a_bounded_number_of_windows():
    assert len(plan_windows(20_000, 31_292, Tiling(1024, 200, 0.7, 0.0))) < 1000
    with pytest.raises(BadItem, match="windows, more than the limit"):
        plan_windows(2_000_000_000, 1, Tiling(64, 0, 0.7, 0.0))


def test_long_rows_are_read_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("mmrs.imaging.raster._STRIP_PIXELS", 70)
    values = np.arange(400, dtype=np.uint16).reshape(2, 200)
    path = write_tiff(tmp_path / "a.tif", values)
    with open_scene(path) as scene:
        parts = list(strips(scene, [1]))
    assert max(part.size for part in parts) <= 70
    np.testing.assert_array_equal(np.concatenate([part.ravel() for part in parts]), values.ravel())


def test_bounds_by_hand():
    WHOLE_IMAGE.check(13_000, 13_000, 3, 200_000, "a")
    for size, reason in (
        ((20_000, 9_000, 3, 10**9), "180,000,000 pixels"),
        ((13_000, 13_000, 12, 10**9), "2,028,000,000 bytes decoded"),
        ((13_000, 13_000, 3, 100_000), "4096 times its size"),
        ((10, 10, 3, 2 * 10**9), "more than any image"),
    ):
        with pytest.raises(BadItem, match=reason):
            WHOLE_IMAGE.check(*size)
    SizeLimit(pixels=100).check(10, 10, 48, 1)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}])
def test_scans_are_counted_where_a_decoder_goes_over_them(options):
    data = jpeg(**options)
    assert has_one_scan(data) is not bool(options.get("progressive"))
    check_jpeg_scans(data)
    check_jpeg_scans(jpeg(scans=2, **options))
    # What follows the only scan of a sequential JPEG is read by nobody.
    check_jpeg_scans(noise_image(np.random.default_rng(0)) + b"\xff\xda" * 5000)


@pytest.mark.parametrize("cut", range(0, 400, 7))
def test_a_damaged_header_does_not_hide_scans(cut):
    data = jpeg(scans=JPEG_SCANS, progressive=True)
    assert not has_one_scan(data[:cut] + data[cut + 1 :]) or cut < 2
    assert not has_one_scan(data[:cut])


@pytest.mark.parametrize("validation", ["L0", "L1", "L2"])
def test_a_jpeg_of_thousands_of_scans_is_quarantined(tmp_path, validation):
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(scans=5000, progressive=True))
    header = probe(path)
    with pytest.raises(BadItem, match="scans, more than the limit of 100"):
        store_file(path, header, "jpg", "optical", validation)
    with pytest.raises(BadItem, match="scans, more than the limit of 100"):
        read_upright(path, header, "optical")


def chunked_png(count):
    """A sound PNG of 5 MB with so many empty chunks in it."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (1300, 1300, 3), np.uint8)).save(buffer, "PNG")
    data = buffer.getvalue()
    return data[:33] + (bytes(4) + b"teSt" + zlib.crc32(b"teSt").to_bytes(4)) * count + data[33:]


def filled_jpeg(fill):
    data = jpeg()
    return data[:2] + b"\xff" * fill + data[2:]


def test_a_file_of_many_small_parts_is_refused(tmp_path):
    for name, data in (("a.jpg", filled_jpeg(50_000_000)), ("a.png", chunked_png(20_000))):
        (tmp_path / name).write_bytes(data)
        started = time.process_time()
        for read in (
            probe,
            lambda path: probe(path, data=path.read_bytes()),
            lambda path: open_stored(path.read_bytes()),
        ):
            with pytest.raises(BadItem, match="parts before its picture ends"):
                read(tmp_path / name)
        assert time.process_time() - started < 3
    (tmp_path / "sound.png").write_bytes(chunked_png(100))
    assert probe(tmp_path / "sound.png").width == 1300
    large = jpeg() + bytes(5_000_000)
    (tmp_path / "sound.jpg").write_bytes(large)
    check_parts(large)
    assert open_stored(large).size == (64, 64)


def test_readers_of_stored_images_refuse_it_too():
    bomb = jpeg(scans=5000, progressive=True)
    for read in (open_stored, thumbnail, lambda data: open_reduced(data, "L", 64, "a/train/b")):
        with pytest.raises((BadItem, RunFailure), match="scans, more than the limit of 100"):
            read(bomb)


def test_no_reader_goes_around_the_bounds():
    """`open_image` and `open_stored` do; the reader of the archive and that of a scene's place see headers alone, the
    monitor its own file; what a user hands to a model is bounded by Pillow, its formats and scans by those who take it.
    """
    files = subprocess.check_output(["git", "grep", "-l", r"Image\.open(", "mmrs", "training", "converters"], cwd=ROOT)
    readers = {name for name in files.decode().split() if "/samples/" not in name and "/card.py" not in name}
    assert readers == {"mmrs/imaging/probe.py", "mmrs/release/ingest.py", "training/report/monitor.py"} | {
        "training/model/inputs/conversation.py",
        "training/model/inputs/pictures.py",
        "training/serving/api/intake.py",
        "training/serving/pictures.py",
    }


def test_what_no_jpeg_can_hold_is_a_bad_item():
    strip = np.zeros((64, 70_000), np.uint8)
    assert encode_pixels(strip, "png", "png").width == 70_000
    with pytest.raises(BadItem, match="70000 x 64 pixels is to be stored as JPEG"):
        encode_pixels(strip, "jpg", "png among jpg images of one source")


def test_a_picture_of_one_column_is_built(tmp_path):
    path = write_tiff(tmp_path / "a.tif", np.arange(5_000_000, dtype=np.uint16)[:, None], compress="deflate")
    image = store_file(path, probe(path), "png", "optical", "L1")
    assert (image.width, image.height) == (1, 5_000_000)


def test_an_image_that_vanishes_is_a_bad_item(tmp_path):
    """Between the survey and its shard."""
    for name, picture in (("a.jpg", noise_image(np.random.default_rng(0))), ("b.tif", None)):
        path = tmp_path / name
        if picture is None:
            write_tiff(path, np.zeros((9, 9), np.uint8))
        else:
            path.write_bytes(picture)
        header = probe(path)
        path.unlink()
        with pytest.raises(BadItem, match=r"cannot be read|not found"):
            store_file(path, header, "png" if picture is None else "jpg", "optical", "L1")
        with pytest.raises(BadItem, match="not found"):
            probe(path)
