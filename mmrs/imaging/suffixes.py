"""Suffixes of image files, in lower case: one set for each question that is asked of a name.

A third one is in `training.data.dialogue_parsing`: what a streamed sample is decoded from.
"""

from __future__ import annotations

SOURCE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp"})
"""Files that are taken for images of a source or of the archive; all else in an image folder is counted and ignored."""

MEMBER_SUFFIXES = frozenset({"jpg", "jpeg", "png", "webp", "tif", "tiff", "bmp", "gif"})
"""Last part, without its dot, of a WebDataset member that its readers take for an image."""

NAMED_SUFFIXES = SOURCE_SUFFIXES | {f".{suffix}" for suffix in MEMBER_SUFFIXES} | {".jp2", ".ppm", ".pgm", ".img"}
NAMED_SUFFIXES |= {".xml", ".txt", ".json"}
"""Endings of images and label files: only these are the suffix of a written name. In ``scene_0.25`` there is none."""


def without_known_suffix(name: str) -> str:
    """A written file name or path without its suffix, in any case; the name itself where it ends in none.

    ``PurePath.stem`` takes whatever follows the last point: ``scene_0.25`` would become the name of another image.
    """
    stem, point, ending = name.rpartition(".")
    is_suffix = f".{ending.lower()}" in NAMED_SUFFIXES and stem.rpartition("/")[2].strip(".") != ""
    return stem if point and is_suffix else name
