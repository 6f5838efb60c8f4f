"""RSSCN7: 7 classes of 400 images of 400 x 400, ``<letter><Class>/<letter>NNN.jpg``; split by a seeded rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from converters.base import register
from converters.classification.class_folders import SeededClassFolders
from converters.splits import TrainShare


@register("rsscn7")
@dataclass(frozen=True)
class Rsscn7(SeededClassFolders):
    """Class folders, each cut by the seeded rule."""

    places: ClassVar[tuple[str, ...]] = ("RSSCN7", "RSSCN7_split")
    named_by_class: ClassVar[bool] = True
    train_share: TrainShare = 0.5

    def prefix(self, label: str) -> str:
        """The letter that class folder and file names start with."""
        return label[0]
