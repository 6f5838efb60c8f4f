"""FGSCR-42: crops of ships of 42 classes, ``<NNN>.<Class>/*.bmp``; split by a seeded rule.

Folder names keep the source's spelling mistakes; copies without the number in front are understood.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from converters.base import register
from converters.classification.class_folders import SeededClassFolders
from converters.formats.folders import normal_form


@register("fgscr42")
@dataclass(frozen=True)
class Fgscr42(SeededClassFolders):
    """Class folders, each cut by the seeded rule."""

    places: ClassVar[tuple[str, ...]] = ("FGSCR-42", "FGSCR_42", "FGSCR", "FGSCR_split")

    def form(self, name: str) -> str:
        """Normal form without the number in front."""
        return normal_form(name.split(".", 1)[-1])
