"""The quick reading of JPEG headers against Pillow's: whatever it takes for ordinary, Pillow sees the same way."""

import io
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, UnidentifiedImageError

from mmrs.errors import BadItem
from mmrs.imaging.headers.jpeg import plain_jpeg, read_plain_jpeg
from mmrs.imaging.limits import SizeLimit
from mmrs.imaging.probe import probe

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)


def jpeg(mode="RGB", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def with_orientation(value) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = value
    return jpeg(exif=exif)


ORDINARY = [
    jpeg(),
    jpeg("L"),
    jpeg(progressive=True),
    jpeg("L", progressive=True, quality=30),
    jpeg(quality=100, subsampling=0, optimize=True),
    jpeg(comment=b"made by hand"),
    jpeg(restart_marker_blocks=2),
]
OTHERS = [
    jpeg("CMYK"),
    with_orientation(1),
    with_orientation(6),
    jpeg(icc_profile=b"x" * 200),
    b"",
    b"\xff\xd8",
    b"GIF89a",
]


@pytest.mark.parametrize("data", ORDINARY)
def test_ordinary_files_are_read_as_pillow_reads_them(data):
    found = plain_jpeg(data)
    with Image.open(io.BytesIO(data)) as image:
        assert (found.width, found.height, found.mode) == (*image.size, image.mode)


@pytest.mark.parametrize("data", OTHERS)
def test_everything_else_is_left_to_pillow(data):
    assert plain_jpeg(data) is None


@st.composite
def spoiled(draw):
    data = bytearray(draw(st.sampled_from(ORDINARY + OTHERS[:4])))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, min(len(data), 700)))
        kind = draw(st.sampled_from(["set", "cut", "insert", "drop"]))
        if kind == "set" and place < len(data):
            data[place] = draw(st.integers(0, 255))
        elif kind == "cut" and draw(st.booleans()):
            del data[place:]
        elif kind == "insert":
            data[place:place] = draw(st.binary(min_size=1, max_size=20))
        else:
            del data[place : place + draw(st.integers(1, 20))]
    return bytes(data)


@settings(max_examples=600, deadline=None)
@given(spoiled())
def test_no_spoiled_header_is_taken_for_something_that_pillow_does_not_see(data):
    found = plain_jpeg(data)
    if found is None:
        return
    try:
        with Image.open(io.BytesIO(data)) as image:
            seen = (image.format, *image.size, image.mode, Image.Image.getexif(image).get(0x0112, 1))
    except (UnidentifiedImageError, SyntaxError, OSError) as error:
        pytest.fail(f"taken for a {found}, but Pillow says {error}")
    assert seen == ("JPEG", found.width, found.height, found.mode, 1)


def test_the_file_s_state_comes_with_it(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(ORDINARY[0])
    header = probe(path)
    assert (header.file_bytes, header.mtime_ns) == (len(ORDINARY[0]), path.stat().st_mtime_ns)
    assert (header.width, header.height, header.reencode, header.orientation) == (40, 24, None, 1)
    with pytest.raises(BadItem, match="more than the limit"):
        probe(path, SizeLimit(pixels=100))


def test_what_is_no_file_neither_hangs_nor_fails(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    for name in ("pipe.jpg", "folder.jpg", "missing.jpg"):
        assert read_plain_jpeg(tmp_path / name) is None
        with pytest.raises(BadItem, match="not found"):
            probe(tmp_path / name)


def test_headers_longer_than_the_first_read_are_left_to_pillow(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(comment=b"x" * 5000))
    assert read_plain_jpeg(path) is None
    assert probe(path).suffix == "jpg"


def test_an_orientation_is_still_seen(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(with_orientation(6))
    assert probe(path).reencode == "EXIF orientation 6"
