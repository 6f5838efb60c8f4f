"""A TIFF whose tags have another type than theirs costs itself."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmrs.errors import BadItem
from mmrs.imaging.probe import probe
from mmrs.imaging.store import read_upright


def test_a_tiff_with_a_fraction_as_an_offset_is_a_bad_item():
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((24, 32, 3), np.uint8)).save(buffer, "TIFF")
    content = bytearray(buffer.getvalue())
    directory = int.from_bytes(content[4:8], "little") + 2
    (entry,) = [place for place in range(directory, directory + 200, 12) if content[place : place + 2] == b"\x11\x01"]
    content[entry + 2 : entry + 4] = b"\x05\x00"
    data = bytes(content[:700])
    with pytest.raises(BadItem, match="cannot be read"):
        read_upright(Path("a.tif"), probe(Path("a.tif"), data=data), "optical", data=data)
