"""Fingerprints stay near for copies, far for strangers, and turn with the picture."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmrs.imaging.hashing import (
    CENTRE_SHARE,
    FINGERPRINT_BYTES,
    FLAT,
    HASH_BYTES,
    VARIANTS,
    fingerprint,
    grey_thumbnail,
    turned_hashes,
)


def picture(seed, width=320, height=240):
    """A grey picture with structure at all scales."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width))
    for cells in (4, 8, 16, 32):
        layer = Image.fromarray(rng.normal(0, 60 / cells, (cells, cells)).astype(np.float32))
        total += np.asarray(layer.resize((width, height), Image.Resampling.BICUBIC))
    scaled = 128 + 45 * total / total.std()
    return Image.fromarray(np.clip(scaled, 0, 255).astype(np.uint8))


def bits(first, second, part=slice(0, HASH_BYTES)):
    different = np.bitwise_xor(np.frombuffer(first[part], np.uint8), np.frombuffer(second[part], np.uint8))
    return int(np.unpackbits(different).sum())


def words(data):
    return np.frombuffer(data[:HASH_BYTES], np.uint64)[None]


def recompressed(image, quality=60):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue()))


COPIES = {
    "recompressed": lambda image: recompressed(image, 40),
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC),
    "stretched": lambda image: image.resize((256, 256), Image.Resampling.BICUBIC),
    "larger": lambda image: image.resize((image.width * 2, image.height * 2), Image.Resampling.BILINEAR),
    "brighter": lambda image: image.point(lambda value: value * 0.8 + 30),
    "colour": lambda image: image.convert("RGB"),
}


@pytest.mark.parametrize("change", COPIES.values(), ids=COPIES.keys())
def test_copies_are_near(change):
    for seed in range(10):
        image = picture(seed)
        assert bits(fingerprint(image), fingerprint(change(image))) <= 15


def test_a_reduced_decode_is_near_the_full_one():
    image = picture(3, 800, 800)
    reduced = recompressed(image, 90)
    reduced.draft("L", (100, 100))
    assert reduced.size == (100, 100)
    assert bits(fingerprint(image), fingerprint(reduced)) <= 8


def test_strangers_are_far():
    prints = [fingerprint(picture(seed)) for seed in range(30)]
    distances = [bits(a, b) for place, a in enumerate(prints) for b in prints[:place]]
    assert min(distances) > 60


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.integers(70, 200), st.integers(70, 200), st.sampled_from(VARIANTS))
def test_turning_the_hash_is_turning_the_picture(seed, width, height, variant):
    image = picture(seed, width, height)
    turned = Image.fromarray(np.ascontiguousarray(variant.apply(np.asarray(image))))
    expected = turned_hashes(words(fingerprint(image)), variant)
    different = np.unpackbits((expected ^ words(fingerprint(turned))).view(np.uint8)).sum()
    # Only coefficients next to zero may change their sign.
    assert different <= 6


def test_variants_are_what_they_are_called():
    pixels = np.arange(6).reshape(2, 3)
    turned = [(variant.name, variant.apply(pixels).tolist()) for variant in VARIANTS]
    assert turned == [
        ("same orientation", pixels.tolist()),
        ("mirrored left-right", pixels[:, ::-1].tolist()),
        ("mirrored top-bottom", pixels[::-1].tolist()),
        ("turned by 180 degrees", np.rot90(pixels, 2).tolist()),
        ("mirrored at the main diagonal", pixels.T.tolist()),
        ("turned by 90 degrees", np.rot90(pixels, -1).tolist()),
        ("turned by 90 degrees", np.rot90(pixels).tolist()),
        ("mirrored at the other diagonal", np.rot90(pixels, 2).T.tolist()),
    ]


def test_turning_is_a_permutation_of_hashes():
    hashes = np.random.default_rng(0).integers(0, 1 << 63, (50, 4), dtype=np.uint64)
    for variant in VARIANTS:
        assert len(np.unique(turned_hashes(hashes, variant), axis=0)) == 50


def test_the_second_half_is_the_centre():
    image = picture(5, 600, 600)
    margin = round(600 * (1 - CENTRE_SHARE) / 2)
    cut = image.crop((margin, margin, 600 - margin, 600 - margin)).resize((224, 224), Image.Resampling.BICUBIC)
    assert bits(fingerprint(image)[HASH_BYTES:], fingerprint(cut)) <= 15
    assert bits(fingerprint(image), fingerprint(cut)) > 30


def test_flat_pictures_have_none():
    assert len(FLAT) == FINGERPRINT_BYTES
    assert fingerprint(Image.new("RGB", (100, 80), (30, 40, 50))) == FLAT
    assert fingerprint(picture(1)) != FLAT


def test_tiny_pictures_do_not_fail():
    assert fingerprint(Image.new("L", (1, 1))) == FLAT
    assert len(fingerprint(picture(2, 5, 3))) == FINGERPRINT_BYTES
    assert grey_thumbnail(picture(2, 1000, 3), 32).shape == (32, 32)
