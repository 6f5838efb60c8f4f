"""Faults planted into a data set: each plants itself into one sound image or its label, and says what must come of it.

The data set is PASCAL VOC behind a description, because that has all that can break: images, an XML file each, a list.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (96, 64)
SECRET = "root:x:0:0:this-must-never-be-read"
DESCRIPTION = """name: planted
format: voc
sensor: optical
licence: CC0-1.0
images: images
annotations: labels
splits: {train: train.txt}
classes: [ship, plane]
"""
OBJECT = (
    "<object><name>{name}</name>"
    "<bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox></object>"
)
BOXES = OBJECT.format(10, 10, 40, 30, name="ship") + OBJECT.format(50, 20, 80, 50, name="plane")


@dataclass
class Place:
    """Where one fault is planted; every file below exists and is sound before."""

    root: Path
    stem: str
    rng: np.random.Generator
    lines: list[str]

    @property
    def jpg(self) -> Path:
        return self.root / "images" / f"{self.stem}.jpg"

    @property
    def xml(self) -> Path:
        return self.root / "labels" / f"{self.stem}.xml"

    def picture(self, mode: str = "RGB") -> Image.Image:
        return Image.fromarray(self.rng.integers(0, 256, (*SIZE[::-1], 3), dtype=np.uint8)).convert(mode)

    def save(self, suffix: str, image: Image.Image, kind: str, **options) -> None:
        """Put `image` in the place of the sound one."""
        self.jpg.unlink()
        image.save(self.jpg.with_suffix(suffix), kind, **options)


@dataclass(frozen=True)
class Expected:
    """What must come of a fault.

    Args:
        images: how many images of the stem are stored.
        reason: words of a quarantine entry that names the stem, None where there must be none.
        reencoded: start of the stored image's reason, "" where its bytes must be those of the file.
        objects: objects stored with the image; `flag` is set on the last of them.
    """

    images: int
    reason: str | None = None
    reencoded: str = ""
    objects: int = 2
    flag: str | None = None


Fault = tuple[str, int, Expected, Callable[[Place], object]]


def lost(reason: str) -> Expected:
    return Expected(0, reason)


def kept(reencoded: str) -> Expected:
    return Expected(1, None, reencoded)


def cut(place: Place, kind: str, suffix: str) -> None:
    buffer = io.BytesIO()
    place.picture().save(buffer, kind)
    data = buffer.getvalue()
    place.jpg.unlink()
    place.jpg.with_suffix(suffix).write_bytes(data[: int(len(data) * place.rng.uniform(0.4, 0.95))])


def huge_png(place: Place) -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    place.jpg.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)))


def huge_jpeg(place: Place) -> None:
    data = bytearray(place.jpg.read_bytes())
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 65_500, 65_500)
    place.jpg.write_bytes(bytes(data))


def huge_gif(place: Place) -> None:
    place.jpg.write_bytes(b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b";")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def text_bomb(place: Place) -> None:
    buffer = io.BytesIO()
    place.picture().save(buffer, "PNG")
    data = buffer.getvalue()
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * 80_000_000))
    place.jpg.write_bytes(data[:33] + bomb + data[33:])


def flipped_png(place: Place) -> None:
    buffer = io.BytesIO()
    place.picture().save(buffer, "PNG")
    data = bytearray(buffer.getvalue())
    data[len(data) // 2] ^= 0x5A
    place.jpg.write_bytes(bytes(data))


def exif(place: Place, orientation: int) -> None:
    tags = Image.Exif()
    tags[0x0112] = orientation
    image = place.picture()
    image = image.transpose(Image.Transpose.TRANSPOSE) if orientation >= 5 else image
    image.save(place.jpg, "JPEG", exif=tags)


def frames(place: Place, suffix: str, kind: str) -> None:
    place.save(suffix, place.picture(), kind, save_all=True, append_images=[place.picture(), place.picture()])


def sixteen_bits(place: Place, suffix: str, kind: str) -> None:
    place.save(suffix, Image.fromarray(place.rng.integers(0, 65536, SIZE[::-1], dtype=np.uint16)), kind)


def floats(place: Place) -> None:
    place.save(".tif", Image.fromarray(place.rng.normal(0, 1, SIZE[::-1]).astype(np.float32)), "TIFF")


def label(place: Place, text: str | bytes) -> None:
    place.xml.write_bytes(text if isinstance(text, bytes) else text.encode())


def voc(content: str, size: tuple[int, int] = SIZE) -> str:
    width, height = size
    return f"<annotation><size><width>{width}</width><height>{height}</height></size>{content}</annotation>"


def linked(place: Place, target: str | Path) -> None:
    place.jpg.unlink()
    place.jpg.symlink_to(target)


def instead(place: Place, make: Callable[[Path], object]) -> None:
    place.jpg.unlink()
    make(place.jpg)


def twin(place: Place, suffix: str) -> None:
    place.picture().save(place.jpg.with_suffix(suffix), "PNG")


BOMB = '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]>'
OUTSIDE = '<!DOCTYPE a [<!ENTITY x SYSTEM "file://{secret}">]>'


def image_faults() -> Iterator[Fault]:
    """Faults of the picture's file."""
    yield "truncated JPEG", 16, lost("cannot be read"), lambda p: cut(p, "JPEG", ".jpg")
    yield "truncated PNG", 10, lost("cannot be read"), lambda p: cut(p, "PNG", ".png")
    yield "zero bytes", 8, lost("empty"), lambda p: p.jpg.write_bytes(b"")
    yield (
        "a page of HTML",
        5,
        lost("no known format"),
        lambda p: p.jpg.write_text("<html><h1>404 Not Found</h1></html>"),
    )
    yield "random bytes", 5, lost("no known format|cannot be read"), lambda p: p.jpg.write_bytes(p.rng.bytes(3000))
    yield "header alone", 4, lost("cannot be read|no known"), lambda p: p.jpg.write_bytes(p.jpg.read_bytes()[:24])
    yield "huge PNG header", 6, lost("3,600,000,000 pixels"), huge_png
    yield "huge JPEG header", 4, lost("4,290,250,000 pixels"), huge_jpeg
    yield "huge GIF header", 3, lost("pixels|cannot be read|no known"), huge_gif
    yield "text chunk of 80 MB", 2, lost("cannot be read"), text_bomb
    yield "damaged PNG stream", 8, lost("cannot be read"), flipped_png
    yield "missing image", 5, lost("without an image"), lambda p: p.jpg.unlink()
    yield "a folder named as an image", 3, lost("without an image"), lambda p: instead(p, Path.mkdir)
    yield "a pipe named as an image", 2, lost("not found|no regular file|without"), lambda p: instead(p, os.mkfifo)
    yield "link to itself", 3, lost("leads nowhere or to itself"), lambda p: linked(p, p.jpg.name)
    yield "link to nothing", 3, lost("leads nowhere or to itself"), lambda p: linked(p, "nothing.jpg")
    yield "link out of the root", 4, lost("outside the root"), lambda p: linked(p, p.root.parent / "secret.txt")
    yield "PNG named .jpg", 6, kept("png among"), lambda p: p.picture().save(p.jpg, "PNG")
    yield "CMYK", 6, kept("mode CMYK"), lambda p: p.picture("CMYK").save(p.jpg, "JPEG")
    for orientation in range(2, 9):
        yield f"EXIF {orientation}", 2, kept(f"EXIF orientation {orientation}"), lambda p, o=orientation: exif(p, o)
    yield "16-bit PNG", 5, kept("format PNG, uint16"), lambda p: sixteen_bits(p, ".png", "PNG")
    yield "16-bit TIFF", 4, kept("format TIFF, uint16"), lambda p: sixteen_bits(p, ".tif", "TIFF")
    yield "float TIFF", 3, kept("format TIFF, float32"), floats
    yield "8-bit TIFF", 3, kept("format TIFF"), lambda p: p.save(".tif", p.picture(), "TIFF")
    yield "BMP", 3, kept("format BMP"), lambda p: p.save(".bmp", p.picture(), "BMP")
    yield "animated PNG", 4, kept("3 frames"), lambda p: frames(p, ".png", "PNG")
    yield "animated GIF named .png", 4, kept("format GIF"), lambda p: frames(p, ".png", "GIF")
    yield "palette", 3, kept("mode P"), lambda p: p.save(".png", p.picture("P"), "PNG")
    yield "alpha", 3, kept("mode RGBA"), lambda p: p.save(".png", p.picture("RGBA"), "PNG")
    yield "one bit", 3, kept("mode 1"), lambda p: p.save(".png", p.picture("1"), "PNG")
    yield "progressive JPEG", 3, kept(""), lambda p: p.picture().save(p.jpg, "JPEG", progressive=True)
    yield "bytes behind the end", 3, kept(""), lambda p: p.jpg.write_bytes(p.jpg.read_bytes() + bytes(500))
    yield "grey JPEG", 2, kept(""), lambda p: p.picture("L").save(p.jpg, "JPEG")
    yield "two images of one stem", 4, Expected(2), lambda p: twin(p, ".png")
    yield "a TIFF beside a JPEG", 2, Expected(2), lambda p: twin(p, ".tif")


def label_faults(secret: Path) -> Iterator[Fault]:
    """Faults of the XML file."""
    inverted = OBJECT.format(40, 30, 10, 10, name="ship")
    nan = OBJECT.format("NaN", 10, 40, 30, name="ship")
    far, flat = OBJECT.format(200, 10, 240, 30, name="ship"), OBJECT.format(10, 10, 10, 30, name="ship")
    edge = OBJECT.format(80, 40, 120, 60, name="ship")
    yield "no label file", 4, lost("without a label file"), lambda p: p.xml.unlink()
    yield "empty label", 4, lost("empty"), lambda p: label(p, "")
    yield "cut XML", 6, lost("XML"), lambda p: label(p, voc(BOXES)[: int(p.rng.integers(20, 200))])
    yield "not UTF-8", 4, lost("UTF-8"), lambda p: label(p, voc(BOXES).encode().replace(b"ship", b"sh\xff\xfe"))
    yield "entity bomb", 3, lost("entit|document type"), lambda p: label(p, BOMB + voc(BOXES.replace("ship", "&c;")))
    yield (
        *("entity that reads a file", 4, lost("entit|document type")),
        lambda p: label(p, OUTSIDE.format(secret=secret) + voc(BOXES.replace("ship", "&x;"))),
    )
    yield "another root", 2, lost("annotation"), lambda p: label(p, "<kml></kml>")
    yield "deep nesting", 2, lost("XML|deep|nest|annotation"), lambda p: label(p, "<a>" * 100_000)
    yield (
        "unknown class",
        5,
        Expected(1, "submarine", objects=1),
        lambda p: label(p, voc(BOXES.replace("plane", "submarine"))),
    )
    yield (
        "object without name",
        2,
        Expected(1, "without <name>", objects=0),
        lambda p: label(p, voc("<object></object>")),
    )
    yield (
        "object without box",
        3,
        Expected(1, "neither", objects=0),
        lambda p: label(p, voc("<object><name>ship</name></object>")),
    )
    yield "inverted box", 4, Expected(1, "inverted", objects=0), lambda p: label(p, voc(inverted))
    yield "NaN", 3, Expected(1, "NaN", objects=0), lambda p: label(p, voc(nan))
    yield (
        "label of another size",
        5,
        lost("annotation is for a 300x200 image"),
        lambda p: label(p, voc(BOXES, (300, 200))),
    )
    yield "box without area", 5, Expected(1, objects=3, flag="zero_area"), lambda p: label(p, voc(BOXES + flat))
    yield "box outside", 5, Expected(1, "lies outside"), lambda p: label(p, voc(BOXES + far))
    yield "box over the edge", 4, Expected(1, objects=3, flag="inside"), lambda p: label(p, voc(BOXES + edge))
    yield "no object", 3, Expected(1, objects=0), lambda p: label(p, voc(""))


def list_faults() -> Iterator[Fault]:
    """Faulty lines of the list beside the sound line of the stem."""
    sound = Expected(1, "no annotated image is named")
    for line in (
        *("../../../../etc/passwd-{}", "/etc/passwd-{}", "..\\..\\secret.txt-{}", "C:\\secret-{}", "../secret-{}"),
        *("images/../../x-{}", "{}a\0b", "{}" + "x" * 5000, "no-such-image-{}", "%2e%2e/secret-{}"),
    ):
        yield f"listed {line[:20]!r}", 2, sound, lambda p, text=line: p.lines.append(text.format(p.stem))
    yield "listed twice", 6, Expected(1, "listed twice"), lambda p: p.lines.append(p.stem)


def plant(root: Path, sound: int, seed: int = 0) -> dict[str, tuple[str, Expected]]:
    """Write the data set with `sound` images and every fault; stem -> (fault, what must come of it)."""
    secret = root.parent / "secret.txt"
    secret.write_text(SECRET)
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    (root / "mmrs.yaml").write_text(DESCRIPTION)
    (root / "images" / "loop").symlink_to("..")
    (root / "labels" / "self").symlink_to("self")
    rng = np.random.default_rng(seed)
    wanted: dict[str, tuple[str, Expected]] = {}
    lines: list[str] = []
    faults = [*image_faults(), *label_faults(secret), *list_faults()]
    for name, count, expected, act in [("sound", sound, Expected(1), lambda place: None), *faults]:
        for _ in range(count):
            place = Place(root, f"i{len(wanted):04d}", rng, lines)
            place.picture().save(place.jpg, "JPEG", quality=95)
            label(place, voc(BOXES))
            lines.append(place.stem)
            act(place)
            wanted[place.stem] = (name, expected)
    (root / "train.txt").write_text("\n".join(lines) + "\n")
    return wanted
