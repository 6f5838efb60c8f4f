"""CLRS: 25 classes of 600 images of 256 x 256 in class folders; for evaluation only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from converters.base import register
from converters.classification.class_folders import ClassFolders


@register("clrs")
@dataclass(frozen=True)
class Clrs(ClassFolders):
    """No options."""

    places: ClassVar[tuple[str, ...]] = ("CLRS",)
