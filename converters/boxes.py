"""Converters of boxes: files are parsed one by one, the geometry of all their objects is computed together.

A numpy call takes as long for the eight boxes of an image as for the five hundred of a block of images.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from converters.base import Converter
from converters.formats.objects import LabelledBoxes, annotated
from mmrs.errors import BadItem
from mmrs.record import Annotations, Expression, Provenance, UnreadRow
from mmrs.source import Item, read_or_fault


@dataclass(slots=True)
class BoxAnnotations:
    """`mmrs.record.Annotations` of one image, its objects still as its file states them."""

    boxes: LabelledBoxes
    unread: tuple[UnreadRow, ...] = ()
    expressions: tuple[Expression, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    provenance: Provenance = field(default_factory=Provenance)
    declared_size: tuple[int, int] | None = None


class BoxConverter(Converter):
    """A converter that implements `parse` instead of `read`: `mmrs.source.BlockReader`."""

    @abstractmethod
    def parse(self, item: Item) -> BoxAnnotations:
        """Parse one image's annotation. Raises `BadItem` when it cannot be used."""

    def read(self, item: Item) -> Annotations:
        """Parse one image's annotation. Raises `BadItem` when it cannot be used."""
        return finished_boxes([self.parse(item)])[0]

    def read_block(self, items: Sequence[Item]) -> list[Annotations | BadItem]:
        """As `read`, for several items."""
        parsed = [read_or_fault(self.parse, item) for item in items]
        finished = iter(finished_boxes([one for one in parsed if isinstance(one, BoxAnnotations)]))
        return [one if isinstance(one, BadItem) else next(finished) for one in parsed]


def finished_boxes(parsed: Sequence[BoxAnnotations]) -> list[Annotations]:
    """The annotations of each image; the geometry of all objects is computed at once."""
    objects = annotated([one.boxes for one in parsed])
    return [
        Annotations(
            objects=known,
            unread=one.unread,
            expressions=one.expressions,
            metadata=dict(one.metadata),
            provenance=one.provenance,
            declared_size=one.declared_size,
        )
        for one, known in zip(parsed, objects, strict=True)
    ]
