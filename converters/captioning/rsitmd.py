"""RSITMD: 4,743 images with five sentences each, mixed in case and in the blank before the full stop.

``images/*.tif`` and ``dataset_RSITMD.json``, whose ``split`` is official: train and test, no val.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from converters.base import register
from converters.captioning.caption_json import CaptionJson


@register("rsitmd")
@dataclass(frozen=True)
class Rsitmd(CaptionJson):
    """No options."""

    image_folders: ClassVar[tuple[str, ...]] = ("images",)
    annotation_files: ClassVar[tuple[str, ...]] = ("dataset_RSITMD.json",)
