"""Compare HIT-UAV's four layouts object by object: which disagree, where, and by how much.

``rotate_json`` is the reference. ``rotate_xml`` must repeat it; the edges of ``normal_*`` must be those of the
circumscribed horizontal box, rounded down; ``normal_xml`` must repeat ``normal_json``, and ``truncated`` of the two XML
layouts must agree. A field that a layout does not have at all is no disagreement.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from converters.detection.hit_uav.files import LAYOUTS, Layout, has_layout, locate_layout
from converters.detection.hit_uav.objects import json_rows, xml_rows
from converters.formats.rows import apart
from converters.formats.shapes import BoxObject
from converters.formats.voc import read_voc
from converters.layout import layout_error
from mmrs.errors import BadItem, UserError
from mmrs.geometry import hbb_from_quad, quad_from_rotated
from mmrs.source import Item
from mmrs.text import table

REFERENCE: Layout = "rotate_json"
_EDGES = ("xmin", "ymin", "xmax", "ymax")
_ROTATED = ("cx", "cy", "width", "height", "angle")
LACKS_DIFFICULT = frozenset({"normal_json"})
LACKS_TRUNCATED = frozenset({"normal_json", "rotate_json"})
# The files hold four decimals of a pixel: an extent that near to a whole number may be rounded either way.
FILE_PRECISION_PX = 1e-3

Objects = dict[str, list[BoxObject]]


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One field of one object (`index` in file order, None for a whole image) that differs from the reference."""

    layout: str
    reference: str
    stem: str
    index: int | None
    field: str
    expected: Any
    found: Any


@dataclass(frozen=True, slots=True)
class EdgeStatistics:
    """How far normal edges lie below the extents of the rotated boxes, in pixels, and the IoU of the two boxes."""

    layout: str
    boxes: int
    mean_below_px: float
    greatest_below_px: float
    least_below_px: float
    floored_edges_share: float
    mean_iou: float
    least_iou: float


@dataclass(frozen=True, slots=True)
class LayoutReport:
    """Result of `compare`: sizes of every layout present, edge statistics, and every disagreement."""

    split: str
    images: dict[str, int]
    objects: dict[str, int]
    edges: tuple[EdgeStatistics, ...]
    disagreements: tuple[Disagreement, ...]

    @property
    def counts(self) -> dict[str, int]:
        """``layout against reference: field`` -> number of disagreements."""
        found = Counter(f"{row.layout} against {row.reference}: {row.field}" for row in self.disagreements)
        return dict(sorted(found.items()))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, counts included."""
        return {**asdict(self), "counts": self.counts}

    def render(self, shown: int) -> str:
        """Text for a person, with the first `shown` disagreements."""
        rows = [(layout, self.images[layout], self.objects[layout]) for layout in self.images]
        lines = [f"{self.split}:", table(("layout", "images", "objects"), rows)]
        lines += [f"  {what}: {count}" for what, count in self.counts.items()]
        for row in self.disagreements[:shown]:
            where = row.stem if row.index is None else f"{row.stem} object {row.index}"
            lines.append(f"  {row.layout} {where}: {row.field} is {row.found!r}, {row.reference} has {row.expected!r}")
        if len(self.disagreements) > shown:
            lines.append(f"  ... and {len(self.disagreements) - shown} more (--json lists all)")
        for edges in self.edges:
            lines.append(
                f"  {edges.layout}: edges lie {edges.mean_below_px:.3f} px below the rotated extent on average "
                f"(at most {edges.greatest_below_px:.3f}), {edges.floored_edges_share:.2%} are its floor; "
                f"IoU mean {edges.mean_iou:.3f}, least {edges.least_iou:.3f}"
            )
        return "\n".join(lines)


def compare_layouts(root: Path, split: str, find: Callable[[Layout, str], Sequence[Item]]) -> LayoutReport:
    """Read every layout present under `root` and compare them for one split.

    `find` gives the items of a layout and a split. An image whose annotation cannot be read in some layout is a
    disagreement of the field ``unreadable``.

    Raises:
        UserError: ``rotate_json`` is absent, or no other layout is there to compare it with.
    """
    root, _ = locate_layout(root)
    present = [layout for layout in LAYOUTS if has_layout(root, layout)]
    if REFERENCE not in present or len(present) < 2:
        listed = ", ".join(present) or "none"
        raise layout_error("hit-uav", root, f"needs {REFERENCE} and another layout to compare; present: {listed}")
    read, disagreements = {}, []
    for layout in present:
        read[layout], unreadable = _read(layout, split, find)
        disagreements += unreadable
    statistics = []
    for layout, reference in _pairs(present):
        disagreements += _compare_pair(layout, read[layout], reference, read[reference])
        if layout.startswith("normal") and reference == REFERENCE:
            statistics += _edge_statistics(layout, read[layout], read[reference])
    return LayoutReport(
        split=split,
        images={layout: len(objects) for layout, objects in read.items()},
        objects={layout: sum(map(len, objects.values())) for layout, objects in read.items()},
        edges=tuple(statistics),
        disagreements=tuple(disagreements),
    )


def _pairs(present: Sequence[Layout]) -> list[tuple[Layout, Layout]]:
    pairs: list[tuple[Layout, Layout]] = [(layout, REFERENCE) for layout in present if layout != REFERENCE]
    for layout, reference in (("normal_xml", "normal_json"), ("normal_xml", "rotate_xml")):
        if layout in present and reference in present:
            pairs.append((layout, reference))  # type: ignore[arg-type]
    return pairs


def _read(
    layout: Layout, split: str, find: Callable[[Layout, str], Sequence[Item]]
) -> tuple[Objects, list[Disagreement]]:
    objects: Objects = {}
    unreadable = []
    try:
        items = find(layout, split)
    except UserError as error:
        return {}, [Disagreement(layout, REFERENCE, split, None, "unreadable", "a readable split", str(error))]
    for item in items:
        path = item.annotations[0]
        try:
            if layout.endswith("_json"):
                known, unread = apart(json_rows(item))
            else:
                known, unread = apart(xml_rows(read_voc(path), layout, str(path)))
            reasons = [row.reason for row in unread]
        except BadItem as error:
            known, reasons = (), [error.reason]
        # Objects are compared by their places, which are known only where every row was understood.
        if reasons:
            row = Disagreement(layout, REFERENCE, item.stem, None, "unreadable", "a readable annotation", reasons[0])
            unreadable.append(row)
        else:
            objects[item.stem] = list(known)
    return objects, unreadable


def _compare_pair(layout: Layout, own: Objects, reference: Layout, others: Objects) -> Iterator[Disagreement]:
    for stem in sorted(own.keys() | others.keys()):
        if stem not in own or stem not in others:
            yield Disagreement(layout, reference, stem, None, "missing image", stem in others, stem in own)
            continue
        pairs = zip_longest(own[stem], others[stem])
        for index, (obj, other) in enumerate(pairs):
            if obj is None or other is None:
                labels = [None if each is None else each.label for each in (other, obj)]
                yield Disagreement(layout, reference, stem, index, "missing object", *labels)
                continue
            for field, expected, found in _differences(layout, obj, reference, other):
                yield Disagreement(layout, reference, stem, index, field, expected, found)


def _differences(layout: Layout, obj: BoxObject, reference: Layout, other: BoxObject) -> Iterator[tuple[str, Any, Any]]:
    if obj.label != other.label:
        yield "class", other.label, obj.label
    if not {layout, reference} & LACKS_DIFFICULT and obj.difficult != other.difficult:
        yield "difficult", other.difficult, obj.difficult
    if not {layout, reference} & LACKS_TRUNCATED and obj.truncated != other.truncated:
        yield "truncated", other.truncated, obj.truncated
    if obj.rotated is not None and other.rotated is not None:
        yield from _unequal(_ROTATED, other.rotated, obj.rotated)
    elif obj.box is not None and other.box is not None:
        yield from _unequal(_EDGES, other.box, obj.box)
    # The two XML layouts meet for `truncated` alone; edges are judged against the reference.
    elif obj.box is not None and other.rotated is not None and reference == REFERENCE:
        extent = hbb_from_quad(quad_from_rotated([other.rotated]))[0]
        for name, exact, edge in zip(_EDGES, extent.tolist(), obj.box, strict=True):
            if edge not in (np.floor(exact - FILE_PRECISION_PX), np.floor(exact + FILE_PRECISION_PX)):
                yield name, round(exact, 4), edge


def _unequal(names: Sequence[str], expected: Sequence[float], found: Sequence[float]) -> Iterator[tuple[str, Any, Any]]:
    for name, one, other in zip(names, expected, found, strict=True):
        if one != other:
            yield name, one, other


def _edge_statistics(layout: Layout, own: Objects, others: Objects) -> list[EdgeStatistics]:
    boxes, rotated = [], []
    for stem in sorted(own.keys() & others.keys()):
        for obj, other in zip(own[stem], others[stem], strict=False):
            if obj.box is not None and other.rotated is not None:
                boxes.append(obj.box)
                rotated.append(other.rotated)
    if not boxes:
        return []
    edges = np.array(boxes, dtype=np.float64)
    extents = hbb_from_quad(quad_from_rotated(rotated))
    below = extents - edges
    floored = (edges == np.floor(extents - FILE_PRECISION_PX)) | (edges == np.floor(extents + FILE_PRECISION_PX))
    iou = _paired_iou(edges, extents)
    return [
        EdgeStatistics(
            layout=layout,
            boxes=len(edges),
            mean_below_px=float(below.mean()),
            greatest_below_px=float(below.max()),
            least_below_px=float(below.min()),
            floored_edges_share=float(floored.mean()),
            mean_iou=float(iou.mean()),
            least_iou=float(iou.min()),
        )
    ]


def _paired_iou(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """IoU ``(N,)`` of box i of `first` with box i of `second`, both ``(N, 4)``."""
    low, high = np.maximum(first[:, :2], second[:, :2]), np.minimum(first[:, 2:], second[:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first, second)]
    return shared / (areas[0] + areas[1] - shared)
