import hashlib
import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

import converters
from converters import samples
from mmrs.errors import UserError
from mmrs.geometry import quad_from_rotated


def digest(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return [(str(path.relative_to(root)), hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("hit-uav", {"images_per_split": 3}),
        ("dota", {"images_per_split": 1}),
        ("ucmerced", {"images_per_class": 1}),
        ("rsicd", {"images_per_split": 2}),
    ],
)
def test_equal_seeds_give_equal_bytes(tmp_path, name, options):
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        samples.write(name, tmp_path / folder, seed=seed, **options)
    assert digest(tmp_path / "a") == digest(tmp_path / "b") != digest(tmp_path / "c")


@pytest.mark.parametrize("name", converters.names())
def test_every_source_has_a_sample_without_problems(fake, name):
    root = fake(name)
    options = {"description": str(root / "mmrs.yaml")} if name == "generic" else {}
    converter = converters.get(name, **options)
    for split in converter.splits:
        found = converter.discover(root, split)
        assert found.items
        assert all("has no words" in reason for _, reason in (*found.problems, *found.shared_problems))
        known = [converter.read(item) for item in found.items]
        assert any(one.objects or one.label or one.captions or one.questions for one in known)


def test_summary_counts_what_was_written(tmp_path):
    summary = samples.write("hit-uav", tmp_path, images_per_split={"train": 3, "test": 1}, seed=5)
    assert summary["images"] == {"train": 3, "test": 1}
    converter = converters.get("hit-uav")
    found = [converter.read(item) for split in summary["images"] for item in converter.discover(tmp_path, split).items]
    assert sum(len(known.objects) for known in found) == sum(summary["objects"].values())
    assert sum(summary["labels"].values()) == sum(summary["objects"].values())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seeds": 1}, r"no option 'seeds' \(did you mean 'seed'\?\)"),
        ({"images_per_split": {"trian": 1}}, "no split 'trian'"),
        ({"images_per_split": -1}, "give 0 or more"),
        ({"objects_per_image": (3, 1)}, "objects_per_image"),
        ({"objects_per_image": "many"}, "option objects_per_image = 'many'"),
        ({"object_sides": (10, 900)}, "object_sides"),
        ({"layouts": ["coco"]}, "option layouts"),
    ],
)
def test_wrong_options(tmp_path, options, words):
    with pytest.raises(UserError, match=words):
        samples.write("hit-uav", tmp_path / "new", **options)


def test_a_folder_with_files_is_not_overwritten(tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(UserError, match="not an empty folder"):
        samples.write("ucmerced", tmp_path)


def test_hit_uav_images_are_of_the_true_kind(fake):
    root = fake("hit-uav")
    for layout, mode in (("normal_json/train", "L"), ("rotate_json/train", "L"), ("rotate_xml/JPEGImages", "RGB")):
        with Image.open(next((root / layout).glob("*.jpg"))) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", mode, (640, 512))
    one, other = (next((root / layout / "val").glob("*.jpg")) for layout in ("normal_json", "rotate_json"))
    assert one.read_bytes() == other.read_bytes()


def test_hit_uav_demo_options(tmp_path):
    options = {"objects_per_image": (1, 1), "object_sides": (80, 260), "dont_care": False, "equal_classes": True}
    summary = samples.write("hit-uav", tmp_path, images_per_split={"train": 60}, layouts=["rotate_json"], **options)
    assert summary["objects"] == {"train": 60}
    assert set(summary["labels"]) == {"Person", "Car", "Bicycle", "OtherVehicle"}
    assert min(summary["labels"].values()) >= 6
    rows = json.loads((tmp_path / "rotate_json" / "annotations" / "train.json").read_text())["annotations"]
    long_sides = [max(row["bbox"][2:4]) for row in rows]
    assert min(long_sides) > 70 and max(long_sides) < 300
    assert {path.name for path in tmp_path.iterdir()} == {"rotate_json"}


def contrast(pixels, quad):
    """Mean distance from the image's median grey, inside the quad."""
    mask = Image.new("1", pixels.shape[::-1])
    ImageDraw.Draw(mask).polygon([tuple(corner) for corner in np.asarray(quad).reshape(4, 2)], fill=1)
    return np.abs(pixels - np.median(pixels))[np.asarray(mask)].mean()


def test_hit_uav_objects_are_painted_into_their_boxes(tmp_path):
    """A slanted object fills its own quad better than the quad of the opposite angle."""
    options = {"objects_per_image": (1, 1), "object_sides": (120, 200), "dont_care": False, "equal_classes": True}
    samples.write("hit-uav", tmp_path, images_per_split={"train": 60}, layouts=["rotate_json"], **options)
    converter = converters.get("hit-uav")
    checked = 0
    for item in converter.discover(tmp_path, "train").items:
        (obj,) = converter.read(item).objects
        cx, cy, width, height, angle = obj.flags["rotated"]
        if obj.label not in ("Car", "OtherVehicle") or not 0.3 < angle % (np.pi / 2) < 1.27:
            continue
        with Image.open(item.image) as image:
            pixels = np.asarray(image, dtype=float)
        opposite = quad_from_rotated([(cx, cy, width, height, -angle)])
        assert contrast(pixels, obj.quad) > 1.3 * contrast(pixels, opposite)
        checked += 1
    assert checked >= 5


def test_dota_images_are_of_the_true_kinds(fake):
    root = fake("dota")
    modes = {}
    for path in (root / "train" / "images").glob("*.png"):
        with Image.open(path) as image:
            modes[path.stem] = (image.mode, image.size)
    assert {mode for mode, _ in modes.values()} == {"RGB", "L", "RGBA"}
    assert max(max(size) for _, size in modes.values()) > 1024
    labels = {stem: (root / "train" / "labelTxt" / f"{stem}.txt").read_bytes() for stem in modes}
    assert any(b"\r\n" in data for data in labels.values()) and b"" in labels.values()
    assert any(b"gsd:None" in data for data in labels.values())
    assert any(data.startswith(b"\xef\xbb\xbf") for data in labels.values())


def test_dota_has_objects_across_a_tile_border(fake):
    root = fake("dota")
    converter = converters.get("dota")
    objects = [obj for item in converter.discover(root, "train").items for obj in converter.read(item).objects]
    assert any(obj.extent()[0] < 1024 < obj.extent()[2] for obj in objects)


def test_ucmerced_images_are_of_the_true_kind(fake):
    base = fake("ucmerced") / "UCMerced_LandUse"
    sizes = set()
    for path in base.glob("Images/*/*.tif"):
        with Image.open(path) as image:
            assert (image.format, image.mode) == ("TIFF", "RGB")
            sizes.add(image.size)
    assert sizes == {(256, 256), (256, 253)}
    assert (base / "readme.txt.bak").is_file()
    with pytest.raises(UserError, match=r"no class 'rivr' \(did you mean 'river'\?\)"):
        samples.write("ucmerced", base.parent / "new", classes=["rivr"])


def test_rsicd_names_and_repeats(fake):
    root = fake("rsicd")
    rows = json.loads((root / "dataset_rsicd.json").read_text())["images"]
    assert any(row["filename"][0].isdigit() for row in rows) and any(row["filename"][0].isalpha() for row in rows)
    assert all(len(row["sentences"]) == 5 for row in rows)
    assert any(len({sentence["raw"] for sentence in row["sentences"]}) == 1 for row in rows)
    with Image.open(root / "RSICD_images" / rows[0]["filename"]) as image:
        assert (image.format, image.size) == ("JPEG", (224, 224))
