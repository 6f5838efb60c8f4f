"""Which way up a picture is stored (tag 274 of EXIF and TIFF), and how pixels and windows are turned upright.

Read from the file itself for every format: Pillow turns TIFFs by itself when it decodes them and nothing else, rasterio
turns nothing, so neither may be trusted to have done it. Whoever decodes, turns once, here.
"""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass
from typing import IO, Any

import numpy.typing as npt
from PIL import Image
from PIL.ImageFile import ImageFile

from mmrs.imaging.upright import ORIENTATION_TAG, UPRIGHT, valid_orientation
from mmrs.record import Window

# EXIF may stand behind a PNG's pixels, where ExifTool puts it.
_PNG_TAIL_BYTES = 1 << 16
_EXIF_CHUNK = b"eXIf"


@dataclass(frozen=True, slots=True)
class ImageTurn:
    """What makes stored pixels upright: transposed first, then mirrored."""

    transposed: bool = False
    left_right: bool = False
    top_bottom: bool = False

    def pixels(self, stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Stored ``(H, W)`` or ``(H, W, C)`` pixels, upright."""
        turned = stored.swapaxes(0, 1) if self.transposed else stored
        turned = turned[::-1] if self.top_bottom else turned
        return turned[:, ::-1] if self.left_right else turned

    def size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) of the upright picture."""
        return (height, width) if self.transposed else (width, height)

    def stored_window(self, window: Window, width: int, height: int) -> Window:
        """Where a window of the upright picture lies in the stored one of `width` x `height` pixels."""
        upright_width, upright_height = self.size(width, height)
        x = upright_width - window.x - window.width if self.left_right else window.x
        y = upright_height - window.y - window.height if self.top_bottom else window.y
        if self.transposed:
            return Window(x=y, y=x, width=window.height, height=window.width)
        return Window(x=x, y=y, width=window.width, height=window.height)


_TURNS = {
    UPRIGHT: ImageTurn(),
    2: ImageTurn(left_right=True),
    3: ImageTurn(left_right=True, top_bottom=True),
    4: ImageTurn(top_bottom=True),
    5: ImageTurn(transposed=True),
    6: ImageTurn(transposed=True, left_right=True),
    7: ImageTurn(transposed=True, left_right=True, top_bottom=True),
    8: ImageTurn(transposed=True, top_bottom=True),
}


def turn_of(orientation: int) -> ImageTurn:
    """The turn that an orientation of 1..8 asks for."""
    return _TURNS[orientation]


def orientation_of_image(image: ImageFile) -> int:
    """1..8 of an open picture that is no TIFF (`mmrs.imaging.headers.tiff`); what is no valid orientation is 1."""
    # The PNG reader's own `getexif` decodes the whole picture in search of a chunk behind it.
    exif = Image.Image.getexif(image)
    if image.format == "PNG" and "exif" not in image.info and image.fp and (chunk := _late_exif(image.fp)) is not None:
        exif = Image.Exif()
        exif.load(b"Exif\0\0" + chunk)
    return valid_orientation(exif.get(ORIENTATION_TAG, UPRIGHT))


def _late_exif(file: IO[bytes]) -> bytes | None:
    """The content of an EXIF chunk near the end of a PNG, its checksum verified; None where there is none."""
    position = file.tell()
    file.seek(0, io.SEEK_END)
    file.seek(max(0, file.tell() - _PNG_TAIL_BYTES))
    tail = file.read(_PNG_TAIL_BYTES)
    # The picture is read on from here when it is decoded.
    file.seek(position)
    place = tail.rfind(_EXIF_CHUNK)
    if place < 4:
        return None
    size = int.from_bytes(tail[place - 4 : place], "big")
    content = tail[place + 4 : place + 4 + size]
    checksum = tail[place + 4 + size : place + 8 + size]
    is_whole = checksum == zlib.crc32(_EXIF_CHUNK + content).to_bytes(4, "big")
    return content if is_whole else None
