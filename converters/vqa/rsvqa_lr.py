"""RSVQA-LR: 772 Sentinel-2 images of the Netherlands, 256 x 256 at 10 m, with about 100 questions each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from converters.base import register
from converters.vqa.rsvqa import Rsvqa


@register("rsvqa-lr")
@dataclass(frozen=True)
class RsvqaLr(Rsvqa):
    """No options."""

    prefix: ClassVar[str] = "LR"
    image_folders: ClassVar[tuple[str, ...]] = ("Images_LR", "images")
