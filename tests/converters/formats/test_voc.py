import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.formats import voc as voc_module
from converters.formats.voc import check_names_image, parse_voc
from mmrs.errors import BadItem
from mmrs.record import UnreadRow

BOX = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40.5</ymax></bndbox>"
ROTATED = "<robndbox><cx>10</cx><cy>11</cy><w>4</w><h>6</h><angle>0.5</angle></robndbox>"

CORNERS = {
    "left_top": (("x", 5), ("y", 0)),
    "right_top": (("x", 10), ("y", 5)),
    "right_bottom": (("x", 5), ("y", 10)),
    "left_bottom": (("x", 0), ("y", 5)),
}


def annotation(inner: str) -> bytes:
    return f"<annotation>\n<filename>a.jpg</filename>\n{inner}\n</annotation>".encode()


def voc_object(inner: str) -> bytes:
    return annotation(f"<object>\n<name>Car</name>{inner}</object>")


def test_horizontal_and_rotated_objects():
    voc = parse_voc(
        annotation(
            f"<size><width>64</width><height>51</height></size><object><name>Car</name><difficult>1</difficult>{BOX}"
            f"</object>\n<object><name>Bus</name><truncated>1</truncated>{ROTATED}</object>"
        ),
        "a.xml",
    )
    first, second = voc.objects
    assert voc.size == (64, 51) and voc.filename == "a.jpg"
    assert (first.label, first.box, first.rotated) == ("Car", (1, 2, 30, 40.5), None)
    assert (first.difficult, first.truncated, first.line) == (True, False, 3)
    assert (second.rotated, second.box, second.truncated, second.line) == ((10, 11, 4, 6, 0.5), None, True, 4)


def test_an_image_without_objects_and_size():
    voc = parse_voc(b"<?xml version='1.0' encoding='utf-8'?><annotation/>", "a.xml")
    assert (voc.objects, voc.size, voc.filename) == ((), None, None)


def test_chinese_text_and_crlf():
    voc = parse_voc("<annotation>\r\n<folder>图像</folder>\r\n</annotation>".encode(), "a.xml")
    assert voc.folder == "图像"


@pytest.mark.parametrize(
    ("inner", "words"),
    [
        ("", "neither of <bndbox> and <robndbox>"),
        (BOX.replace("<xmin>1</xmin>", ""), "<bndbox> without <xmin>"),
        (BOX.replace(">1<", "><"), "<bndbox> without <xmin>"),
        (BOX.replace(">1<", ">one<"), "xmin is 'one'"),
        (BOX.replace(">1<", ">nan<"), "xmin is 'nan'"),
        (BOX.replace(">1<", ">inf<"), "xmin is 'inf'"),
        (BOX.replace(">1<", ">1e300<"), "beyond"),
        (BOX.replace(">1<", ">31<"), "inverted"),
        (ROTATED.replace(">4<", ">-4<"), "positive width and height"),
        (ROTATED.replace(">0.5<", ">-<"), "angle is '-'"),
        ("<difficult>maybe</difficult>" + BOX, "difficult is 'maybe'"),
    ],
)
def test_bad_objects_name_path_and_line(inner, words):
    (row,) = parse_voc(voc_object(inner), "some/a.xml").unread
    assert words in row.reason and (row.path, row.line) == ("some/a.xml", 3)


BESIDE = "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>"
# The rotated box is 4 x 6 about (10, 11), turned by 0.5 radians: its extent is 6.4 x 7.2 pixels.
EXTENT, UNTURNED, ELSEWHERE = (6.8, 7.4, 13.2, 14.6), (8, 8, 12, 14), (30, 7, 36, 14)


def test_of_two_boxes_the_oriented_one_is_the_place_and_the_other_its_extent():
    (obj,) = parse_voc(voc_object(BESIDE.format(*EXTENT) + ROTATED), "a.xml").objects
    assert (obj.rotated, obj.box) == ((10, 11, 4, 6, 0.5), EXTENT)
    corners = "".join(f"<{axis}_{place}>{v}</{axis}_{place}>" for place, xy in CORNERS.items() for axis, v in xy)
    (obj,) = parse_voc(voc_object(BESIDE.format(0, 0, 9, 9) + f"<robndbox>{corners}</robndbox>"), "a.xml").objects
    assert obj.corners == (5, 0, 10, 5, 5, 10, 0, 5) and obj.box == (0, 0, 9, 9)


def test_a_bndbox_that_is_the_oriented_box_unturned_is_no_extent():
    (obj,) = parse_voc(voc_object(BESIDE.format(*UNTURNED) + ROTATED), "a.xml").objects
    assert (obj.rotated, obj.box) == ((10, 11, 4, 6, 0.5), None)


@pytest.mark.parametrize(
    ("inner", "words"),
    [
        (BESIDE.format(*ELSEWHERE) + ROTATED, "in different places (IoU 0.00)"),
        (BESIDE.format(13, 7, 6, 14) + ROTATED, "inverted"),
        (BESIDE.format(*EXTENT) + ROTATED.replace(">6<", ">-6<"), "positive width"),
    ],
)
def test_two_boxes_that_contradict_each_other_are_a_row_that_was_not_understood(inner, words):
    voc = parse_voc(voc_object(inner), "a.xml")
    assert voc.objects == () and [words in row.reason for row in voc.unread] == [True]


def test_object_without_name():
    good = f"<object><name>ship</name>{BOX}</object>"
    voc = parse_voc(annotation(f"<object>{BOX}</object>{good}"), "a.xml")
    assert [isinstance(row, UnreadRow) for row in voc.rows] == [True, False]
    assert "without <name>" in voc.unread[0].reason and voc.objects == voc.rows[1:]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty file"),
        (b" \n", "empty file"),
        (b"not xml", "not XML"),
        (b"<annotation>\n<object>\n</annotation>", "not XML"),
        (b"<html></html>", "<annotation> expected"),
        (b"<annotation>\xff</annotation>", "byte 0xff at offset 12"),
        (b"<annotation>\0</annotation>", "not XML"),
        (b"<annotation><size><width>-1</width><height>2</height></size></annotation>", "negative"),
    ],
)
def test_bad_files(data, words):
    with pytest.raises(BadItem, match=words):
        parse_voc(data, "a.xml")


def test_entity_bomb_is_refused():
    entities = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    bomb = f'<!DOCTYPE annotation [<!ENTITY l0 "lol">{entities}]><annotation><folder>&l9;</folder></annotation>'
    with pytest.raises(BadItem, match="refused"):
        parse_voc(bomb.encode(), "bomb.xml")


def test_external_entity_is_refused():
    data = b'<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><annotation><folder>&e;</folder></annotation>'
    with pytest.raises(BadItem, match="refused"):
        parse_voc(data, "a.xml")


def test_deep_nesting_does_not_crash():
    data = b"<annotation>" + b"<a>" * 50_000 + b"</a>" * 50_000 + b"</annotation>"
    assert parse_voc(data, "deep.xml").objects == ()


@pytest.mark.parametrize(
    "filename", ["1_60_80_0_07518", "1_60_80_0_07518.jpg", "D:\\x\\1_60_80_0_07518.jpg", "v1.5.jpg"]
)
def test_label_file_of_the_image(filename):
    voc = parse_voc(f"<annotation><filename>{filename}</filename></annotation>".encode(), "x")
    check_names_image(voc, "v1.5" if filename.startswith("v") else "1_60_80_0_07518", "x")
    with pytest.raises(BadItem, match="label file of another image"):
        check_names_image(voc, "1_60_80_0_07519", "x")


_TEXTS = st.sampled_from(["1", "0", "2.5", "-3", "1e2", " 4 ", "", "nan", "x", "+7", "9999999", "1_0", "\u0663", "."])
_FLAGS = st.sampled_from(["", "<difficult>0</difficult>", "<difficult>1</difficult>", "<truncated> 1 </truncated>"])
_OTHERS = st.sampled_from(
    ["", "<pose>Left</pose>", "<angle>3</angle>", "<rotation>30</rotation>", "<x/>", "<name>B</name>"]
)
_PLAIN = (
    "<object><name>B</name><truncated>1</truncated>"
    "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox></object>"
)


@given(st.lists(_TEXTS, min_size=8, max_size=8), st.sampled_from(["bndbox", "robndbox", "corners"]), _FLAGS, _OTHERS)
def test_ordinary_objects_are_read_as_all_others_are(texts, kind, flag, other):
    tags = {"bndbox": voc_module._EDGES, "robndbox": voc_module._ROTATED, "corners": voc_module._CORNERS}[kind]
    inner = "".join(f"<{tag}>{text}</{tag}>" for tag, text in zip(tags, texts, strict=False))
    box = "robndbox" if kind == "corners" else kind
    one = f"<object><name>A</name><{box}>{inner}</{box}>{flag}{other}</object>"
    data = f"<annotation>{_PLAIN}{one}{_PLAIN}</annotation>".encode()
    found = parse_voc(data, "a.xml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(voc_module, "_ordinary_objects", lambda nodes, lines: [None] * len(nodes))
        assert found == parse_voc(data, "a.xml")
