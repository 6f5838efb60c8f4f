import json

import pytest

from converters.detection.hit_uav import layouts
from converters.detection.hit_uav.converter import HitUav
from converters.samples import write
from mmrs.errors import UserError


def compare(root, split):
    return layouts.compare_layouts(root, split, lambda layout, part: HitUav(layout).discover(root, part).items)


@pytest.mark.parametrize(("split", "images", "objects"), [("train", 240, 2125), ("val", 48, 411), ("test", 96, 781)])
def test_genuine_layouts_agree(genuine, split, images, objects):
    report = compare(genuine("hit-uav"), split)
    layouts = ("rotate_json", "normal_json", "normal_xml", "rotate_xml")
    assert report.images == dict.fromkeys(layouts, images) and report.objects == dict.fromkeys(layouts, objects)
    assert report.disagreements == ()
    for edges in report.edges:
        assert edges.boxes == objects and edges.floored_edges_share == 1.0
        # Rounding of the file's four decimals puts some extents just below a whole number.
        assert edges.least_below_px > -1e-4 and edges.greatest_below_px < 1
        assert 0.93 < edges.mean_iou < 0.95 and edges.least_iou > 0.6


def test_fake_layouts_agree(fake):
    root = fake("hit-uav")
    for split in ("train", "val", "test"):
        assert compare(root, split).disagreements == ()


def edit(path, change):
    text = path.read_text()
    changed = change(text)
    assert changed != text
    path.write_text(changed)


@pytest.mark.parametrize(
    ("layout", "change", "expected"),
    [
        ("rotate_xml", lambda t: t.replace("<truncated>1<", "<truncated>0<", 1),
         {"normal_xml against rotate_xml: truncated": 1}),
        ("rotate_xml", lambda t: t.replace("<difficult>1<", "<difficult>0<", 1),
         {"rotate_xml against rotate_json: difficult": 1, "normal_xml against rotate_xml: difficult": 1}),
        ("rotate_xml", lambda t: t.replace("<angle>", "<angle>1", 1), {"rotate_xml against rotate_json: angle": 1}),
        ("normal_xml", lambda t: t.replace("<xmax>", "<xmax>1", 1),
         {"normal_xml against rotate_json: xmax": 1, "normal_xml against normal_json: xmax": 1}),
        ("normal_xml", lambda t: t[: t.index("<object>")] + t[t.index("</object>") + 9 :], None),
        ("normal_xml", lambda t: t[:100], None),
    ],
)  # fmt: skip
def test_a_planted_disagreement_is_found(fake, layout, change, expected):
    root = fake("hit-uav")
    first = json.loads((root / "rotate_json" / "annotations" / "train.json").read_text())["images"][0]["filename"]
    edit(root / layout / "Annotations" / first.replace(".jpg", ".xml"), change)
    report = compare(root, "train")
    assert {row.stem for row in report.disagreements} == {first.removesuffix(".jpg")}
    if expected is None:
        assert any("missing" in key or "unreadable" in key for key in report.counts)
    else:
        assert report.counts == expected


def test_a_missing_object_is_found_from_either_side(fake):
    root = fake("hit-uav")
    path = root / "normal_json" / "annotations" / "train.json"
    tables = json.loads(path.read_text())
    tables["annotation"].pop()
    path.write_text(json.dumps(tables))
    counts = compare(root, "train").counts
    assert counts == {
        "normal_json against rotate_json: missing object": 1,
        "normal_xml against normal_json: missing object": 1,
    }


def test_report_is_plain_values(fake):
    report = compare(fake("hit-uav"), "val").to_dict()
    assert json.loads(json.dumps(report))["counts"] == {}


def test_there_must_be_something_to_compare(tmp_path):
    write("hit-uav", tmp_path, images_per_split=1, layouts=["rotate_json"])
    with pytest.raises(UserError, match="needs rotate_json and another layout"):
        compare(tmp_path, "train")


def test_layouts_one_folder_down_are_compared(tmp_path):
    write("hit-uav", tmp_path / "unpacked", images_per_split=1)
    assert compare(tmp_path, "train").images == compare(tmp_path / "unpacked", "train").images
