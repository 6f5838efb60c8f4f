import json
import math
import re
from collections import Counter

import numpy as np
import pytest

import converters
from converters.samples import write
from mmrs.errors import BadItem, UserError
from mmrs.geometry import canonical_quad, clip_hbb, hbb_from_quad, quad_from_rotated, signed_area

LAYOUTS = ("auto", "rotate_json", "normal_json", "normal_xml", "rotate_xml")
GENUINE = {"train": (240, 2125), "val": (48, 411), "test": (96, 781)}


def read_all(root, split, **options):
    converter = converters.get("hit-uav", **options)
    found = converter.discover(root, split)
    return found, {item.stem: converter.read(item) for item in found.items}


def item_of(root, index=0, split="train", **options):
    converter = converters.get("hit-uav", **options)
    return converter, converter.discover(root, split).items[index]


def edit_json(path, change):
    tables = json.loads(path.read_text())
    change(tables)
    path.write_text(json.dumps(tables))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("split", GENUINE)
def test_genuine_counts_in_every_layout(genuine, layout, split):
    found, read = read_all(genuine("hit-uav"), split, layout=layout)
    assert (len(read), sum(len(known.objects) for known in read.values())) == GENUINE[split]
    assert found.problems == ()
    assert all(item.image.is_file() for item in found.items)
    assert all(known.declared_size == (640, 512) for known in read.values())


def test_genuine_values_of_one_image(genuine):
    found, read = read_all(genuine("hit-uav"), "train")
    known = read["1_60_80_0_07518"]
    first = known.objects[0]
    assert (first.label, first.category, first.hbb) == ("Bicycle", "bicycle", None)
    assert first.flags["rotated"] == [579.8313, 162.3735, 16.415, 50.4336, 0.457401]
    assert known.metadata == {
        "scenario": "night",
        "altitude_m": 60,
        "camera_angle_deg": 80,
        "weather": "sunny",
        "date": "2021-01-20",
    }
    assert (known.provenance.annotation, known.provenance.original_id) == ("rotate_json/annotations/train.json", "8")
    item = next(item for item in found.items if item.stem == "1_60_80_0_07518")
    assert item.scene == "20210120_1_60_80_0"


def test_genuine_truncated_comes_from_rotate_xml(genuine):
    root = genuine("hit-uav")
    truncated = {
        layout: sum(
            obj.truncated for known in read_all(root, "train", layout=layout)[1].values() for obj in known.objects
        )
        for layout in LAYOUTS
    }
    assert truncated == {"auto": 108, "rotate_json": 0, "normal_json": 0, "normal_xml": 108, "rotate_xml": 108}


def test_genuine_auto_equals_rotate_xml_object_by_object(genuine):
    _, auto = read_all(genuine("hit-uav"), "val")
    _, xml = read_all(genuine("hit-uav"), "val", layout="rotate_xml")
    assert {stem: known.objects for stem, known in auto.items()} == {stem: known.objects for stem, known in xml.items()}


def test_genuine_images_come_from_the_only_folder_that_has_them(genuine):
    found, _ = read_all(genuine("hit-uav"), "val")
    assert "48 images that rotate_json/val lacks were taken from normal_json/val" in found.notes
    assert {item.image.parent.parent.name for item in found.items} == {"normal_json"}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_fake_in_every_layout(fake, layout):
    found, read = read_all(fake("hit-uav"), "train", layout=layout)
    assert found.problems == ()
    assert list(read) == sorted(read) and len(read) == 12
    own = "rotate_json" if layout == "auto" else layout
    assert all(item.image.relative_to(item.image.parents[2]).parts[0] == own for item in found.items)
    assert any(not known.objects for known in read.values())


def test_rotated_boxes_become_canonical_quads(fake):
    _, read = read_all(fake("hit-uav"), "train")
    objects = [obj for known in read.values() for obj in known.objects]
    quads = np.array([obj.quad for obj in objects])
    raw = np.array([obj.flags["rotated"] for obj in objects])
    assert np.allclose(quads, canonical_quad(quad_from_rotated(raw)), atol=1e-4)
    assert (signed_area(quads) > 0).all()
    assert np.allclose(signed_area(quads), raw[:, 2] * raw[:, 3], rtol=1e-3)
    assert all(obj.hbb is None for obj in objects)


def test_normal_boxes_set_hbb_and_quad(fake):
    _, read = read_all(fake("hit-uav"), "train", layout="normal_json")
    for known in read.values():
        for obj in known.objects:
            assert obj.hbb == tuple(hbb_from_quad(obj.quad)[0]) and obj.flags == {}
            assert obj.hbb == tuple(clip_hbb(obj.hbb, 640, 512)[0])


def test_dont_care_is_kept_and_ignored(fake):
    _, read = read_all(fake("hit-uav"), "train")
    objects = [obj for known in read.values() for obj in known.objects]
    ignored = [obj for obj in objects if obj.label == "DontCare"]
    assert ignored and all(obj.ignore and obj.category == "ignored region" for obj in ignored)
    assert not any(obj.ignore for obj in objects if obj.label != "DontCare")
    assert "ignored region" not in converters.get("hit-uav").categories


def test_difficult_is_absent_from_normal_json_only(fake):
    root = fake("hit-uav")
    counts = Counter()
    for layout in LAYOUTS:
        _, read = read_all(root, "train", layout=layout)
        counts[layout] = sum(obj.difficult for known in read.values() for obj in known.objects)
    assert counts["normal_json"] == 0
    assert counts["auto"] == counts["rotate_json"] == counts["normal_xml"] == counts["rotate_xml"] > 0


def test_one_folder_too_high_or_too_deep(fake):
    root = fake("hit-uav")
    high, _ = read_all(root.parent, "val")
    deep, _ = read_all(root / "normal_xml", "val")
    assert len(high.items) == len(deep.items) == 4
    assert "one folder down" in high.notes[0] and "one folder up" in deep.notes[0]


def test_missing_layouts_and_splits_are_user_errors(fake, tmp_path):
    with pytest.raises(UserError, match="is not a folder"):
        read_all(tmp_path / "absent", "train")
    root = fake("hit-uav")
    (root / "rotate_json" / "annotations" / "val.json").unlink()
    with pytest.raises(UserError, match=r"no usable rotate_json for split val; layouts present: rotate_json, normal"):
        read_all(root, "val", layout="rotate_json")
    assert "annotations taken from rotate_xml" in read_all(root, "val")[0].notes


def test_auto_never_passes_off_horizontal_boxes_as_oriented(tmp_path):
    write("hit-uav", tmp_path, images_per_split=2, layouts=["normal_json"])
    with pytest.raises(UserError, match="choose layout=normal_json"):
        read_all(tmp_path, "train")
    assert len(read_all(tmp_path, "train", layout="normal_json")[1]) == 2


def test_a_shared_file_that_cannot_be_read_is_a_user_error(fake):
    root = fake("hit-uav")
    path = root / "rotate_json" / "annotations" / "train.json"
    path.write_bytes(path.read_bytes()[:500] + b"\xff")
    with pytest.raises(UserError, match=r"train.json.*not UTF-8.*offset 500.*another layout"):
        read_all(root, "train")


def test_without_rotate_xml_truncation_is_unknown_and_said(tmp_path):
    write("hit-uav", tmp_path, images_per_split=2, layouts=["rotate_json"])
    found, _ = read_all(tmp_path, "train")
    assert any("rotate_xml is absent" in note for note in found.notes)


def test_a_missing_xml_is_said_and_costs_no_image(fake):
    root = fake("hit-uav")
    next((root / "rotate_xml" / "Annotations").glob("*.xml")).unlink()
    notes = [note for split in GENUINE for note in read_all(root, split)[0].notes]
    assert sum(note.startswith("1 images have no file in rotate_xml") for note in notes) == 1


@pytest.mark.parametrize("layout", ["normal_xml", "rotate_xml", "auto"])
def test_label_file_of_another_image(fake, layout):
    root = fake("hit-uav")
    folder = root / ("rotate_xml" if layout == "auto" else layout) / "Annotations"
    converter, item = item_of(root, layout=layout)
    other = converter.discover(root, "train").items[1].stem
    (folder / f"{item.stem}.xml").write_text((folder / f"{other}.xml").read_text())
    with pytest.raises(BadItem, match="label file of another image") as caught:
        converter.read(item)
    assert caught.value.path == str(folder / f"{item.stem}.xml")


def test_truncation_is_not_taken_from_xml_that_disagrees(fake):
    root = fake("hit-uav")
    path = root / "rotate_json" / "annotations" / "train.json"

    def shift(tables):
        tables["annotations"][0]["bbox"][0] += 1

    edit_json(path, shift)
    read = read_all(root, "train")[1]
    (row,) = [row for known in read.values() for row in known.unread]
    assert "object 0 differs from rotate_json; use layout=rotate_json" in row.reason
    assert "rotate_xml" in row.path and row.line is not None
    whole = read_all(root, "train", layout="rotate_json")[1]
    assert sum(len(known.objects) for known in whole.values()) == 1 + sum(len(known.objects) for known in read.values())


def test_a_row_of_the_xml_that_was_not_understood_costs_its_object(fake):
    root = fake("hit-uav")
    whole = read_all(root, "train")[1]
    stem = next(stem for stem, known in whole.items() if len(known.objects) > 1)
    path = root / "rotate_xml" / "Annotations" / f"{stem}.xml"
    path.write_text(path.read_text().replace("<cx>", "<cx>x", 1))
    known = read_all(root, "train")[1][stem]
    assert known.objects == whole[stem].objects[1:]
    assert [(row.path, "cx is 'x" in row.reason) for row in known.unread] == [(str(path), True)]


@pytest.mark.parametrize("layout", ["normal_xml", "rotate_xml"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: "", "empty file"),
        (lambda text: text.replace("<name>", "<name>Bi", 1), "unknown class 'Bi"),
        (lambda text: "<!DOCTYPE a [<!ENTITY b 'c'>]>" + text, "refused"),
        (lambda text: text[: len(text) // 2], "not XML"),
    ],
)
def test_bad_xml(fake, layout, change, words):
    root = fake("hit-uav")
    converter = converters.get("hit-uav", layout=layout)
    item = next(item for item in converter.discover(root, "train").items if converter.read(item).objects)
    path = item.annotations[0]
    path.write_text(change(path.read_text()))
    try:
        (row,) = converter.read(item).unread
    except BadItem as error:
        row = error
    assert re.search(words, row.reason) and row.path == str(path)


def test_xml_of_the_other_box_kind(fake):
    root = fake("hit-uav")
    converter = converters.get("hit-uav", layout="normal_xml")
    item = next(item for item in converter.discover(root, "train").items if converter.read(item).objects)
    other = root / "rotate_xml" / "Annotations" / item.annotations[0].name
    item.annotations[0].write_text(other.read_text())
    with pytest.raises(BadItem, match="of normal_xml has no <bndbox>"):
        converter.read(item)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("bbox", [1, 2, 3], "3\\], 5 numbers are expected"),
        ("bbox", [1, 2, 3, 4, None], "a finite number is expected"),
        ("bbox", [1, 2, -1, 4, 0], "positive width and height"),
        ("category_id", 17, "of which the file has no name"),
        ("difficult", "maybe", "true or false is expected"),
    ],
)
def test_bad_json_objects_cost_themselves_only(fake, field, value, words):
    root = fake("hit-uav")

    def damage(tables):
        tables["annotations"][0][field] = value

    edit_json(root / "rotate_json" / "annotations" / "train.json", damage)
    converter = converters.get("hit-uav", layout="rotate_json")
    (row,) = [row for item in converter.discover(root, "train").items for row in converter.read(item).unread]
    assert re.search(words, row.reason)


def test_rows_and_images_without_a_partner_are_problems(fake):
    root = fake("hit-uav")

    def damage(tables):
        tables["annotations"][0]["image_id"] = 9999
        tables["images"][3]["filename"] = "../../../secret.jpg"

    edit_json(root / "rotate_json" / "annotations" / "train.json", damage)
    (root / "rotate_json" / "train" / "0_60_30_0_99999.jpg").touch()
    found, _ = read_all(root, "train", layout="rotate_json")
    reasons = " | ".join(reason for _, reason in found.problems)
    assert len(found.items) == 11
    assert ["names image 9999" in reason for _, reason in found.unread_rows] == [True]
    assert "'../../../secret.jpg' is not a plain name" in reasons
    # The image whose row lost its name, and the stray one.
    assert reasons.count("no annotation file names this image") == 2


def test_an_image_that_no_layout_has_is_a_problem(fake):
    root = fake("hit-uav")
    stem = item_of(root)[1].stem
    for path in root.rglob(f"{stem}.jpg"):
        path.unlink()
    found, _ = read_all(root, "train")
    assert len(found.items) == 11
    assert [reason for _, reason in found.problems] == [
        f"image {stem}.jpg is listed but is in no layout's image folder"
    ]


def test_an_image_is_borrowed_from_a_sibling_layout(fake):
    root = fake("hit-uav")
    _, item = item_of(root)
    item.image.unlink()
    found, _ = read_all(root, "train")
    assert len(found.items) == 12 and found.problems == ()
    assert "1 images that rotate_json/train lacks were taken from normal_json/train" in found.notes


def test_list_files_never_lead_out_of_the_root(fake):
    root = fake("hit-uav")
    listed = root / "rotate_xml" / "ImageSets" / "Main" / "train.txt"
    stems = listed.read_text().split()
    listed.write_text("\n".join([*stems, "../../x", "/etc/passwd", "absent", stems[0]]) + "\n")
    found, _ = read_all(root, "train", layout="rotate_xml")
    reasons = [reason for _, reason in found.problems]
    assert len(found.items) == 12
    assert sum("is not a plain name" in reason for reason in reasons) == 2
    assert any("line 15: absent has no XML" in reason for reason in reasons)
    assert any("line 16" in reason and "listed twice" in reason for reason in reasons)


def test_strays_of_the_shared_image_folder_concern_the_whole_set(fake):
    root = fake("hit-uav")
    (root / "normal_xml" / "JPEGImages" / "0_60_30_0_99999.jpg").touch()
    found = [read_all(root, split, layout="normal_xml")[0] for split in GENUINE]
    assert [len(one.problems) for one in found] == [0, 0, 0]
    assert [len(one.shared_problems) for one in found] == [1, 1, 1]


def test_discover_opens_no_image(fake):
    root = fake("hit-uav")
    for path in root.rglob("*.jpg"):
        path.write_bytes(b"no image")
    assert len(read_all(root, "train")[1]) == 12


def test_items_hold_plain_values_and_angle_stays_raw(fake):
    _, item = item_of(fake("hit-uav"))
    assert json.loads(json.dumps(item.payload))["layout"] == "rotate_json"
    angles = [row["bbox"][4] for row in item.payload["rows"]]
    assert all(0 <= angle <= math.pi for angle in angles)
