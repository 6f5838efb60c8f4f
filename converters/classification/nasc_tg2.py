"""NaSC-TG2: 10 classes of 2,000 Tiangong-2 images of 128 x 128 in class folders; for evaluation only.

The RGB version is read; its 14-band twin is not. A copy on the Hub calls two classes as RESISC45 does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from converters.base import register
from converters.classification.class_folders import ClassFolders
from converters.formats.folders import normal_form

_COPIED_SPELLINGS = {"circularfarmland": "circlefarmland", "rectangularfarmland": "rectanglefarmland"}


@register("nasc-tg2")
@dataclass(frozen=True)
class NascTg2(ClassFolders):
    """No options."""

    places: ClassVar[tuple[str, ...]] = ("NaSC-TG2/RGB", "NaSC-TG2", "RGB")

    def form(self, name: str) -> str:
        """As of every source, with the copy's words for circle and rectangle."""
        form = normal_form(name)
        return _COPIED_SPELLINGS.get(form, form)
