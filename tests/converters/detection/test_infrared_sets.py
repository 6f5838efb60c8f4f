import shutil

import numpy as np
import pytest
from PIL import Image

import converters
from mmrs.errors import BadItem, UserError

VENDOR = ("sea-shipping", "infrared-security", "aerial-mancar", "double-light-vehicle")
EVERY = (*VENDOR, "oceanic-ship")


def read_all(name, root, split="train", **options):
    converter = converters.get(name, **options)
    found = converter.discover(root, split)
    return found, {item.stem: converter.read(item) for item in found.items}


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("form", ["voc", "yolo"])
def test_voc_and_yolo_give_the_same_boxes(fake, name, form):
    root = fake(name, annotations=form)
    images = 30 if name == "oceanic-ship" else 10
    found = {split: read_all(name, root, split) for split in ("train", "test")}
    assert {split: len(part[1]) for split, part in found.items()} == {"train": images * 8 // 10, "test": images // 5}
    assert all(part[0].problems == () for part in found.values())
    objects = [obj for part in found.values() for known in part[1].values() for obj in known.objects]
    assert {obj.category for obj in objects} <= set(converters.get(name).categories)
    assert all(np.abs(np.round(obj.hbb) - obj.hbb).max() < 0.01 for obj in objects)
    assert {known.provenance.layout for part in found.values() for known in part[1].values()} == {form}


def test_nothing_is_read_without_a_class_map_and_the_classes_found_are_shown(fake):
    root = fake("sea-shipping")
    (root / "classes.yaml").unlink()
    with pytest.raises(UserError) as caught:
        read_all("sea-shipping", root)
    text = str(caught.value)
    assert "classes are not guessed" in text and "10 VOC files in Annotations" in text
    assert "  liner:    # " in text and f"write {root / 'classes.yaml'}" in text and "not confirmed" in text


def test_a_class_that_the_map_lacks_costs_its_rows_and_names_the_map(fake):
    root = fake("sea-shipping")
    (root / "classes.yaml").write_text("bulk carrier: ship\n")
    converter = converters.get("sea-shipping")
    read = [converter.read(item) for item in converter.discover(root, "train").items]
    reasons = {row.reason for known in read for row in known.unread}
    assert "class 'liner' is not in classes.yaml; add a line for it" in reasons
    assert {obj.label for known in read for obj in known.objects} <= {"bulk carrier"}


def test_spellings_and_regions_that_count_as_nothing(fake):
    root = fake("aerial-mancar")
    (root / "classes.yaml").write_text(
        "PERSON: person\ncar: car\nBus:\ncyclist: cyclist\nbike: bicycle\ntruck: truck\n"
    )
    objects = [obj for known in read_all("aerial-mancar", root)[1].values() for obj in known.objects]
    assert {obj.category for obj in objects if obj.label == "person"} == {"person"}
    assert all(obj.ignore == (obj.label == "bus") for obj in objects)


def test_notes_say_what_was_recognised(fake):
    root = fake("infrared-security")
    (root / "images" / "00001.jpg").rename(root / "images" / "other.jpg")
    found, _ = read_all("infrared-security", root)
    assert found.notes == (
        "10 images in images",
        "10 VOC files in Annotations",
        "there are no lists of splits: 0.8 of the images are train, by seed 0",
        "1 images have no label file and were left out",
    )
    assert [reason for _, reason in found.shared_problems] == ["label file without an image"]
    other, _ = read_all("infrared-security", root, "test")
    assert (other.problems, other.shared_problems) == ((), found.shared_problems)


def test_any_depth_of_folders_and_chinese_names(fake, tmp_path):
    root = fake("infrared-security")
    deep = tmp_path / "数据" / "红外 2021" / "a"
    deep.mkdir(parents=True)
    (root / "images").rename(deep / "可见")
    (root / "Annotations").rename(deep / "标注")
    shutil.move(root / "classes.yaml", tmp_path / "数据")
    assert len(read_all("infrared-security", tmp_path / "数据")[1]) == 8


def test_lists_of_splits_are_used_where_they_are(fake):
    root = fake("sea-shipping")
    lists = root / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("00001\n00002\n")
    (lists / "test.txt").write_text("00003.jpg\r\n")
    found, read = read_all("sea-shipping", root)
    assert sorted(read) == ["00001", "00002"] and any("split taken from" in note for note in found.notes)
    assert list(read_all("sea-shipping", root, "test")[1]) == ["00003"]


def test_sizes_come_from_the_image_not_from_the_label_file(fake):
    root = fake("sea-shipping")
    for path in (root / "Annotations").iterdir():
        path.write_text(path.read_text().replace("<width>384<", "<width>1<"))
    assert all(known.declared_size is None for known in read_all("sea-shipping", root)[1].values())
    with Image.open(root / "images" / "00001.jpg") as image:
        assert image.size == (384, 288) and image.mode == "L"


def test_yolo_needs_the_images_header(fake):
    root = fake("sea-shipping", annotations="yolo")
    converter = converters.get("sea-shipping")
    items = converter.discover(root, "train").items
    items[0].image.write_bytes(b"")
    with pytest.raises(BadItem, match="empty"):
        converter.read(items[0])


def test_both_kinds_of_labels_ask_for_a_choice(fake):
    root = fake("sea-shipping")
    (root / "labels").mkdir()
    (root / "labels" / "00001.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    (root / "readme.txt").write_text("no label file\n")
    with pytest.raises(UserError, match="choose annotations=voc or annotations=yolo"):
        read_all("sea-shipping", root)
    assert len(read_all("sea-shipping", root, annotations="voc")[1]) == 8


def test_pairs_of_one_moment_ask_for_the_thermal_half(fake):
    root = fake("double-light-vehicle")
    shutil.copytree(root / "images", root / "visible")
    (root / "images").rename(root / "Infra_red")
    with pytest.raises(UserError, match=r"several folders \(Infra_red, visible\).*images=Infra_red"):
        read_all("double-light-vehicle", root)
    found, read = read_all("double-light-vehicle", root, images="infrared")
    assert len(read) == 8 and {item.image.parent.name for item in found.items} == {"Infra_red"}
    with pytest.raises(UserError, match="holds no image in a folder named like images='thermal'"):
        read_all("double-light-vehicle", root, images="thermal")


def test_versions_of_a_moment_stay_together(fake):
    root = fake("oceanic-ship")
    moments = {
        split: {item.scene for item in read_all("oceanic-ship", root, split)[0].items} for split in ("train", "test")
    }
    assert not moments["train"] & moments["test"] and len(moments["train"]) == 8
    found, read = read_all("oceanic-ship", root)
    assert {stem.split("-")[0] for stem in read} == {"lwir", "swir", "fusion"}
    assert all(item.annotations[0].parts[-3] == item.image.parts[-3] for item in found.items)
    assert {stem.split("-")[0] for stem in read_all("oceanic-ship", root, images="swir")[1]} == {"swir"}


@pytest.mark.parametrize(
    "names", ["infrared_ship_{}/{}.jpg", "{}/images/{}.jpg", "all/{}_{}.jpg"], ids=["release", "folders", "file names"]
)
def test_a_version_is_told_by_folder_or_file(tmp_path, names):
    for band in ("lwir", "swir", "fusion"):
        for number in range(4):
            image = tmp_path / names.format(band, number)
            image.parent.mkdir(parents=True, exist_ok=True)
            image.touch()
            image.with_suffix(".xml").write_text("<annotation/>")
    (tmp_path / "classes.yaml").write_text("ship: ship\n")
    found, _ = read_all("oceanic-ship", tmp_path, train_share=0.5)
    assert len(found.items) == 6 and len({item.scene for item in found.items}) == 2


def test_an_image_of_no_known_version_is_refused(fake):
    root = fake("oceanic-ship")
    (root / "lwir").rename(root / "longwave")
    with pytest.raises(UserError, match="none of lwir, swir, fusion"):
        read_all("oceanic-ship", root)


@pytest.mark.parametrize("name", EVERY)
def test_terms_are_not_assumed(name):
    facts = converters.facts(name)
    assert facts.licence == "unknown" and facts.published == {}


def test_empty_folders(tmp_path):
    with pytest.raises(UserError, match="holds no image"):
        read_all("sea-shipping", tmp_path)
    (tmp_path / "a.jpg").touch()
    with pytest.raises(UserError, match="1 images and no label file"):
        read_all("sea-shipping", tmp_path)
    with pytest.raises(UserError, match="is not a folder"):
        read_all("sea-shipping", tmp_path / "none")
