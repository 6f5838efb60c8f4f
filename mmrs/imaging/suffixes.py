"""Suffixes of image files, in lower case: one set for each question that is asked of a name.

A third one is in `training.data.dialogue_parsing`: what a streamed sample is decoded from.
"""

SOURCE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp"})
"""Files that are taken for images of a source or of the archive; all else in an image folder is counted and ignored."""

MEMBER_SUFFIXES = frozenset({"jpg", "jpeg", "png", "webp", "tif", "tiff", "bmp", "gif"})
"""Last part, without its dot, of a WebDataset member that its readers take for an image."""
