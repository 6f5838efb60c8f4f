"""NWPU-Captions: the 31,500 images of NWPU-RESISC45 with five sentences each.

``NWPU_images/<class>/<class>_NNN.jpg`` and ``dataset_nwpu.json``, whose ``split`` is official. Its schema is its own:
image rows by class, the sentences in ``raw``, ``raw_1`` to ``raw_4``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from converters.base import register
from converters.captioning.caption_json import CaptionJson
from converters.formats.captions import CaptionFile, parse_class_captions
from converters.formats.text import read_bytes
from converters.layout import FileList, list_subfolders


@register("nwpu-captions")
@dataclass(frozen=True)
class NwpuCaptions(CaptionJson):
    """No options."""

    image_folders: ClassVar[tuple[str, ...]] = ("NWPU_images", "NWPU-RESISC45")
    annotation_files: ClassVar[tuple[str, ...]] = ("dataset_nwpu.json",)

    def parse(self, path: Path) -> CaptionFile:
        """Read the rows by class. Raises `BadItem` when the file as a whole cannot be used."""
        return parse_class_captions(read_bytes(path), str(path))

    def images(self, folder: Path, root: Path) -> FileList:
        """The images of all class folders by file name, which is unique: it starts with the class."""
        return list_subfolders(folder, root)
