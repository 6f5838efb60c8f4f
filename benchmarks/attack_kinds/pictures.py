"""Images that state more than they hold, or ask for more work than they are worth, before every reader of images."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.attack_kinds.scene import Attempt, Scene
from benchmarks.attack_kinds.sound import picture

LEVELS = ("L0", "L1", "L2")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, pixels: bytes, depth: int = 8, colour: int = 2, more: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    end = _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + more + end


def _zeros(size: int) -> bytes:
    packer, parts = zlib.compressobj(9), []
    while size > 0:
        parts.append(packer.compress(bytes(min(size, 2**20))))
        size -= 2**20
    return b"".join(parts) + packer.flush()


def _sparse(width: int, height: int, dtype: str, count: int, rows: int) -> bytes:
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning
    from rasterio.io import MemoryFile

    profile = {"width": width, "height": height, "dtype": dtype, "count": count, "sparse_ok": True, "blockysize": rows}
    with warnings.catch_warnings(), MemoryFile() as file:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(file.name, "w", driver="GTiff", **profile):
            pass
        return file.read()


def _saved(kind: str, size: tuple[int, int] = (64, 64), **options: object) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", size, 7).save(buffer, kind, **options)
    return buffer.getvalue()


def _scans(times: int) -> bytes:
    data = _saved("JPEG", (2000, 2000), progressive=True)
    last = data.rfind(b"\xff\xda")
    return data[:last] + data[last:-2] * times + data[-2:]


def _huge_jpeg() -> bytes:
    data = bytearray(picture())
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 65_500, 65_500)
    return bytes(data)


def _patched(kind: str, place: int, form: str, *values: int) -> bytes:
    data = bytearray(_saved(kind))
    struct.pack_into(form, data, place, *values)
    return bytes(data)


def _circular_tiff() -> bytes:
    """Its second directory is its first."""
    entries = struct.pack("<HHII", 256, 3, 1, 64) + struct.pack("<HHII", 257, 3, 1, 64)
    return struct.pack("<2sHI", b"II", 42, 8) + struct.pack("<H", 2) + entries + struct.pack("<I", 8)


def _tags_tiff() -> bytes:
    """It says that a tag has four thousand million values."""
    entries = struct.pack("<HHII", 256, 3, 1, 64) + struct.pack("<HHII", 273, 4, 2**32 - 1, 8)
    return struct.pack("<2sHI", b"II", 42, 8) + struct.pack("<H", 2) + entries + struct.pack("<I", 0)


def _frames(count: int) -> bytes:
    from PIL import Image

    rows = [Image.fromarray(np.full((8, 8), number % 256, np.uint8)) for number in range(count)]
    buffer = io.BytesIO()
    rows[0].save(buffer, "GIF", save_all=True, append_images=rows[1:])
    return buffer.getvalue()


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n(%pipe%touch ran) (w) file\nshowpage\n"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
VRT = (
    b'<VRTDataset rasterXSize="64" rasterYSize="64"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
    b"<SourceFilename>/etc/passwd</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
)
# Name -> (suffix, content, whether the image may be stored).
PICTURES: dict[str, tuple[str, Callable[[], bytes], bool]] = {
    "sparse TIFF of complex numbers": ("tif", lambda: _sparse(13_000, 13_000, "complex128", 4, 16), False),
    "sparse TIFF of 16 bits": ("tif", lambda: _sparse(8_000, 8_000, "uint16", 1, 16), False),
    "sparse TIFF of one column": ("tif", lambda: _sparse(1, 170_000_000, "uint16", 1, 170_000_000), False),
    "sparse TIFF of 4,000 bands": ("tif", lambda: _sparse(2_000, 2_000, "uint8", 4_000, 16), False),
    "sparse TIFF of one large block": ("tif", lambda: _sparse(20_000, 20_000, "uint32", 1, 15_000), False),
    "TIFF whose directories go in a circle": ("tif", _circular_tiff, False),
    "TIFF with a tag of 16 GB": ("tif", _tags_tiff, False),
    "PNG of 60,000 x 60,000": ("png", lambda: _png(60_000, 60_000, zlib.compress(bytes(99))), False),
    "PNG of 13,000 x 13,000 zeros": ("png", lambda: _png(13_000, 13_000, _zeros(39_001 * 13_000)), True),
    "PNG of 16 bits, 13,000 x 13,000": ("png", lambda: _png(13_000, 13_000, zlib.compress(bytes(99)), 16, 6), False),
    "PNG of a strip of 70,000": ("png", lambda: _png(70_000, 64, _zeros(70_001 * 64), 8, 0), True),
    "PNG with a text of 80 MB": (
        "png",
        lambda: _png(64, 64, zlib.compress(bytes(193 * 64)), more=_chunk(b"zTXt", b"C\0\0" + _zeros(80_000_000))),
        False,
    ),
    "PNG with a profile of 80 MB": (
        "png",
        lambda: _png(64, 64, zlib.compress(bytes(193 * 64)), more=_chunk(b"iCCP", b"C\0\0" + _zeros(80_000_000))),
        True,
    ),
    "JPEG of 65,500 x 65,500": ("jpg", _huge_jpeg, False),
    "JPEG of 5,000 scans": ("jpg", lambda: _scans(5000), False),
    "JPEG of 65,000 markers": ("jpg", lambda: b"\xff\xd8" + b"\xff\xe0\x00\x02" * 65_000 + picture()[2:], True),
    "JPEG behind 50 MB of fill": ("jpg", lambda: b"\xff\xd8" + b"\xff" * 50_000_000 + picture()[2:], False),
    "GIF of 65,535 x 65,535": ("gif", lambda: b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b";", False),
    "GIF of 20,000 frames": ("gif", lambda: _frames(20_000), True),
    "BMP of 2,000 million pixels": ("bmp", lambda: _patched("BMP", 18, "<ii", 65_000, 32_000), False),
    "WebP of 16,383 x 16,383": ("webp", lambda: _patched("WEBP", 26, "<HH", 16_383, 16_383), False),
    "JPEG 2000 of 60,000 x 60,000": ("jp2", lambda: b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(200), False),
    "PostScript named .jpg": ("jpg", lambda: POSTSCRIPT, False),
    "SVG named .png": ("png", lambda: SVG, False),
    "a virtual raster named .tif": ("tif", lambda: VRT, False),
    "an empty file": ("jpg", lambda: b"", False),
}


def attempts() -> Iterator[Attempt]:
    """Every picture in a build of every level and with tiles, then as the image of a shard before the other readers."""
    for name in PICTURES:
        for level in LEVELS:
            yield Attempt("4 work", f"build {level}: {name}", partial(_build, name, f"validation={level}"))
        yield Attempt("4 work", f"build in tiles: {name}", partial(_tiles, name))
        if PICTURES[name][0] in ("jpg", "png"):
            yield Attempt("4 work", f"readers of shards: {name}", partial(_stored, name))


def _build(name: str, option: str, scene: Scene) -> None:
    suffix, content, may_be_stored = PICTURES[name]
    root = scene.copy("own")
    (root / "images" / f"odd.{suffix}").write_bytes(content())
    (root / "labels" / "odd.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    out = scene.folder / "out"
    scene.mmrs(
        *("build", "generic", "--root", f"own={root}", "--option", f"description={root}/mmrs.yaml"),
        *("--workers", 1, "--set", "quarantine_ceiling=1.0", "--set", option, "--out", out),
        may_fail=False,
    )
    stored = len(_rows(out))
    scene.claim(stored in ((3, 4) if may_be_stored else (3,)), f"{stored} images are stored")
    if stored == 3 and suffix in ("jpg", "png", "tif", "bmp"):
        scene.claim(b"odd." in (out / "quarantine.jsonl").read_bytes(), "the image is lost without a word")


def _rows(out: Path) -> list[dict]:
    from mmrs.shards.reader import ShardSet

    if not (out / "manifest.json").exists():
        return []
    shards = ShardSet(out)
    return [row for split in ("train",) for row in shards.table(split).to_pylist()]


def _tiles(name: str, scene: Scene) -> None:
    suffix, content, _ = PICTURES[name]
    root = scene.copy("own")
    (root / "images" / f"odd.{suffix}").write_bytes(content())
    with (root / "mmrs.yaml").open("a") as file:
        file.write("options: {tile_size: 512}\n")
    scene.mmrs(
        *("build", "generic", "--root", f"own={root}", "--option", f"description={root}/mmrs.yaml"),
        *("--workers", 1, "--set", "quarantine_ceiling=1.0", "--out", scene.folder / "out"),
    )


def _stored(name: str, scene: Scene) -> None:
    from tests.support.damaged_data_sets import Damaged

    data = scene.copy("shards")
    made = Damaged(data)
    content = PICTURES[name][1]()
    made.members(image=lambda old: content or b"x")
    made.seal()
    out = scene.folder / "out"
    out.mkdir()
    scene.mmrs("verify", data, "--workers", 1)
    scene.mmrs("report", data, "--out", out / "page.html")
    scene.mmrs("curate", data, "--out", out, "--workers", 1)
    scene.mmrs(
        *("eval", scene.base / "model", data, "--split", "train", "--task", "classification", "--limit", 1),
        *("--out", out / "eval"),
    )
