"""RSVQA-HR: aerial images of the north-east of the USA, 512 x 512 at 15 cm; both test splits, for evaluation only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from converters.base import register
from converters.vqa.rsvqa import Rsvqa


@register("rsvqa-hr")
@dataclass(frozen=True)
class RsvqaHr(Rsvqa):
    """No options."""

    prefix: ClassVar[str] = "USGS"
    image_folders: ClassVar[tuple[str, ...]] = ("Data", "Images_HR", "images")
