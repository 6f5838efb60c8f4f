"""DIOR and DIOR-R: 23,463 aerial images of 800 x 800 with horizontal boxes, and with oriented ones.

Horizontal edges are 1-based and include their last pixel. Oriented corners are plain pixels and may lie outside the
image; the files' ``angle`` carries rounding noise and is not used.
"""

from __future__ import annotations

from dataclasses import dataclass

from converters.base import register
from converters.detection.box_folders import BoxFolders
from converters.formats.objects import annotated, from_inclusive
from converters.formats.text import read_bytes
from converters.formats.voc import check_names_image, parse_voc_rows
from converters.layout import last_parts
from mmrs.record import Annotations, Provenance
from mmrs.source import Item


@register("dior")
@dataclass(frozen=True)
class Dior(BoxFolders):
    """Horizontal boxes are DIOR, oriented ones DIOR-R."""

    def read(self, item: Item) -> Annotations:
        """Objects in file order. The size in an oriented file is no check of the image: 33 files state another one."""
        path = item.annotations[0]
        voc, unread = parse_voc_rows(read_bytes(path), str(path))
        check_names_image(voc, item.stem, str(path))
        raw = [from_inclusive(obj) for obj in self.boxes_of(voc, str(path))]
        oriented = self.boxes == "oriented"
        return Annotations(
            objects=annotated(raw, self.facts.classes, str(path)),
            metadata={"stated_size": list(voc.size)} if oriented and voc.size else {},
            unread=unread,
            provenance=Provenance(annotation=last_parts(path, 3), original_id=item.stem, layout=self.boxes),
            declared_size=None if oriented else voc.size,
        )
