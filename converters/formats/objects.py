"""Objects as files state them -> annotated objects of the record."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, Literal

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
# All objects of a file in one call: one by one they take six times as long.
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


def annotated(
    raw: Sequence[BoxObject],
    classes: Mapping[str, str],
    path: str,
    ignored: Collection[str] = (),
    repeats: bool = False,
    first_corner: Literal["top-left", "as-written"] = "top-left",
) -> tuple[AnnotatedObject, ...]:
    """Objects in file order with unified categories and quads that are clockwise from their first corner.

    An object without area names no place that a text or a score could use, and one with the label and the quad of an
    earlier one would be counted twice: they become ignore objects flagged ``zero_area`` and ``duplicate``.

    Args:
        raw: the objects; `path` is their file.
        classes: the source's label -> unified category; labels are matched by `known_label` and kept verbatim.
        ignored: labels of regions that count as nothing.
        repeats: whether one object may stand in the file several times, as it does with several expressions, or where
            the source's own counts keep both.
        first_corner: ``as-written`` where it means something (the head of a vehicle); else that nearest the top left.

    Raises:
        BadItem: an unknown class.
    """
    quads = object_quads(raw, first_corner)
    sizeless = without_size(quads).tolist()
    labels = (*classes, *ignored)
    rows: list[dict[str, Any]] = []
    seen: set[tuple[str, Quad]] = set()
    for obj, quad, is_thin in zip(raw, plain_quads(quads), sizeless, strict=True):
        label = known_label(obj.label, labels, path, obj.line)
        box, flags = obj.box, obj.flags
        no_area = is_thin or states_no_size(obj)
        repeated = not repeats and (label, quad) in seen
        if not repeats:
            seen.add((label, quad))
        if no_area or repeated:
            found = {"zero_area": no_area, "duplicate": repeated}
            flags = flags | {flag: True for flag, is_set in found.items() if is_set}
        rows.append(
            {
                "category": classes.get(label, IGNORED_CATEGORY),
                "label": obj.label,
                "quad": quad,
                "hbb": box if box is not None and box[0] < box[2] and box[1] < box[3] else None,
                "difficult": obj.difficult,
                "truncated": obj.truncated,
                "ignore": obj.ignore or no_area or repeated or label in ignored,
                "flags": flags,
            }
        )
    return _OBJECTS.validate_python(rows)


def annotated_rows(
    raw: Sequence[BoxObject],
    classes: Mapping[str, str],
    path: str,
    ignored: Collection[str] = (),
    repeats: bool = False,
    first_corner: Literal["top-left", "as-written"] = "top-left",
) -> tuple[tuple[AnnotatedObject, ...], tuple[UnreadRow, ...]]:
    """As `annotated`, with the objects of unknown classes named beside the others."""
    known, unknown = known_objects(raw, (*classes, *ignored), path)
    return annotated(known, classes, path, ignored, repeats, first_corner), unknown


def known_objects(
    raw: Iterable[BoxObject], labels: Collection[str], path: str
) -> tuple[tuple[BoxObject, ...], tuple[UnreadRow, ...]]:
    """The objects whose class is one of `labels`, and the rows of the others."""

    def checked(obj: BoxObject) -> BoxObject:
        known_label(obj.label, labels, path, obj.line)
        return obj

    return rows_apart(raw, checked)


def object_quads(raw: Sequence[BoxObject], first_corner: Literal["top-left", "as-written"] = "top-left") -> Array:
    """Quads ``(N, 4, 2)`` in pixels: from corners or rotated boxes where the file has them, else from `box`."""
    quads = np.zeros((len(raw), 4, 2), dtype=np.float64)
    for kind, to_quads in (("box", quad_from_hbb), ("rotated", quad_from_rotated), ("corners", as_quads)):
        places = [place for place, obj in enumerate(raw) if getattr(obj, kind) is not None]
        if places:
            quads[places] = to_quads([getattr(raw[place], kind) for place in places])
    return canonical_quad(quads) if first_corner == "top-left" else clockwise(quads)


def from_inclusive(obj: BoxObject) -> BoxObject:
    """1-based edges that include their last pixel (PASCAL VOC) -> the record's edges: xmin - 1, ymin - 1, xmax, ymax.

    An edge that is 0 against the rule is the first pixel already; a box without width or height stays as it is.
    """
    if obj.box is None or obj.box[0] == obj.box[2] or obj.box[1] == obj.box[3]:
        return obj
    xmin, ymin, xmax, ymax = obj.box
    return replace(obj, box=(xmin - (xmin >= 1), ymin - (ymin >= 1), xmax, ymax))


@cache
def _by_normal_form(labels: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for label in labels:
        found[normal_form(label)] = (*found.get(normal_form(label), ()), label)
    return found
