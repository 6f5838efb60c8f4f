"""Images as found on disk: what passes through, what is re-encoded and why, what is refused."""

import io

import numpy as np
import pytest
from PIL import Image

from mmrs.errors import BadItem
from mmrs.imaging.probe import in_mode, open_stored, probe
from mmrs.imaging.store import store_file
from tests.support.sources import noise_image

RNG = np.random.default_rng(0)
PIXELS = np.asarray(Image.fromarray(RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((80, 60)))


def save(path, image: Image.Image, **options):
    image.save(path, **options)
    return path


def stored(path, suffix="png", sensor="optical", validation="L1"):
    return store_file(path, probe(path), suffix, sensor, validation)


@pytest.mark.parametrize("validation", ["L0", "L1", "L2"])
@pytest.mark.parametrize(("mode", "suffix"), [("RGB", "jpg"), ("L", "jpg"), ("RGB", "png"), ("L", "png")])
def test_eight_bit_jpeg_and_png_pass_through(tmp_path, mode, suffix, validation):
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(PIXELS).convert(mode))
    result = stored(path, suffix, validation=validation)
    assert result.data == path.read_bytes()
    assert (result.reencoded, result.mode, result.width, result.height) == (None, mode, 80, 60)
    assert (result.perceptual_hash is None) == (validation == "L0")


def test_the_extension_does_not_decide(tmp_path):
    path = tmp_path / "jpeg-bytes.png"
    path.write_bytes(noise_image(RNG))
    assert probe(path).suffix == "jpg"
    assert stored(path, "jpg").data == path.read_bytes()


@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        ("a.tif", lambda p: save(p, Image.fromarray(PIXELS)), "format TIFF"),
        ("a.bmp", lambda p: save(p, Image.fromarray(PIXELS)), "format BMP"),
        ("a.png", lambda p: save(p, Image.fromarray(PIXELS).convert("RGBA")), "mode RGBA"),
        ("a.png", lambda p: save(p, Image.fromarray(PIXELS).convert("P")), "mode P"),
        ("a.png", lambda p: save(p, Image.fromarray(PIXELS).convert("1")), "mode 1"),
        ("a.jpg", lambda p: save(p, Image.fromarray(PIXELS).convert("CMYK")), "mode CMYK"),
    ],
)
def test_what_is_reencoded_says_why(tmp_path, name, make, reason):
    result = stored(make(tmp_path / name))
    assert result.reencoded.startswith(reason)
    with Image.open(io.BytesIO(result.data)) as image:
        assert (image.format, image.mode, image.size) == ("PNG", result.mode, (80, 60))


def test_lossless_reencoding_keeps_the_pixels(tmp_path):
    result = stored(save(tmp_path / "a.tif", Image.fromarray(PIXELS)))
    with Image.open(io.BytesIO(result.data)) as image:
        np.testing.assert_array_equal(np.asarray(image), PIXELS)


def test_exif_rotation_is_baked_in(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "a.jpg", Image.fromarray(PIXELS), exif=exif, quality=95)
    assert probe(path).upright_size == (60, 80)
    result = stored(path)
    assert result.reencoded == "EXIF orientation 6"
    assert (result.width, result.height) == (60, 80)
    # Orientation 6: the stored rows are the upright picture's columns, from right to left.
    with Image.open(io.BytesIO(result.data)) as image, Image.open(path) as raw:
        np.testing.assert_array_equal(np.asarray(image), np.rot90(np.asarray(raw), -1))


def test_animation_keeps_the_first_frame_and_says_so(tmp_path):
    frames = [Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS)]
    path = save(tmp_path / "a.png", frames[0], save_all=True, append_images=frames[1:])
    assert stored(path).reencoded == "2 frames, first taken"


def test_sixteen_bits_are_rendered_by_the_stated_rule(tmp_path):
    values = np.arange(80 * 60, dtype=np.uint16).reshape(60, 80) * 8
    path = save(tmp_path / "a.tif", Image.fromarray(values))
    result = stored(path, sensor="infrared")
    with Image.open(io.BytesIO(result.data)) as image:
        grey = np.asarray(image).astype(float)
    low, high = result.render["low"], result.render["high"]
    expected = np.floor(np.clip((values - low) / (high - low), 0, 1) * 255 + 0.5)
    np.testing.assert_array_equal(grey, expected)
    assert result.render["bits"] == 16
    assert (np.diff(grey.ravel()) >= 0).all()


def write(path, data: bytes):
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"not an image at all", "no known format"),
        (noise_image(RNG)[:20], "cannot be read|no known format"),
    ],
)
def test_broken_headers(tmp_path, data, reason):
    with pytest.raises(BadItem, match=reason) as error:
        probe(write(tmp_path / "x.jpg", data))
    assert error.value.path.endswith("x.jpg")


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("validation", ["L0", "L1", "L2"])
def test_truncation_is_found_at_every_level(tmp_path, suffix, validation):
    whole = noise_image(RNG, (640, 480), suffix)
    path = write(tmp_path / f"a.{suffix}", whole[: len(whole) * 2 // 3])
    with pytest.raises(BadItem, match="cut off" if validation == "L0" else "cannot be read"):
        stored(path, suffix, validation=validation)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("validation", ["L0", "L1", "L2"])
def test_bytes_behind_the_end_of_an_image_pass_through(tmp_path, suffix, validation):
    data = noise_image(RNG, suffix=suffix) + bytes(300)
    assert stored(write(tmp_path / f"a.{suffix}", data), suffix, validation=validation).data == data


def test_damage_inside_the_stream_is_found_from_l1_on(tmp_path):
    data = bytearray(noise_image(RNG, (640, 480), "png"))
    data[len(data) // 2] ^= 0xFF
    path = write(tmp_path / "a.png", bytes(data))
    assert stored(path, validation="L0").data == bytes(data)
    for validation in ("L1", "L2"):
        with pytest.raises(BadItem, match="cannot be read"):
            stored(path, validation=validation)


def test_missing_file(tmp_path):
    with pytest.raises(BadItem, match="not found"):
        probe(tmp_path / "none.jpg")


def test_a_huge_header_is_refused_before_decoding(tmp_path):
    # A PNG header may claim any size; the pixels are never allocated.
    data = bytearray(noise_image(RNG, suffix="png"))
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    import zlib

    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    with pytest.raises(BadItem, match="3,600,000,000 pixels"):
        probe(write(tmp_path / "bomb.png", bytes(data)))
    assert Image.MAX_IMAGE_PIXELS is not None


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_probing_decodes_no_pixel(tmp_path, suffix, monkeypatch):
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(PIXELS))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    assert probe(path).width == 80


def test_an_image_of_the_mode_is_not_copied_and_stays_readable():
    buffer = io.BytesIO()
    Image.new("RGB", (6, 4), (1, 2, 3)).save(buffer, "PNG")
    with open_stored(buffer.getvalue()) as image:
        same, grey = in_mode(image, "RGB"), in_mode(image, "L")
    assert same is image and same.getpixel((5, 3)) == (1, 2, 3)
    assert grey.mode == "L" and grey.size == (6, 4)
