import hashlib
import json

import numpy as np
import pytest
import rasterio
from PIL import Image

from converters import samples
from mmrs.errors import UserError

OPTIONS = {
    "nwpu-captions": {"images_per_split": 1},
    "rsitmd": {"images_per_split": 1},
    "rsvqa-lr": {"images_per_split": 1},
    "rsivqa": {"images_per_set": 1},
    "crsvqa": {"images": 1},
    "floodnet": {"images": 1},
    "eurosat": {"images_per_class": 1, "multiband": True},
    "fgscr42": {"images_per_class": 1, "classes": ["023.Crane_ship"]},
    "dscr": {"images_per_split": 1},
}


def digest(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return [(str(path.relative_to(root)), hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]


@pytest.mark.parametrize(("name", "options"), OPTIONS.items())
def test_equal_seeds_give_equal_bytes(tmp_path, name, options):
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        samples.write(name, tmp_path / folder, seed=seed, **options)
    assert digest(tmp_path / "a") == digest(tmp_path / "b") != digest(tmp_path / "c")


@pytest.mark.parametrize(
    ("name", "pattern", "kind", "size"),
    [
        ("ucm-captions", "imgs/1.tif", "TIFF", (256, 256)),
        ("sydney-captions", "imgs/1.tif", "TIFF", (500, 500)),
        ("rsvqa-hr", "Data/0.tif", "TIFF", (512, 512)),
        ("crsvqa", "data/image/14280.png", "PNG", (600, 600)),
        ("resisc45", "NWPU-RESISC45/sea_ice/sea_ice_001.jpg", "JPEG", (256, 256)),
        ("whu-rs19", "WHU-RS19/footballField/footballfield_01.jpg", "JPEG", (600, 600)),
        ("rsscn7", "aGrass/a001.jpg", "JPEG", (400, 400)),
        ("aid", "AID/RailwayStation/railwaystation_1.jpg", "JPEG", (600, 600)),
        ("eurosat", "2750/SeaLake/SeaLake_1.jpg", "JPEG", (64, 64)),
        ("nasc-tg2", "NaSC-TG2/cloud/0001.jpg", "JPEG", (128, 128)),
    ],
)
def test_images_are_of_the_true_kind(fake, name, pattern, kind, size):
    with Image.open(fake(name) / pattern) as image:
        assert (image.format, image.mode, image.size) == (kind, "RGB", size)


def test_ship_crops_are_bitmaps_of_many_sizes(fake):
    sizes = set()
    for path in (fake("fgscr42") / "FGSCR-42" / "023.Crane_ship").glob("*.bmp"):
        with Image.open(path) as image:
            assert image.format == "BMP"
            sizes.add(image.size)
    assert len(sizes) == 4


def test_dscr_has_chinese_names_and_one_png(fake):
    names = {path.name for path in (fake("dscr") / "images").iterdir()}
    assert any(not name.isascii() for name in names) and sum(name.endswith(".png") for name in names) == 1


def test_eurosat_bands_are_those_of_the_picture(fake):
    root = fake("eurosat", multiband=True)
    folder = root / "ds" / "images" / "remote_sensing" / "otherDatasets" / "sentinel_2" / "tif" / "River"
    with rasterio.open(folder / "River_1.tif") as scene, Image.open(root / "2750" / "River" / "River_1.jpg") as image:
        assert (scene.count, scene.dtypes[0], scene.shape) == (13, "uint16", (64, 64)) and scene.crs is not None
        red, green, blue = np.asarray(image, dtype=float).transpose(2, 0, 1)
        for band, colour in ((4, red), (3, green), (2, blue)):
            assert np.allclose(scene.read(band), colour * 2750 / 255, atol=0.51)


def test_floodnet_has_answers_in_the_training_file_only(fake):
    folder = fake("floodnet") / "Questions"
    answered = {
        path.name: ["Ground_Truth" in row for row in json.loads(path.read_text()).values()] for path in folder.iterdir()
    }
    assert set(answered) == {"Training Question.json", "Valid Question.json", "Test_Question.json"}
    assert all(answered["Training Question.json"]) and not any(answered["Test_Question.json"])


def test_unknown_class(tmp_path):
    with pytest.raises(UserError, match=r"resisc45 has no class 'rivr' \(did you mean 'river'\?\)"):
        samples.write("resisc45", tmp_path / "new", classes=["rivr"])
