"""Pictures of every kind become what the builder would have stored."""

import numpy as np
import pytest
import torch
from PIL import Image

from mmrs.imaging.probe import probe
from mmrs.imaging.store import read_upright
from training.model import EarthGPTImageProcessor
from training.model.inputs.pictures import as_picture

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (9, 14, 3), dtype=np.uint8)
MODES = [
    "1",
    "L",
    "LA",
    "La",
    "P",
    "PA",
    "RGB",
    "RGBA",
    "RGBa",
    "RGBX",
    "CMYK",
    "YCbCr",
    "HSV",
    "LAB",
    "I",
    "I;16",
    "F",
]


def in_mode(mode):
    image = Image.fromarray(COLOUR)
    if mode in ("I;16", "I", "F"):
        values = RNG.integers(0, 4000, (9, 14)).astype({"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode])
        return Image.fromarray(values)
    if mode in ("La", "RGBa"):
        return image.convert({"La": "LA", "RGBa": "RGBA"}[mode]).convert(mode)
    if mode == "PA":
        return image.convert("P").convert("PA")
    if mode == "LAB":
        return Image.frombytes("LAB", (14, 9), COLOUR.tobytes())
    return image.convert(mode)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_of_pillow_is_read(mode):
    picture = as_picture(in_mode(mode))
    assert picture.mode in ("L", "RGB") and picture.size == (14, 9)
    assert EarthGPTImageProcessor(16)(in_mode(mode))["pixel_values"].shape == (1, 3, 16, 16)


def test_pixels_of_eight_bits_keep_their_values():
    for image in (COLOUR, torch.from_numpy(COLOUR), COLOUR.transpose(2, 0, 1), Image.fromarray(COLOUR)):
        assert np.array_equal(as_picture(image), COLOUR)
    assert np.array_equal(as_picture(COLOUR[..., :1]), COLOUR[..., 0])
    assert np.array_equal(as_picture(np.dstack([COLOUR, COLOUR[..., 0]])), COLOUR)
    assert np.array_equal(as_picture(COLOUR[..., 0] > 100), (COLOUR[..., 0] > 100) * 255)


@pytest.mark.parametrize("sensor", ["optical", "sar", "infrared"])
@pytest.mark.parametrize("kind", ["uint16", "int16", "float32", "decibel"])
def test_measurements_are_rendered_as_the_builder_does(tmp_path, sensor, kind):
    import tifffile

    values = RNG.gamma(2.0, 300.0, (30, 40))
    pixels = (-20 + 0.01 * values).astype(np.float32) if kind == "decibel" else values.astype(kind)
    path = tmp_path / "scene.tif"
    tifffile.imwrite(path, pixels)
    stored = read_upright(path, probe(path), sensor).pixels
    for image in (pixels, torch.from_numpy(pixels.copy()), pixels.astype(pixels.dtype.newbyteorder(">"))):
        assert np.array_equal(as_picture(image, sensor), stored)
    with_sensor = EarthGPTImageProcessor(40)(pixels, sensor=sensor)["pixel_values"]
    assert torch.equal(with_sensor, EarthGPTImageProcessor(40, sensor=sensor)(pixels)["pixel_values"])
    assert torch.equal(with_sensor, EarthGPTImageProcessor(40)(Image.fromarray(stored))["pixel_values"])


def test_paths_are_read_and_addresses_are_not(tmp_path):
    path = tmp_path / "scene.png"
    Image.fromarray(COLOUR).save(path)
    assert np.array_equal(as_picture(path), COLOUR) and np.array_equal(as_picture(str(path)), COLOUR)
    for address in ("https://example.org/a.png", "file:///etc/passwd", "data:image/png;base64,AAAA"):
        with pytest.raises(ValueError, match="nothing is fetched"):
            as_picture(address)
    with pytest.raises(OSError):
        as_picture(tmp_path / "absent.png")


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.zeros((2, 3, 4, 5), np.uint8), "the shape"),
        (np.zeros((5, 5, 2), np.uint8), "the shape"),
        (np.zeros((0, 5), np.uint8), "the shape"),
        (np.full((5, 5), np.nan, np.float32), "no valid pixel"),
        (object(), "an image is a object"),
    ],
)
def test_what_is_no_picture_is_refused(image, reason):
    with pytest.raises(ValueError, match=reason):
        as_picture(image)
    with pytest.raises(ValueError, match="sensor is 'radar'"):
        as_picture(COLOUR, "radar")
