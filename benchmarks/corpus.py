"""Files to measure with: genuine JPEGs, copied into class folders as often as asked for, each copy with its own bytes.

A JPEG comment with the copy's number makes equal pictures unequal files, so that nothing (deduplication, dictionary
encoding) can profit from repetition.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = tuple(f"class-{number}" for number in range(8))
_DESCRIPTION = """name: corpus
format: folders
sensor: optical
licence: CC0-1.0
images: images
splits: [train]
classes: [{classes}]
"""


@dataclass(frozen=True, slots=True)
class Corpus:
    """A source that the `generic` converter reads: `root`, its `description`, and how many files of how many bytes."""

    root: Path
    description: Path
    files: int
    bytes: int

    def paths(self) -> list[Path]:
        """All images, sorted by class and name, as a user's script would list them."""
        return sorted((self.root / "images").glob("*/*.jpg"))

    def digests(self) -> list[str]:
        """Sorted sha256 of every file."""
        return sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in self.paths())


def write_corpus(root: Path, pictures: Sequence[bytes], count: int) -> Corpus:
    """Write `count` distinct JPEG files, the pictures in turn, into the class folders of `root`."""
    for name in CLASSES:
        (root / "images" / name).mkdir(parents=True, exist_ok=True)
    total = 0
    for number in range(count):
        data = with_comment(pictures[number % len(pictures)], b"copy %08d" % number)
        (root / "images" / CLASSES[number % len(CLASSES)] / f"image-{number:08d}.jpg").write_bytes(data)
        total += len(data)
    description = root / "mmrs.yaml"
    description.write_text(_DESCRIPTION.format(classes=", ".join(CLASSES)))
    return Corpus(root, description, count, total)


def open_corpus(root: Path) -> Corpus:
    """A corpus that `write_corpus` wrote earlier."""
    sizes = [path.stat().st_size for path in (root / "images").glob("*/*.jpg")]
    return Corpus(root, root / "mmrs.yaml", len(sizes), sum(sizes))


def with_comment(jpeg: bytes, comment: bytes) -> bytes:
    """The JPEG with a comment segment behind its first segment; the picture is unchanged."""
    first = 4 + int.from_bytes(jpeg[4:6], "big")
    segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
    return jpeg[:first] + segment + jpeg[first:]


def genuine(folder: Path) -> list[bytes]:
    """The content of every JPEG under `folder`, sorted by path."""
    return [path.read_bytes() for path in sorted(folder.rglob("*.jpg"))]


def generated(count: int, side: int, quality: int, seed: int = 0) -> list[bytes]:
    """Colour pictures of `side` pixels with structure at many scales, so that they compress as photographs do."""
    rng = np.random.default_rng(seed)
    pictures = []
    for _ in range(count):
        pixels = np.zeros((side, side, 3), np.float32)
        for cells in (4, 16, 64, side):
            noise = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
            pixels += np.asarray(noise.resize((side, side), Image.Resampling.BICUBIC), np.float32) / cells**0.5
        pixels = 255 * (pixels - pixels.min()) / (pixels.max() - pixels.min())
        buffer = io.BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(buffer, "JPEG", quality=quality)
        pictures.append(buffer.getvalue())
    return pictures
