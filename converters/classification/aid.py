"""AID: 10,000 images of 600 x 600 in 30 classes, ``AID/<Class>/<class>_N.jpg``; for evaluation only.

RSICD holds the same pictures, cropped and scaled, under the same names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from converters.base import register
from converters.classification.class_folders import ClassFolders


@register("aid")
@dataclass(frozen=True)
class Aid(ClassFolders):
    """No options."""

    places: ClassVar[tuple[str, ...]] = ("AID",)
    named_by_class: ClassVar[bool] = True
    joined_by_name: ClassVar[str] = "RSICD and RSIVQA"
