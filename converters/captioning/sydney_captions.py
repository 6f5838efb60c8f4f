"""Sydney-Captions: 613 crops of one scene of Sydney, ``1.tif`` to ``613.tif``, with five sentences each.

``imgs/*.tif`` (or ``images/``) and ``dataset.json``, whose ``split`` is official and goes by number within each class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from converters.base import register
from converters.captioning.caption_json import CaptionJson


@register("sydney-captions")
@dataclass(frozen=True)
class SydneyCaptions(CaptionJson):
    """No options."""

    image_folders: ClassVar[tuple[str, ...]] = ("imgs", "images")
    annotation_files: ClassVar[tuple[str, ...]] = ("dataset.json", "dataset_sydney_modified.json")
