"""MAR20: 3,842 images of military airfields, 20 aircraft models, with horizontal and with oriented boxes.

The files name the models ``A1`` to ``A20`` only. One public copy lost the closing tags of the oriented corners
(``<x_left_top>5.2_left_top>``); such a file is mended and the record says so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from converters.base import register
from converters.boxes import BoxAnnotations
from converters.detection.box_folders import BoxFolders
from converters.formats.objects import labelled_rows
from converters.formats.text import decode, read_bytes
from converters.formats.voc import VocFile, check_names_image, parse_voc
from converters.layout import last_parts
from mmrs.errors import BadItem
from mmrs.record import Provenance
from mmrs.source import Item

_COARSE = "airplane"
LOST_TAG = re.compile(r"<([xy])(_(?:left|right)_(?:top|bottom))>([^<>]*?)\2>", re.ASCII)


@register("mar20")
@dataclass(frozen=True)
class Mar20(BoxFolders):
    """Aircraft by model, or all alike."""

    names: Literal["model", "airplane"] = "model"
    """Categories: the aircraft's model, or airplane for all alike."""

    @property
    def categories(self) -> Sequence[str]:
        """The models, or ``airplane``."""
        return self.facts.categories if self.names == "model" else (_COARSE,)

    def parse(self, item: Item) -> BoxAnnotations:
        """Objects in file order; ``mended`` where closing tags were lost."""
        path = item.annotations[0]
        voc, mended = _read(path)
        check_names_image(voc, item.stem, str(path))
        classes = self.facts.classes
        if self.names == "airplane":
            classes = dict.fromkeys(classes, _COARSE)
        own, other_kind = self.boxes_of(voc, str(path))
        boxes, unknown = labelled_rows(own, classes, str(path))
        return BoxAnnotations(
            boxes,
            unread=voc.unread + other_kind + unknown,
            metadata={"mended": "closing tags of the corners were lost"} if mended else {},
            provenance=Provenance(annotation=last_parts(path, 3), original_id=item.stem, layout=self.boxes),
            declared_size=voc.size,
        )


def _read(path: Path) -> tuple[VocFile, bool]:
    data = read_bytes(path)
    try:
        return parse_voc(data, str(path)), False
    except BadItem:
        mended, count = LOST_TAG.subn(r"<\1\2>\3</\1\2>", decode(data, str(path)))
        if not count:
            raise
        return parse_voc(mended.encode(), str(path)), True
