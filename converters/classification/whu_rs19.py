"""WHU-RS19: 19 classes of 50 to 61 images of 600 x 600, ``WHU-RS19/<Class>/*.jpg``; split by a seeded rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from converters.base import register
from converters.classification.class_folders import SeededClassFolders
from converters.splits import TrainShare


@register("whu-rs19")
@dataclass(frozen=True)
class WhuRs19(SeededClassFolders):
    """Class folders, each cut by the seeded rule."""

    places: ClassVar[tuple[str, ...]] = ("WHU-RS19", "WHU-RS19_split")
    train_share: TrainShare = 0.6
