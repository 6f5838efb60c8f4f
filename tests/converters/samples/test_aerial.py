"""The generators of the optical detection and grounding sources."""

import hashlib

import numpy as np
import pytest
from PIL import Image, ImageDraw

import converters
from converters import samples
from converters.samples.aerial import appearance
from converters.samples.shapes import AERIAL
from mmrs.errors import UserError

SMALL = {
    "dior": {"images_per_split": 1},
    "hrrsd": {"images_per_split": 1},
    "mar20": {"images_per_split": 1},
    "visdrone": {"images_per_split": 1},
    "hrsc2016": {"images_per_split": 1},
    "nwpu-vhr10": {"positives": 2, "negatives": 1},
    "rsod": {"images_per_class": 2, "unlabelled": 1},
    "ucas-aod": {"images_per_folder": 2},
    "fair1m": {"images_per_part": 1},
    "dior-rsvg": {"images": 2},
}
KINDS = {"fair1m": ("TIFF", ".tif"), "hrsc2016": ("BMP", ".bmp"), "ucas-aod": ("PNG", ".png")}


def digest(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return [(str(path.relative_to(root)), hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]


@pytest.mark.parametrize("name", SMALL)
def test_equal_seeds_give_equal_bytes(tmp_path, name):
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        samples.write(name, tmp_path / folder, seed=seed, **SMALL[name])
    assert digest(tmp_path / "a") == digest(tmp_path / "b") != digest(tmp_path / "c")


@pytest.mark.parametrize("name", SMALL)
def test_images_are_of_the_true_kind(fake, name):
    converter = converters.get(name)
    items = converter.discover(fake(name), converter.splits[0]).items
    for item in items:
        with Image.open(item.image) as image:
            assert (image.format, image.mode) == (KINDS.get(name, ("JPEG", ""))[0], "RGB")
            declared = converter.read(item).declared_size
            assert declared is None or tuple(declared) == image.size


@pytest.mark.parametrize(
    ("name", "options"),
    [("dior", {}), ("ucas-aod", {}), ("fair1m", {}), ("hrsc2016", {}), ("mar20", {"boxes": "oriented"})],
)
def test_objects_are_painted_into_their_boxes(fake, name, options):
    converter = converters.get(name, **options)
    inside, outside = [], []
    for item in converter.discover(fake(name), converter.splits[0]).items:
        with Image.open(item.image) as image:
            pixels = np.asarray(image.convert("L"), dtype=float)
        mask = Image.new("1", pixels.shape[::-1])
        for obj in converter.read(item).objects:
            ImageDraw.Draw(mask).polygon(list(obj.quad), fill=1)
        shown = np.abs(pixels - np.median(pixels))
        if np.asarray(mask).any():
            inside.append(shown[np.asarray(mask)].mean())
            outside.append(shown[~np.asarray(mask)].mean())
    assert np.mean(inside) > 1.5 * np.mean(outside)


@pytest.mark.parametrize("name", [name for name in SMALL if name != "dior-rsvg"])
def test_summary_counts_what_was_written(tmp_path, name):
    summary = samples.write(name, tmp_path, seed=3, **SMALL[name])
    converter = converters.get(name)
    objects = [
        obj
        for split in converter.splits
        for item in converter.discover(tmp_path, split).items
        for obj in converter.read(item).objects
    ]
    assert sum(summary["labels"].values()) == len(objects)


def test_wrong_options(tmp_path):
    with pytest.raises(UserError, match="objects_per_image"):
        samples.write("dior", tmp_path, objects_per_image=(3, 1))


def test_every_label_has_a_look():
    assert all(appearance(label) == label for label in AERIAL)
    assert (
        appearance("Boeing737") == "plane"
        and appearance("T junction") == "roundabout"
        and appearance("person") == "small-vehicle"
    )
