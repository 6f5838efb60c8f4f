"""Damaged bytes may cost an item, never a crash: every parser raises `BadItem` or returns."""

import contextlib
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from converters.formats.captions import parse_captions
from converters.formats.coco import bbox, parse_coco
from converters.formats.dota import parse_dota
from converters.formats.voc import parse_voc
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
