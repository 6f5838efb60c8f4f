"""What a TIFF's first directory says and rasterio does not tell: which way up the picture lies, what its samples mean.

By hand although Pillow reads directories: it refuses BigTIFFs of high byte first, which GDAL and tifffile read, and it
reads the lists of all strips, of which a scene has ten thousands. Tags: TIFF 6.0, part 1; kinds of samples: tag 262.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import BinaryIO

from mmrs.imaging.upright import UPRIGHT, valid_orientation

_PHOTOMETRIC_TAG, _ORIENTATION_TAG = 262, 274
_FORMS = {3: "H", 4: "L"}
_MOST_TAGS = 4096
_NO_PICTURE = {
    4: "a transparency mask",
    8: "CIE L*a*b*",
    9: "ICC L*a*b*",
    10: "ITU L*a*b*",
    32803: "a raw sensor's colour mosaic",
    32844: "LogL",
    32845: "LogLuv",
    34892: "a raw sensor's linear values",
}


@dataclass(frozen=True, slots=True)
class TiffHeader:
    """`orientation` is 1..8; `meaning` names samples that are neither grey, RGB, palette, CMYK nor YCbCr, else None."""

    orientation: int
    meaning: str | None


def read_tiff_header(file: BinaryIO) -> TiffHeader:
    """The header of a TIFF; upright and ordinary where the directory cannot be read, which its reader will notice."""
    try:
        tags = _first_directory(file)
    except (struct.error, OSError, ValueError, OverflowError):
        tags = {}
    orientation = valid_orientation(tags[_ORIENTATION_TAG].value) if _ORIENTATION_TAG in tags else UPRIGHT
    photometric = tags[_PHOTOMETRIC_TAG].value if _PHOTOMETRIC_TAG in tags else None
    return TiffHeader(orientation, None if photometric is None else _NO_PICTURE.get(photometric))


def without_orientation(data: bytes) -> bytes:
    """The same TIFF, said to be upright: Pillow turns what it decodes, but in some layouts and versions it does not."""
    try:
        entry = _first_directory(io.BytesIO(data)).get(_ORIENTATION_TAG)
    except (struct.error, OSError, ValueError, OverflowError):
        entry = None
    if entry is None:
        return data
    changed = bytearray(data)
    struct.pack_into(entry.form, changed, entry.place, UPRIGHT)
    return bytes(changed)


@dataclass(frozen=True, slots=True)
class _Entry:
    """The value of a tag, and where and in which form of `struct` it stands in the file."""

    value: int
    place: int
    form: str


def _first_directory(file: BinaryIO) -> dict[int, _Entry]:
    """The wanted tags that hold one whole number."""
    file.seek(0)
    start = file.read(16)
    order = "<" if start[:2] == b"II" else ">"
    is_big = struct.unpack(order + "H", start[2:4])[0] == 43
    count_form, entry_bytes, value_place = (order + "Q", 20, 12) if is_big else (order + "H", 12, 8)
    file.seek(struct.unpack(order + "Q", start[8:16])[0] if is_big else struct.unpack(order + "L", start[4:8])[0])
    count = struct.unpack(count_form, file.read(struct.calcsize(count_form)))[0]
    first_entry = file.tell()
    entries = file.read(min(count, _MOST_TAGS) * entry_bytes)
    tags: dict[int, _Entry] = {}
    for place in range(0, len(entries) - entry_bytes + 1, entry_bytes):
        tag, form = struct.unpack_from(order + "HH", entries, place)
        if tag in (_PHOTOMETRIC_TAG, _ORIENTATION_TAG) and form in _FORMS:
            value = struct.unpack_from(order + _FORMS[form], entries, place + value_place)[0]
            tags.setdefault(tag, _Entry(value, first_entry + place + value_place, order + _FORMS[form]))
    return tags
