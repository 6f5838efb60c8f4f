"""RSICD: 10,921 aerial images of 224 x 224 with five sentences each, many of them repeats.

``RSICD_images/*.jpg`` and ``dataset_rsicd.json`` (beside it or in ``annotations_rsicd/``), whose ``split`` is official.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from converters.base import register
from converters.captioning.caption_json import CaptionJson


@register("rsicd")
@dataclass(frozen=True)
class Rsicd(CaptionJson):
    """No options."""

    image_folders: ClassVar[tuple[str, ...]] = ("RSICD_images",)
    annotation_files: ClassVar[tuple[str, ...]] = ("dataset_rsicd.json", "annotations_rsicd/dataset_rsicd.json")
