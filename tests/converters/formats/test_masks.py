import io
import zlib

import numpy as np
import pytest
from PIL import Image

from converters.formats.masks import parse_mask
from mmrs.errors import BadItem

LABELS = {1: "ship", 2: "tank"}


def png(values, mode=None, kind="PNG"):
    buffer = io.BytesIO()
    image = Image.fromarray(np.asarray(values))
    if mode == "P":
        image = image.convert("P")
        image.putdata(np.asarray(values).reshape(-1).tolist())
        image.putpalette([value for value in range(256) for _ in range(3)][::-1])
    image.save(buffer, kind)
    return buffer.getvalue()


def flooded(is_set):
    """Extents of what touches, by flooding pixel after pixel."""
    waiting = {(int(y), int(x)) for y, x in np.argwhere(is_set)}
    while waiting:
        edge = [waiting.pop()]
        part = list(edge)
        while edge:
            y, x = edge.pop()
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & waiting
            waiting -= near
            edge += near
            part += near
        rows, columns = zip(*part, strict=True)
        yield min(columns), min(rows), max(columns) + 1, max(rows) + 1


@pytest.mark.parametrize("mode", [None, "P"])
def test_components_are_those_of_a_flood(mode):
    """In noise with touching corners and holes, and void between."""
    rng = np.random.default_rng(5)
    values = rng.choice(np.array([0, 1, 2, 255], dtype=np.uint8), (40, 60), p=[0.7, 0.12, 0.12, 0.06])
    found = parse_mask(png(values, mode), "a.png", LABELS, {0})
    expected = [(label, box) for value, label in LABELS.items() for box in flooded(values == value)]
    assert sorted((thing.label, thing.box) for thing in found.objects) == sorted(expected)
    assert found.size == (60, 40) and found.unread == () and len(expected) > 50


def test_values_of_no_class_are_counted_and_void_is_none():
    values = np.zeros((8, 8), dtype=np.uint8)
    values[0, :3], values[4:6, 4:6], values[7] = 9, 1, 255
    found = parse_mask(png(values), "a.png", LABELS, {0})
    assert [thing.box for thing in found.objects] == [(4, 4, 6, 6)]
    assert [row.reason for row in found.unread] == ["value 9 (3 pixels) is no class"]
    assert len(parse_mask(png(values), "a.png", {**LABELS, 255: "edge"}, {0}).objects) == 2


def test_a_turned_object_has_a_turned_rectangle():
    (thing,) = parse_mask(png(np.eye(40, dtype=np.uint8)), "a.png", LABELS, {0}).objects
    x, y = np.array(thing.corners).reshape(4, 2).T
    assert thing.box == (0, 0, 40, 40) and abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2 < 100


def bomb():
    """A header of 20,000 x 20,000 pixels and nothing behind it."""
    content = bytearray(png(np.zeros((4, 4), dtype=np.uint8)))
    content[16:24] = (20_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"no picture", "not an image"),
        (png(np.zeros((4, 4, 3), dtype=np.uint8)), "the mask has the mode RGB"),
        (png(np.zeros((4, 4), dtype=np.uint16)), "the mask has the mode I"),
        (png(np.ones((64, 64), dtype=np.uint8))[:60], "cannot be read"),
        (bomb(), "more than the limit"),
    ],
)
def test_masks_of_strangers(data, words):
    with pytest.raises(BadItem, match=words):
        parse_mask(data, "a.png", LABELS, {0})


def test_noise_is_refused_before_it_is_cut(monkeypatch):
    values = np.indices((64, 64)).sum(axis=0).astype(np.uint8) % 2 + 1
    monkeypatch.setattr("converters.formats.masks._MOST_CHANGES", 1000)
    with pytest.raises(BadItem, match="changes 4,032 times along its rows"):
        parse_mask(png(values), "a.png", LABELS, {0})
    monkeypatch.setattr("converters.formats.masks._MOST_CHANGES", 10_000)
    monkeypatch.setattr("converters.formats.masks._MOST_OBJECTS", 10)
    values[:] = 0
    values[::2, ::2] = 1
    with pytest.raises(BadItem, match="more than 10 objects"):
        parse_mask(png(values), "a.png", LABELS, {0})
