"""On genuine aerial, SAR and infrared images: copies are found, other pictures are not taken for copies."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmrs.curation.fingerprints import THUMBNAIL_SIDE, are_copies
from mmrs.curation.image_table import open_reduced
from mmrs.curation.search import near_pairs
from mmrs.imaging.hashing import HASH_BYTES, MIN_SIDE, VARIANTS, fingerprint, grey_thumbnail

SAMPLES = Path(os.environ.get("MMRS_SAMPLES", Path(__file__).resolve().parents[4] / "shared" / "samples"))
FOLDERS = ("rsscn7/*", "hit-uav/normal_json/test", "ssdd-mmrotate-pack/train/images", "rsvqa-lr-excerpt/images")

pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"no genuine samples in {SAMPLES}; set MMRS_SAMPLES")


def jpeg(image, quality):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def resized(image, scale):
    size = (round(image.width * scale), round(image.height * scale))
    return image.resize(size, Image.Resampling.BICUBIC)


CHANGES = {
    "recompressed": lambda image: jpeg(image, 40),
    "half": lambda image: jpeg(resized(image, 0.5), 85),
    "larger": lambda image: jpeg(resized(image, 1.5), 85),
    "mirrored": lambda image: jpeg(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), 75),
    "turned": lambda image: jpeg(image.transpose(Image.Transpose.ROTATE_90), 75),
}


@pytest.fixture(scope="module")
def genuine():
    paths = [path for folder in FOLDERS for path in sorted(SAMPLES.glob(f"{folder}/*"))[:20]]
    paths = [path for path in paths if path.suffix in (".jpg", ".png")]
    return [(str(path.relative_to(SAMPLES)), path.read_bytes()) for path in paths]


def hashes(images):
    prints = [fingerprint(open_reduced(data, "L", MIN_SIDE, "image"))[:HASH_BYTES] for data in images]
    return np.frombuffer(b"".join(prints), np.uint64).reshape(-1, 4)


def thumbnail(data):
    return grey_thumbnail(open_reduced(data, "L", 4 * THUMBNAIL_SIDE, "image"), THUMBNAIL_SIDE)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_copies_are_found(genuine, change):
    originals = [data for _, data in genuine]
    copies = [change(Image.open(io.BytesIO(data)).convert("RGB")) for data in originals]
    pairs = near_pairs(hashes(originals), hashes(copies))
    confirmed = {
        first
        for first, second, variant in zip(
            pairs.first.tolist(), pairs.second.tolist(), pairs.variant.tolist(), strict=True
        )
        if first == second and are_copies(thumbnail(originals[first]), thumbnail(copies[second]), VARIANTS[variant])
    }
    assert len(confirmed) >= 0.99 * len(originals)


def test_different_pictures_are_not_copies(genuine):
    pairs = near_pairs(hashes([data for _, data in genuine]))
    for first, second, variant in zip(pairs.first.tolist(), pairs.second.tolist(), pairs.variant.tolist(), strict=True):
        # Frames of a hovering camera (HIT-UAV: one flight setting, numbers close by) do show one picture.
        if are_copies(thumbnail(genuine[first][1]), thumbnail(genuine[second][1]), VARIANTS[variant]):
            settings = [genuine[row][0].rpartition("_")[0] for row in (first, second)]
            assert settings[0] == settings[1] != ""
