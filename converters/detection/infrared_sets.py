"""Four infrared sets of a camera vendor and Oceanic-Ship of a university: all undocumented.

Nothing but their names and purposes is known; `converters.detection.undocumented_layout` says how they are read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from converters.base import register
from converters.detection.undocumented_layout.converter import UndocumentedBoxes
from mmrs.errors import UserError

_BANDS = ("lwir", "swir", "fusion")
BAND_WORD = re.compile(rf"(?<![a-z0-9])({'|'.join(_BANDS)})(?![a-z0-9])")


@register("sea-shipping")
@dataclass(frozen=True)
class SeaShipping(UndocumentedBoxes):
    """Ships at sea."""


@register("infrared-security")
@dataclass(frozen=True)
class InfraredSecurity(UndocumentedBoxes):
    """People and vehicles before a security camera."""


@register("aerial-mancar")
@dataclass(frozen=True)
class AerialMancar(UndocumentedBoxes):
    """People and cars from above."""


@register("double-light-vehicle")
@dataclass(frozen=True)
class DoubleLightVehicle(UndocumentedBoxes):
    """Pairs of a visible and a thermal image; the option images names the folder of the thermal half."""


@register("oceanic-ship")
@dataclass(frozen=True)
class OceanicShip(UndocumentedBoxes):
    """Three versions of each moment; ``images=lwir`` (or swir, fusion) reads one of them only.

    The three versions of a moment (long-wave, short-wave, fused) are told by the word in the folder's or the file's
    name. They are images of their own, one scene, and fall into one split.
    """

    def naming(self, subpath: str) -> tuple[str, str]:
        """``<band>-<moment>`` and the moment. Raises `UserError` for an image whose path names no band."""
        path = PurePosixPath(subpath.lower())
        words = [found[1] for part in reversed(path.parts) if (found := BAND_WORD.search(part.replace("_", "-")))]
        if not words:
            raise UserError(
                f"{self.name}: the path of image {subpath} contains none of {', '.join(_BANDS)}; put each version into "
                "a folder of its name."
            )
        stem = PurePosixPath(subpath).stem
        moment = "-".join(word for word in re.split(r"[-_]", stem) if word.lower() not in _BANDS) or stem
        return f"{words[0]}-{moment}", moment
