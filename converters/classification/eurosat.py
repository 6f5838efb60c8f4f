"""EuroSAT: 27,000 Sentinel-2 patches of 64 x 64 in 10 classes, as RGB JPEGs or as 13-band GeoTIFFs of the same scenes.

``2750/<Class>/<Class>_N.jpg``, or ``ds/images/remote_sensing/otherDatasets/sentinel_2/tif/<Class>/<Class>_N.tif`` with
16-bit bands in the order B01 to B12, then B8A. Split by a seeded rule, the same for both products.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from converters.base import register
from converters.classification.listed_folders import ListedClassFolders
from mmrs.source import BandSelection

Product = Literal["rgb", "ms"]
PLACES: dict[Product, tuple[str, ...]] = {
    "rgb": ("2750", "EuroSAT_RGB", "EuroSAT/2750", "EuroSAT", "EuroSAT_split"),
    "ms": (
        "ds/images/remote_sensing/otherDatasets/sentinel_2/tif",
        "EuroSATallBands/ds/images/remote_sensing/otherDatasets/sentinel_2/tif",
        "EuroSAT_MS",
        "EuroSATallBands",
    ),
}
_SUFFIXES: dict[Product, frozenset[str]] = {
    "rgb": frozenset({".jpg", ".jpeg", ".png"}),
    "ms": frozenset({".tif", ".tiff"}),
}
# The authors drew their RGB version from bands 4, 3 and 2 by a linear scale from 0 to 2750.
NATURAL_COLOUR = BandSelection(bands=(4, 3, 2), low=0.0, high=2750.0)


@register("eurosat")
@dataclass(frozen=True)
class EuroSat(ListedClassFolders):
    """One of two products of the same scenes."""

    product: Product = "rgb"
    """rgb: the JPEGs; ms: natural colour from the 13-band GeoTIFFs."""

    named_by_class: ClassVar[bool] = True
    list_name: ClassVar[str] = "eurosat"

    @property
    def bands(self) -> BandSelection | None:
        """Natural colour from the 13 bands; None for the RGB product."""
        return NATURAL_COLOUR if self.product == "ms" else None

    def layout(self) -> tuple[tuple[str, ...], frozenset[str]]:
        """Places and suffixes of the product."""
        return PLACES[self.product], _SUFFIXES[self.product]

    def expected(self) -> tuple[str, ...]:
        """Without the tree of the other product, which may be there."""
        others = PLACES.keys() - {self.product}
        return tuple(text for layout, text in self.facts.layouts.items() if layout not in others)
