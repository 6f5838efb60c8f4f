"""How much work one image may be: looked at before anything is decoded, wherever images are read.

A header costs its author nothing: 180 bytes can state 12 GB of pixels. What a file states is therefore held against
fixed bounds and against its own size, so that memory and time stay in proportion to what was sent. No clock is needed:
within these bounds a whole image takes less than `MOST_SECONDS` of one core, whatever it holds. Larger scenes are read
by windows (`mmrs.source.Tiling`), whose memory does not grow with the scene.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass

from mmrs.errors import BadItem
from mmrs.imaging.headers.jpeg import has_one_scan

MOST_SECONDS = 60
"""What decoding, rendering and encoding one whole image may take on one core; follows from the bounds below."""

DECODED_BYTES_AT_ONCE = 1 << 30
"""Pixels that may be decoded at once, in bytes (width x height x bands x bytes of a sample): a whole image, a window, a
block of a file. Rendering and encoding need up to about three times as much."""

FREE_BYTES = 64 << 20
DECODED_BYTES_PER_FILE_BYTE = 4096
"""From `FREE_BYTES` decoded on, a file must be larger than this share of it. Deflate expands a thousandfold at most."""

JPEG_SCANS = 100
"""Scans of a JPEG; each goes over all of its pixels. Encoders write about ten; libtiff has the same bound."""

UNCOUNTED_BYTES, MOST_PARTS, BYTES_PER_PART = 4 << 20, 10_000, 1024
"""Of a larger file than the first: segments before a JPEG's picture and chunks of a PNG, which Pillow reads one by one;
so many, and one more for each so many bytes of the file."""

MOST_WINDOWS = 100_000
"""Windows of one scene."""


@dataclass(frozen=True, slots=True)
class SizeLimit:
    """The most `pixels` of an image; its decoded pixels are held against `decoded_bytes` where there is a bound."""

    pixels: int
    decoded_bytes: int | None = None

    def check(self, width: int, height: int, pixel_bytes: int, file_bytes: int, path: str | None = None) -> None:
        """Hold an image of `pixel_bytes` a pixel (all of its bands) in a file of `file_bytes` against the bounds.

        Raises:
            BadItem: it is beyond one of them.
        """
        pixels = width * height
        if pixels > self.pixels:
            raise BadItem(f"image has {pixels:,} pixels, more than the limit of {self.pixels:,}", path)
        decoded = pixels * pixel_bytes
        if self.decoded_bytes is not None and decoded > self.decoded_bytes:
            raise BadItem(
                f"image of {width} x {height} pixels of {pixel_bytes} bytes has {decoded:,} bytes decoded, more than "
                f"the limit of {self.decoded_bytes:,}; cut it into tiles",
                path,
            )
        if self.decoded_bytes is not None and file_bytes > self.decoded_bytes + FREE_BYTES:
            raise BadItem(f"image file has {file_bytes:,} bytes, more than any image of allowed size", path)
        if decoded > FREE_BYTES and decoded > DECODED_BYTES_PER_FILE_BYTE * file_bytes:
            raise BadItem(
                f"image of {file_bytes:,} bytes states {decoded:,} bytes of pixels, more than "
                f"{DECODED_BYTES_PER_FILE_BYTE} times its size",
                path,
            )


WHOLE_IMAGE = SizeLimit(pixels=178_956_970, decoded_bytes=DECODED_BYTES_AT_ONCE)
"""An image that is decoded whole; the number of pixels is Pillow's own limit."""

SCENE = SizeLimit(pixels=2_500_000_000)
"""A scene that is only read by windows: DOTA-v2.0 has one of 625,847,040 pixels."""


def check_at_once(width: int, height: int, pixel_bytes: int, what: str, path: str) -> None:
    """Hold a part of an image that is decoded at once against `DECODED_BYTES_AT_ONCE`. Raises `BadItem`."""
    decoded = width * height * pixel_bytes
    if decoded > DECODED_BYTES_AT_ONCE:
        raise BadItem(
            f"{what} of {width} x {height} pixels has {decoded:,} bytes decoded, more than the limit of "
            f"{DECODED_BYTES_AT_ONCE:,}",
            path,
        )


def check_jpeg_scans(data: bytes, path: str | None = None) -> None:
    """Count the scans of a JPEG by its markers (ITU-T T.81, table B.1); other formats have none.

    Raises:
        BadItem: more than `JPEG_SCANS`.
    """
    if not data.startswith(b"\xff\xd8") or has_one_scan(data):
        return
    # Codes of pixels escape every 0xFF; a thumbnail in the metadata adds one or two.
    scans = data.count(b"\xff\xda")
    if scans > JPEG_SCANS:
        raise BadItem(f"JPEG has {scans:,} scans, more than the limit of {JPEG_SCANS}", path)


def check_parts(content: bytes | mmap.mmap, path: str | None = None) -> None:
    """Count the segments of a JPEG up to its picture, bytes of fill too, or the chunks of a PNG; others have none.

    Raises:
        BadItem: more than a file of its size has; a gigabyte of fill would take minutes to open.
    """
    if len(content) <= UNCOUNTED_BYTES:
        return
    walks = {b"\xff\xd8": (2, _after_segment), b"\x89P": (8, _after_chunk)}
    place, after = walks.get(content[:2], (None, _after_chunk))
    most = MOST_PARTS + len(content) // BYTES_PER_PART
    for _ in range(most):
        if place is None or place + 8 > len(content):
            return
        place = after(content, place)
    raise BadItem(f"image file of {len(content):,} bytes has more than {most:,} parts before its picture ends", path)


def _after_segment(content: bytes | mmap.mmap, place: int) -> int | None:
    """Where the next segment of a JPEG begins; None where Pillow stops to look for one (ITU-T T.81, B.1.1)."""
    first, code = content[place], content[place + 1]
    if first == 0 or (first == 0xFF and code == 0xFF):
        return place + 1
    if first != 0xFF or code == 0xDA:
        return None
    has_length = not (code in (0x00, 0x01) or 0xD0 <= code <= 0xD9)
    return place + 2 + (int.from_bytes(content[place + 2 : place + 4]) if has_length else 0)


def _after_chunk(content: bytes | mmap.mmap, place: int) -> int | None:
    """Where the next chunk of a PNG begins; None after the last one."""
    if content[place + 4 : place + 8] == b"IEND":
        return None
    return place + 12 + int.from_bytes(content[place : place + 4])
