import base64
import io
import json
import zlib

import numpy as np
import pytest
from PIL import Image

from converters.formats.supervisely import parse_supervisely
from mmrs.errors import BadItem


def parsed(*objects, width=96, height=64, **keys):
    content = {"size": {"width": width, "height": height}, "objects": list(objects), "tags": []} | keys
    return parse_supervisely(json.dumps(content).encode(), "a.json")


def outline(kind, *points):
    return {
        "classTitle": "ship",
        "geometryType": kind,
        "points": {"exterior": [list(p) for p in points], "interior": []},
    }


def packed(pixels, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", **options)
    return base64.b64encode(zlib.compress(buffer.getvalue())).decode()


def bitmap(data, origin=(0, 0)):
    return {"classTitle": "ship", "geometryType": "bitmap", "bitmap": {"data": data, "origin": list(origin)}}


def boxes(known):
    assert known.unread == ()
    return [thing.box for thing in known.objects]


def test_whole_numbers_are_pixels_and_fractions_are_places():
    known = parsed(
        outline("rectangle", (1, 2), (9, 19)),
        outline("rectangle", (1.0, 2.5), (9.0, 19.0)),
        outline("polygon", (5, 0), (9, 4), (5, 8), (1, 4)),
    )
    assert boxes(known) == [(1, 2, 10, 20), (1, 2.5, 9, 19), (1, 0, 10, 9)]


@pytest.mark.parametrize("mode", ["bool", "grey", "rgba"])
def test_bitmaps_of_every_mode(mode):
    """The box of a mask is that of its pixels, wherever they lie in the bitmap: numpy is the oracle."""
    is_set = np.zeros((20, 30), dtype=bool)
    is_set[3:9, 5:12] = True
    is_set[8, 20] = True
    pixels = {"bool": is_set, "grey": is_set.astype(np.uint8) * 255}.get(mode)
    if pixels is None:
        pixels = np.zeros((20, 30, 4), dtype=np.uint8)
        pixels[..., :3], pixels[..., 3] = 255, is_set * 255
    (box,) = boxes(parsed(bitmap(packed(pixels), (10, 7))))
    rows, columns = np.nonzero(is_set)
    assert box == (columns.min() + 10, rows.min() + 7, columns.max() + 11, rows.max() + 8)


def test_a_bitmap_on_its_edge_has_its_own_rectangle():
    """A diagonal strip: the rectangle of least area is smaller than the extent by far."""
    is_set = np.eye(40, dtype=bool)
    (thing,) = parsed(bitmap(packed(is_set))).objects
    x, y = np.array(thing.corners).reshape(4, 2).T
    area = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
    assert thing.box == (0, 0, 40, 40) and area < 100


PNG = base64.b64decode(packed(np.ones((4, 4), dtype=bool)))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("?", "cannot be unpacked"),
        (base64.b64encode(b"plain").decode(), "cannot be unpacked"),
        (base64.b64encode(zlib.compress(b"no picture")).decode(), "no PNG"),
        (base64.b64encode(PNG[:-9]).decode(), "breaks off"),
        (base64.b64encode(zlib.compress(zlib.decompress(PNG)[:40])).decode(), "no known format"),
        (base64.b64encode(zlib.compress(bytes(5_000_000))).decode(), "unpacks to more than its image has"),
        ("A" * 200_000, "larger than its image"),
        (packed(np.ones((65, 4), dtype=bool)), "larger than its image"),
        (packed(np.ones((3000, 3000), dtype=bool)), "more than the limit|unpacks to more"),
        (packed(np.zeros((4, 4), dtype=bool)), "has no pixel"),
        (None, "data and an origin"),
    ],
)
def test_bitmaps_of_strangers(data, words):
    known = parsed(bitmap(data), outline("rectangle", (1, 2), (3, 4)))
    assert len(known.objects) == 1
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(known.unread[0].reason)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (outline("point", (1, 2)), "'point', which is no box"),
        (outline("line", (1, 2), (3, 4)), "which is no box"),
        (outline("polygon", (1, 2), (3, 4)), "at least 3"),
        (outline("rectangle", (1, 2), (3, "x")), "a finite number"),
        ({"geometryType": "rectangle"}, "the classTitle None"),
        ({"classTitle": "a", "geometryType": "rectangle", "points": [1]}, "the points None"),
        ({"classTitle": "a", "geometryType": "bitmap", "bitmap": {"data": "x", "origin": [1]}}, "an origin of x, y"),
        (3, "an object is expected"),
    ],
)
def test_objects_that_are_no_boxes(row, words):
    assert words in parsed(row).unread[0].reason


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"{}", "no list `objects`"),
        (b'{"objects": []}', "size.width"),
        (b'{"objects": [], "size": {"width": 1000000, "height": 1000000}}', "that of no image"),
        (b'{"objects": [], "size": {"width": 0, "height": 5}}', "that of no image"),
    ],
)
def test_files_of_something_else(data, words):
    with pytest.raises(BadItem, match=words):
        parse_supervisely(data, "a.json")
