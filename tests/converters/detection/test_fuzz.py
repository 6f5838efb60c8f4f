"""Damaged label files of the detection sources may cost an item, never a crash."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converters.detection import fair1m, hrsc2016, mar20, nwpu_vhr10, rsod, ucas_aod, visdrone
from converters.formats.objects import annotated, labelled
from converters.formats.voc import parse_voc
from mmrs.errors import BadItem

LABELS = ("ship", "car")
CLASSES = {"ship": "ship", "car": "car", "100000001": "ship"}
CORNERS = "".join(
    f"<x_{place}>{x}</x_{place}><y_{place}>{y}</y_{place}>"
    for place, x, y in (("left_top", 1, 2), ("right_top", 5, 2), ("right_bottom", 5, 9), ("left_bottom", 1, 9))
)
OBJECT = f"<object><name>ship</name><difficult>0</difficult><robndbox>{CORNERS}</robndbox><angle>0</angle></object>"
BOX = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox>"
HRSC = {name: "1" for name in (*hrsc2016.EDGES[:2], *hrsc2016.ROTATED)} | dict.fromkeys(hrsc2016.EDGES[2:], "9")
HRSC_OBJECT = "".join(f"<{tag}>{value}</{tag}>" for tag, value in HRSC.items())
RING = "".join(f"<point>{point}</point>" for point in ("1,2", "5,2", "5,9", "1,9", "1,2"))

PARSERS = {
    "corners": (f"<annotation>{OBJECT}</annotation>", lambda data: parse_voc(data, "x").objects),
    "description": (
        f"<annotation><object><name>ship</name>{BOX}<description>A ship</description></object></annotation>",
        lambda data: parse_voc(data, "x").objects,
    ),
    "fair1m": (
        "<annotation><size><width>9</width><height>9</height></size><objects><object><possibleresult><name>ship</name>"
        f"</possibleresult><points>{RING}</points></object></objects></annotation>",
        lambda data: fair1m.parse_fair1m(data, "x").objects,
    ),
    "hrsc2016": (
        "<HRSC_Image><Img_Resolution>1.07</Img_Resolution><HRSC_Objects><HRSC_Object><Class_ID>100000001</Class_ID>"
        f"{HRSC_OBJECT}<header_x>4</header_x><header_y>5</header_y></HRSC_Object></HRSC_Objects></HRSC_Image>",
        lambda data: hrsc2016.parse_hrsc(data, "x").objects,
    ),
    "nwpu-vhr10": ("(1,2),(3,4),1 \r\n(5,6),(7,8),2 \r\n", lambda data: nwpu_vhr10.parse_nwpu_vhr10(data, "x", LABELS)),
    "rsod": ("a.jpg\tship\t1\t2\t3\t4\n", lambda data: rsod.parse_rsod(data, "x", "a")),
    "ucas-aod": (
        "1e0\t1\t2\t1\t2\t2\t1\t2\t90\t1\t1\t2\t2\t\n",
        lambda data: ucas_aod.parse_ucas_aod(data, "x", "car"),
    ),
    "visdrone": ("1,2,3,4,1,1,0,0\n5,6,7,8,0,0,0,0,\n", lambda data: visdrone.parse_visdrone(data, "x", LABELS)),
}  # fmt: skip


@st.composite
def damage(draw):
    """Cuts and insertions as fractions of the length, so that one strategy serves every file."""
    pieces = st.sampled_from([b"", b"NaN", b"-1e999", b"</", b"\xff", b"\0", b"&x;", b"-", b",", b"(", b"\n"])
    cut = st.tuples(st.floats(0, 1), st.integers(0, 12), pieces | st.binary(max_size=6))
    return draw(st.lists(cut, min_size=1, max_size=4))


def apply(data: bytes, cuts) -> bytes:
    changed = bytearray(data)
    for where, length, piece in cuts:
        start = int(where * len(changed))
        changed[start : start + length] = piece
    return bytes(changed)


@pytest.mark.parametrize("name", PARSERS)
def test_the_undamaged_file_is_read(name):
    text, parse = PARSERS[name]
    assert annotated([labelled(parse(text.encode()), CLASSES, "x")])[0]


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=120, deadline=None)
@given(cuts=damage())
def test_damaged_files(name, cuts):
    text, parse = PARSERS[name]
    with contextlib.suppress(BadItem):
        annotated([labelled(parse(apply(text.encode(), cuts)), CLASSES, "x")])[0]


@settings(max_examples=120, deadline=None)
@given(cuts=damage())
def test_mending_never_crashes(tmp_path_factory, cuts):
    path = tmp_path_factory.getbasetemp() / "mended.xml"
    text = PARSERS["corners"][0].replace("</x", "").replace("</y", "")
    path.write_bytes(apply(text.encode(), cuts))
    with contextlib.suppress(BadItem):
        mar20._read(path)
