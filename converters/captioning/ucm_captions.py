"""UCM-Captions: the 2,100 images of UC Merced, renumbered ``1.tif`` to ``2100.tif``, with five sentences each.

``imgs/*.tif`` (or ``images/``) and ``dataset.json``, whose ``split`` is official. Image N shows class
``(N - 1) // 100`` of UC Merced's alphabetical order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from converters.base import register
from converters.captioning.caption_json import CaptionJson


@register("ucm-captions")
@dataclass(frozen=True)
class UcmCaptions(CaptionJson):
    """No options."""

    image_folders: ClassVar[tuple[str, ...]] = ("imgs", "images")
    annotation_files: ClassVar[tuple[str, ...]] = ("dataset.json", "dataset_ucm_modified.json")
