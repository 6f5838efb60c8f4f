"""NWPU-RESISC45: 45 classes of 700 images of 256 x 256, ``NWPU-RESISC45/<class>/<class>_NNN.jpg``.

Split by a seeded rule; NWPU-Captions has the same images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from converters.base import register
from converters.classification.listed_folders import ListedClassFolders
from converters.splits import TrainShare


@register("resisc45")
@dataclass(frozen=True)
class Resisc45(ListedClassFolders):
    """Class folders, each cut by the seeded rule."""

    places: ClassVar[tuple[str, ...]] = ("NWPU-RESISC45", "NWPU-RESISC45_split")
    named_by_class: ClassVar[bool] = True
    joined_by_name: ClassVar[str] = "NWPU-Captions"
    list_name: ClassVar[str] = "resisc45"
    train_share: TrainShare = 0.2
