"""Boxes of one image as any format states them -> its annotations, with the classes that the description names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from converters.boxes import BoxAnnotations
from converters.formats.objects import known_label, labelled_rows
from converters.formats.shapes import BoxObject
from converters.layout import last_parts
from converters.own_data.description import Description
from mmrs.errors import BadItem
from mmrs.record import Annotations, Provenance, UnreadRow
from mmrs.source import Item


@dataclass(frozen=True, slots=True)
class BoxRows:
    """Objects of one image, the rows that are none, and the size (width, height) that the file states."""

    objects: tuple[BoxObject, ...]
    unread: tuple[UnreadRow, ...] = ()
    size: tuple[int, int] | None = None


def boxes_of_classes(own: Description, item: Item, rows: BoxRows) -> BoxAnnotations:
    """The annotations of an image's boxes; rows of unknown classes are named beside the others."""
    path = str(item.annotations[0]) if item.annotations else str(item.image)
    boxes, unknown = labelled_rows(rows.objects, own.classes, path, own.options.ignored)
    return BoxAnnotations(
        boxes,
        provenance=Provenance(
            annotation=last_parts(item.annotations[0], 1) if item.annotations else None, original_id=item.image.name
        ),
        declared_size=rows.size,
        unread=rows.unread + unknown,
    )


def class_of_tags(own: Description, item: Item, tags: Sequence[str]) -> Annotations:
    """The annotations of an image whose one tag is its class. Raises `BadItem` for none, several or an unknown one."""
    path = str(item.annotations[0])
    if len(set(tags)) != 1:
        raise BadItem(f"{item.image.name} has {len(set(tags))} tags; one is expected: its class", path)
    label = known_label(tags[0], tuple(own.classes), path)
    provenance = Provenance(annotation=last_parts(item.annotations[0], 1), original_id=item.image.name)
    return Annotations(label=own.classes[label], source_label=label, provenance=provenance)
