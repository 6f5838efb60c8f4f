"""UC Merced Land Use: 21 classes of 100 aerial images, ``UCMerced_LandUse/Images/<class>/<class>NN.tif``.

There is no official split. Within each class the images are sorted by sha256 of ``<seed>:<stem>`` and the first
`train_share` of them, rounded to the nearest whole number, are train, the rest test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from converters.base import register
from converters.classification.listed_folders import ListedClassFolders


@register("ucmerced")
@dataclass(frozen=True)
class UcMerced(ListedClassFolders):
    """Class folders, each cut by the seeded rule."""

    places: ClassVar[tuple[str, ...]] = ("UCMerced_LandUse/Images", "Images")
    named_by_class: ClassVar[bool] = True
    joined_by_name: ClassVar[str] = "UCM-Captions and RSIVQA"
    list_name: ClassVar[str] = "uc_merced"
    named_parts: ClassVar[int] = 2
