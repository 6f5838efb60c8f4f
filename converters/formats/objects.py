"""Objects as files state them -> annotated objects of the record."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from typing import Any, Literal, get_args

import numpy as np
from pydantic import TypeAdapter

from converters.catalog import nearest
from converters.formats.folders import normal_form
from converters.formats.rows import rows_apart
from converters.formats.shapes import BoxObject, plain_quads, states_no_size
from mmrs.errors import BadItem
from mmrs.geometry import Array, as_quads, canonical_quad, clockwise, quad_from_hbb, quad_from_rotated, without_size
from mmrs.record import AnnotatedObject, Quad, UnreadRow

IGNORED_CATEGORY = "ignored region"
# All objects of an image in one call: one by one they take six times as long.
_OBJECTS = TypeAdapter(tuple[AnnotatedObject, ...])


def known_label(label: str, labels: Collection[str], path: str, line: int | None = None) -> str:
    """The one of `labels` that `label` spells, without regard to case, blanks, underscores and hyphens.

    Raises:
        BadItem: an unknown class, or one that several of the labels could mean and none is written so.
    """
    if label in labels:
        return label
    found = _by_normal_form(tuple(labels)).get(normal_form(label), ())
    if len(found) > 1:
        raise BadItem(f"class {label!r} may be {' or '.join(map(repr, found))}", path, line)
    if not found:
        raise BadItem(f"unknown class {label!r}{nearest(label, labels)}", path, line)
    return found[0]


FirstCorner = Literal["top-left", "as-written"]


@dataclass(frozen=True, slots=True)
class LabelledBoxes:
    """The objects of one image as its file states them, each with its label as the source's classes have it.

    Args:
        boxes: in file order.
        labels: of each box, one of `classes` or `ignored`.
        classes: the source's label -> unified category.
        ignored: labels of regions that count as nothing.
        repeats: whether one object may stand in the file several times, as it does with several expressions, or where
            the source's own counts keep both.
        first_corner: ``as-written`` where it means something (the head of a vehicle); else that nearest the top left.
    """

    boxes: Sequence[BoxObject]
    labels: Sequence[str]
    classes: Mapping[str, str]
    ignored: Collection[str] = ()
    repeats: bool = False
    first_corner: FirstCorner = "top-left"


def labelled(
    raw: Sequence[BoxObject],
    classes: Mapping[str, str],
    path: str,
    ignored: Collection[str] = (),
    repeats: bool = False,
    first_corner: FirstCorner = "top-left",
) -> LabelledBoxes:
    """The boxes with their labels, which are matched by `known_label`; `path` is their file.

    Raises:
        BadItem: an unknown class.
    """
    known = (*classes, *ignored)
    labels = [known_label(obj.label, known, path, obj.line) for obj in raw]
    return LabelledBoxes(raw, labels, classes, ignored, repeats, first_corner)


def labelled_rows(
    raw: Sequence[BoxObject],
    classes: Mapping[str, str],
    path: str,
    ignored: Collection[str] = (),
    repeats: bool = False,
    first_corner: FirstCorner = "top-left",
) -> tuple[LabelledBoxes, tuple[UnreadRow, ...]]:
    """As `labelled`, with the objects of unknown classes named beside the others."""
    known, unknown = known_objects(raw, (*classes, *ignored), path)
    return labelled(known, classes, path, ignored, repeats, first_corner), unknown


def annotated(images: Sequence[LabelledBoxes]) -> list[tuple[AnnotatedObject, ...]]:
    """The objects of each image in file order, with unified categories and quads clockwise from their first corner.

    An object without area names no place that a text or a score could use, and one with the label and the quad of an
    earlier one would be counted twice: they become ignore objects flagged ``zero_area`` and ``duplicate``. Labels are
    kept verbatim. The geometry of all images is computed at once, which a block of them is read together for.
    """
    quads = np.concatenate([object_quads([]), *(_quads_of(images, kind) for kind in get_args(FirstCorner))])
    order = [position for kind in get_args(FirstCorner) for position in _of_kind(images, kind)]
    facts = zip(plain_quads(quads), without_size(quads).tolist(), strict=True)
    found: dict[int, list[dict[str, Any]]] = {
        position: _rows(images[position], islice(facts, len(images[position].boxes))) for position in order
    }
    return [_OBJECTS.validate_python(found[position]) for position in range(len(images))]


def _of_kind(images: Sequence[LabelledBoxes], first_corner: FirstCorner) -> list[int]:
    return [position for position, image in enumerate(images) if image.first_corner == first_corner]


def _quads_of(images: Sequence[LabelledBoxes], first_corner: FirstCorner) -> Array:
    boxes = [obj for position in _of_kind(images, first_corner) for obj in images[position].boxes]
    return object_quads(boxes, first_corner)


def _rows(image: LabelledBoxes, facts: Iterable[tuple[Quad, bool]]) -> list[dict[str, Any]]:
    """Fields of each object; `facts` are its quad and whether that has no area."""
    rows = []
    seen: set[tuple[str, Quad]] = set()
    for obj, label, (quad, is_thin) in zip(image.boxes, image.labels, facts, strict=True):
        box, flags = obj.box, obj.flags
        no_area = is_thin or states_no_size(obj)
        repeated = not image.repeats and (label, quad) in seen
        if not image.repeats:
            seen.add((label, quad))
        if no_area or repeated:
            found = {"zero_area": no_area, "duplicate": repeated}
            flags = flags | {flag: True for flag, is_set in found.items() if is_set}
        rows.append(
            {
                "category": image.classes.get(label, IGNORED_CATEGORY),
                "label": obj.label,
                "quad": quad,
                "hbb": box if box is not None and box[0] < box[2] and box[1] < box[3] else None,
                "difficult": obj.difficult,
                "truncated": obj.truncated,
                "ignore": obj.ignore or no_area or repeated or label in image.ignored,
                "flags": flags,
            }
        )
    return rows


def known_objects(
    raw: Sequence[BoxObject], labels: Collection[str], path: str
) -> tuple[tuple[BoxObject, ...], tuple[UnreadRow, ...]]:
    """The objects whose class is one of `labels`, and the rows of the others."""
    if all(obj.label in labels for obj in raw):
        return tuple(raw), ()

    def checked(obj: BoxObject) -> BoxObject:
        known_label(obj.label, labels, path, obj.line)
        return obj

    return rows_apart(raw, checked)


def object_quads(raw: Sequence[BoxObject], first_corner: FirstCorner = "top-left") -> Array:
    """Quads ``(N, 4, 2)`` in pixels: from corners or rotated boxes where the file has them, else from `box`."""
    quads = np.zeros((len(raw), 4, 2), dtype=np.float64)
    boxes, rotated, corners = _Placed(), _Placed(), _Placed()
    for place, obj in enumerate(raw):
        if obj.corners is not None:
            corners.add(place, obj.corners)
        elif obj.rotated is not None:
            rotated.add(place, obj.rotated)
        elif obj.box is not None:
            boxes.add(place, obj.box)
    for kind, to_quads in ((boxes, quad_from_hbb), (rotated, quad_from_rotated), (corners, as_quads)):
        if kind.places:
            quads[kind.places] = to_quads(kind.numbers)
    return canonical_quad(quads) if first_corner == "top-left" else clockwise(quads)


@dataclass(slots=True)
class _Placed:
    """Numbers of the objects that state their place in one way, and which objects these are."""

    places: list[int] = field(default_factory=list)
    numbers: list[tuple[float, ...]] = field(default_factory=list)

    def add(self, place: int, numbers: tuple[float, ...]) -> None:
        self.places.append(place)
        self.numbers.append(numbers)


def from_inclusive(obj: BoxObject) -> BoxObject:
    """1-based edges that include their last pixel (PASCAL VOC) -> the record's edges: xmin - 1, ymin - 1, xmax, ymax.

    An edge that is 0 against the rule is the first pixel already; a box without width or height stays as it is.
    """
    if obj.box is None or obj.box[0] == obj.box[2] or obj.box[1] == obj.box[3]:
        return obj
    xmin, ymin, xmax, ymax = obj.box
    return obj.with_box((xmin - (xmin >= 1), ymin - (ymin >= 1), xmax, ymax))


@cache
def _by_normal_form(labels: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for label in labels:
        found[normal_form(label)] = (*found.get(normal_form(label), ()), label)
    return found
