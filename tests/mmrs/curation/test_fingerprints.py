"""Pixels decide: equal structure is not enough, equal texture is needed too."""

import numpy as np
import pytest
from PIL import Image

from mmrs.curation.fingerprints import are_copies, correlation, local_correlation, same_colours
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


def coloured(river, brightness=0.0):
    """``(3, 64, 64)``: a meadow with a river of the same grey in the columns `river`."""
    grey = beach(1)
    picture = np.stack([grey - 10, grey + 15, grey - 5]) + brightness
    picture[:, :, river] = np.stack([grey - 10, grey - 5, grey + 15])[:, :, river] + brightness
    return picture.astype(np.float32)


@pytest.mark.parametrize("variant", VARIANTS)
def test_colours_tell_what_grey_does_not(variant):
    first, elsewhere = coloured(slice(10, 30)), coloured(slice(30, 50))
    assert correlation(first.mean(axis=0), elsewhere.mean(axis=0), SAME) > 0.999
    assert not same_colours(first, elsewhere, SAME)
    turned = np.stack([variant.apply(channel) for channel in coloured(slice(10, 30), brightness=25)])
    noise = np.random.default_rng(2).normal(0, 3, turned.shape).astype(np.float32)
    assert same_colours(first, turned + noise, variant)


def test_a_grey_version_has_the_same_colours():
    grey = np.stack([beach(1)] * 3)
    assert same_colours(grey, np.stack([beach(2)] * 3), SAME)
    assert same_colours(grey, coloured(slice(10, 30)), SAME)
    assert same_colours(coloured(slice(10, 30)), grey, SAME)


def test_a_tint_over_all_is_another_picture():
    first = coloured(slice(10, 30))
    assert not same_colours(first, first + np.array([4, -4, 0], np.float32)[:, None, None], SAME)
