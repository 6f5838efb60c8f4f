"""Damaged bytes may cost an item, never a crash: every parser raises `BadItem` or returns."""

import contextlib
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from converters.formats.captions import parse_captions, parse_class_captions
from converters.formats.coco import bbox, parse_coco
from converters.formats.dota import parse_dota
from converters.formats.labels import parse_labels
from converters.formats.sample_tables import parse_sample_table
from converters.formats.voc import parse_voc
from converters.formats.vqa import parse_floodnet, parse_question_lines, parse_question_text, parse_rsvqa
from mmrs.errors import BadItem

VOC = b"""<annotation><folder>f</folder><filename>a.jpg</filename>
<size><width>640</width><height>512</height></size>
<object><name>Car</name><truncated>0</truncated><difficult>0</difficult>
<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox></object>
<object><name>Bus</name><robndbox><cx>1</cx><cy>2</cy><w>3</w><h>4</h><angle>0.5</angle></robndbox></object>
</annotation>"""
DOTA = b"imagesource:GF\r\ngsd:None\r\n1 2 3 2 3 4 1 4 plane 0\r\n5.5 6 7 6 7 8 5 8 ship 2\r\n"
COCO = json.dumps(
    {
        "images": [{"id": 0, "filename": "a.jpg", "width": 6, "height": 5}, {"id": 1, "filename": "b.jpg"}],
        "categories": [{"id": 0, "name": "Car"}],
        "annotations": [{"id": 1, "image_id": 0, "category_id": 0, "bbox": [1, 2, 3, 4.5, 0.5]}],
    }
).encode()
CAPTIONS = json.dumps(
    {"dataset": "x", "images": [{"filename": "a.jpg", "imgid": 0, "split": "test", "sentences": [{"raw": "a ."}]}]}
).encode()


@st.composite
def damaged(draw, original: bytes) -> bytes:
    data = bytearray(original)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 12))
        pieces = st.sampled_from([b"", b"NaN", b"-1e999", b"null", b"[]", b'""', b"</", b"\xff", b"\0", b"&x;", b"-"])
        data[start : start + length] = draw(pieces | st.binary(max_size=6))
    return bytes(data[: draw(st.integers(0, len(data)))]) if draw(st.booleans()) else bytes(data)


@settings(max_examples=150, deadline=None)
@given(damaged(VOC))
def test_voc(data):
    with contextlib.suppress(BadItem):
        for obj in parse_voc(data, "x").objects:
            assert (obj.box is None) != (obj.rotated is None)


@settings(max_examples=150, deadline=None)
@given(damaged(DOTA))
def test_dota(data):
    with contextlib.suppress(BadItem):
        assert all(len(obj.corners) == 8 for obj in parse_dota(data, "x", ("plane", "ship")).objects)


@settings(max_examples=150, deadline=None)
@given(damaged(b"image_path,label_path,split\r\nImages/a.jpg,Annotations/a.xml,train\r\nImages/b.jpg,,test\r\n"))
def test_sample_tables(data):
    with contextlib.suppress(BadItem):
        assert all(row.line > 1 for row in parse_sample_table(data, "x"))


@settings(max_examples=150, deadline=None)
@given(damaged(COCO))
def test_coco(data):
    with contextlib.suppress(BadItem):
        for image in parse_coco(data, "x").images:
            for row in image.rows:
                bbox(row, 5, "x")


@settings(max_examples=150, deadline=None)
@given(damaged(CAPTIONS))
def test_captions(data):
    with contextlib.suppress(BadItem):
        for image in parse_captions(data, "x").images:
            assert all(isinstance(text, str) for text in image.raw)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["images", "annotations", "categories", "id", "image_id", "filename", "bbox", "width", "height",
                         "name", "category_id", "sentences", "raw", "split"]),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(JSON)
def test_json_of_any_shape(value):
    data = json.dumps(value).encode()
    for parse in (parse_coco, parse_captions):
        with contextlib.suppress(BadItem):
            parse(data, "x")


CLASS_CAPTIONS = b'{"beach": [{"filename": "a.jpg", "imgid": 3, "split": "test", "raw": "a .", "raw_1": "b ."}]}'
LABELS = "class,label\r\n吉_1.bmp,civil\r\nb.bmp,'a'\r\n".encode()
LINES = b"00001: how many ships?1\n1.tif:What is it?a port \n"
TEXT = "What theme？\r\nport\r\nHow many?\r\n3\r\n".encode()
FLOODNET = b'{"0": {"Image_ID": "1.JPG", "Question": "How many?", "Ground_Truth": 3, "Question_Type": "x"}}'
TABLES = (
    b'{"images": [{"id": 0, "active": false}, {"id": 1}]}',
    b'{"questions": [{"id": 4, "img_id": 1, "type": "count", "question": "How many?", "answers_ids": [6]}]}',
    b'{"answers": [{"id": 6, "answer": "3", "active": true}]}',
)


@settings(max_examples=150, deadline=None)
@given(damaged(CLASS_CAPTIONS), damaged(LABELS))
def test_class_captions_and_labels(captions, labels):
    with contextlib.suppress(BadItem):
        assert all(image.raw for image in parse_class_captions(captions, "x").images)
    with contextlib.suppress(BadItem):
        assert all(name and label for name, label in parse_labels(labels, "x").labels.items())


@settings(max_examples=150, deadline=None)
@given(damaged(LINES), damaged(TEXT), damaged(FLOODNET))
def test_questions(lines, text, floodnet):
    for parse, data in ((parse_question_lines, lines), (parse_floodnet, floodnet)):
        with contextlib.suppress(BadItem):
            assert all(one.question and one.answer for asked in parse(data, "x").images.values() for one in asked)
    with contextlib.suppress(BadItem):
        assert all(one.question and one.answer for one in parse_question_text(text, "x")[0])


@settings(max_examples=150, deadline=None)
@given(st.tuples(*(damaged(table) for table in TABLES)))
def test_question_tables(tables):
    with contextlib.suppress(BadItem):
        assert all(one.answer for asked in parse_rsvqa(*tables, "x").images.values() for one in asked)


QUESTION_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["images", "questions", "answers", "id", "img_id", "answers_ids", "answer", "question",
                         "active", "type", "Image_ID", "Question", "Ground_Truth", "filename", "split", "raw",
                         "raw_1"]),
        inner,
        max_size=5,
    ),
    max_leaves=14,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(QUESTION_JSON)
def test_question_json_of_any_shape(value):
    data = json.dumps(value).encode()
    for parse in (parse_floodnet, parse_class_captions):
        with contextlib.suppress(BadItem):
            parse(data, "x")
    with contextlib.suppress(BadItem):
        parse_rsvqa(data, data, data, "x")
