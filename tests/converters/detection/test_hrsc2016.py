import math

import numpy as np
import pytest

import converters
from converters.detection.hrsc2016 import parse_hrsc
from mmrs.errors import BadItem, UserError

# The real 100000001.xml, shortened.
QUOTED = """<HRSC_Image>
  <Img_ID>100000001</Img_ID> <Img_FileName>100000001</Img_FileName> <Img_FileFmt>bmp</Img_FileFmt>
  <Img_Date>2014-07-01</Img_Date> <Img_SizeWidth>1166</Img_SizeWidth> <Img_SizeHeight>753</Img_SizeHeight>
  <Img_Resolution>1.07</Img_Resolution> <Img_Rotation>090d</Img_Rotation> <Annotated>1</Annotated>
  <HRSC_Objects>
    <HRSC_Object>
      <Object_ID>100000001</Object_ID> <Class_ID>100000013</Class_ID> <Object_NO>100000001</Object_NO>
      <truncated>0</truncated> <difficult>0</difficult>
      <box_xmin>194</box_xmin> <box_ymin>243</box_ymin> <box_xmax>972</box_xmax> <box_ymax>507</box_ymax>
      <mbox_cx>582.9349</mbox_cx> <mbox_cy>353.2006</mbox_cy> <mbox_w>778.1303</mbox_w> <mbox_h>174.2541</mbox_h>
      <mbox_ang>-0.2144308</mbox_ang>
      <segmented>0</segmented> <seg_color></seg_color> <header_x>964</header_x> <header_y>290</header_y>
    </HRSC_Object>
  </HRSC_Objects>
</HRSC_Image>
"""


def read_all(root, split="train", **options):
    converter = converters.get("hrsc2016", **options)
    found = converter.discover(root, split)
    return found, {item.stem: converter.read(item) for item in found.items}


def put(root, text):
    (root / "FullDataSet" / "Annotations" / "100000001.xml").write_text(text)


def test_quoted_file(fake):
    root = fake("hrsc2016")
    put(root, "\ufeff" + QUOTED)
    known = read_all(root, names="type")[1]["100000001"]
    (obj,) = known.objects
    assert (obj.label, obj.category, obj.hbb) == ("100000013", "Kuznetsov", (194, 243, 972, 507))
    assert known.declared_size == (1166, 753) and known.metadata == {"date": "2014-07-01", "gsd_m": 1.07}
    assert obj.flags["bow"] == [964, 290]
    # The bow lies at the end of the long axis, which a wrong sign of the angle would turn away from it.
    cx, cy, width, _, angle = obj.flags["rotated"]
    end = np.array([cx + math.cos(angle) * width / 2, cy + math.sin(angle) * width / 2])
    assert np.linalg.norm(end - obj.flags["bow"]) < 25
    assert min(np.linalg.norm(np.array(obj.quad) - obj.flags["bow"], axis=1)) < 110


def test_one_category_or_types(fake):
    root = fake("hrsc2016")
    assert {obj.category for known in read_all(root)[1].values() for obj in known.objects} == {"ship"}
    assert converters.get("hrsc2016").categories == ("ship",)
    kinds = {obj.category for known in read_all(root, names="type")[1].values() for obj in known.objects}
    assert len(kinds) > 1 and kinds <= set(converters.get("hrsc2016", names="type").categories)


def test_no_category_holds_a_drawing():
    assert not any(set(name) & set("[]()|=<>;") for name in converters.facts("hrsc2016").categories)


def test_images_without_ships_and_unlisted_ones(fake):
    found, read = read_all(fake("hrsc2016"))
    assert read["100000003"].objects == () and len(read) == 3
    assert found.problems == ()
    assert found.notes == (
        "1 images are named by no list and belong to no split",
        "1 label files are named by no list and belong to no split",
    )


def test_train_and_test_folders_instead_of_the_whole(fake):
    root = fake("hrsc2016")
    (root / "FullDataSet").rename(root / "Train")
    for kind in ("AllImages", "Annotations"):
        (root / "Test" / kind).mkdir(parents=True)
        for path in (root / "Train" / kind).glob("10000000[678].*"):
            path.rename(root / "Test" / kind / path.name)
    assert [len(read_all(root, split)[1]) for split in ("train", "val", "test")] == [3, 2, 3]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("<mbox_ang>-0.2144308</mbox_ang>", "", "without <mbox_ang>"),
        ("<Class_ID>100000013</Class_ID>", "", "object without <Class_ID>"),
        ("<mbox_w>778.1303</mbox_w>", "<mbox_w>-1</mbox_w>", "positive width"),
        ("<Annotated>1</Annotated>", "<Annotated>0</Annotated>", "not annotated"),
        ("HRSC_Image>", "annotation>", "<HRSC_Image> expected"),
        ("<box_xmin>194</box_xmin>", "<box_xmin>x</box_xmin>", "box_xmin is 'x'"),
    ],
)
def test_bad_files(old, new, words):
    changed = QUOTED.replace(old, new).encode()
    if "HRSC_Object" in words or words in ("not annotated", "<HRSC_Image> expected"):
        with pytest.raises(BadItem, match=words):
            parse_hrsc(changed, "x.xml")
        return
    parsed = parse_hrsc(changed, "x.xml")
    assert parsed.objects == () and [words in row.reason for row in parsed.unread] == [True]


def test_unknown_class_number_and_other_image(fake):
    root = fake("hrsc2016")
    put(root, QUOTED.replace("100000013", "100000021"))
    unread = [row.reason for known in read_all(root)[1].values() for row in known.unread]
    assert len(unread) == 1 and "unknown class '100000021'" in unread[0]
    put(root, QUOTED.replace("<Img_FileName>100000001", "<Img_FileName>100000002"))
    with pytest.raises(BadItem, match="label file of another image"):
        read_all(root)


def test_missing_lists(fake):
    root = fake("hrsc2016")
    (root / "ImageSets" / "val.txt").unlink()
    with pytest.raises(UserError, match=r"has no ImageSets/val.txt"):
        read_all(root, "val")


def test_evaluation_only():
    assert converters.facts("hrsc2016").evaluation_only
