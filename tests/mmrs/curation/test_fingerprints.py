"""Pixels decide: equal structure is not enough, equal texture is needed too."""

import numpy as np
import pytest
from PIL import Image

from mmrs.curation.fingerprints import are_copies, correlation, local_correlation
from mmrs.imaging.hashing import VARIANTS

SAME = VARIANTS[0]


def texture(seed, scale):
    coarse = np.random.default_rng(seed).normal(0, scale, (24, 24)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC))


def beach(seed, scale=6):
    """A waterline at one place, with its own waves and sand."""
    rows, columns = np.mgrid[:64, :64]
    return np.where(rows > columns, 180, 80).astype(np.float32) + texture(seed, scale)


def test_two_beaches_agree_as_a_whole_only():
    assert correlation(beach(1), beach(2), SAME) > 0.95
    assert local_correlation(beach(1), beach(2), SAME) < 0.5
    assert not are_copies(beach(1), beach(2), SAME)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_turned_copy_with_noise_and_other_contrast(variant):
    picture = beach(1)
    noise = np.random.default_rng(9).normal(0, 1, (64, 64)).astype(np.float32)
    copy = variant.apply(picture) * np.float32(0.7) + 20 + noise
    assert are_copies(picture, copy, variant)


def test_without_texture_the_whole_decides():
    assert local_correlation(beach(1, 0), beach(2, 0) + texture(3, 0.1), SAME) > 0.9
    assert are_copies(beach(1, 0), beach(1, 0), SAME)


def test_no_contrast_is_no_copy():
    flat = np.full((64, 64), 7, np.float32)
    assert correlation(flat, flat, SAME) == 0
    assert not are_copies(flat, flat, SAME)
