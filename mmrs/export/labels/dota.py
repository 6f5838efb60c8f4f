"""DOTA text, a file an image: ``x1 y1 x2 y2 x3 y3 x4 y4 category difficult`` in pixels, ``-`` for blanks in names.

Corners keep their order: the first is the head where the source says which. Without the two header lines of the
release, on which readers disagree.
"""

from __future__ import annotations

from collections.abc import Iterable

from mmrs.export.format import (
    IGNORED,
    ExportCounts,
    ExportFormat,
    ExportPart,
    PlacedSample,
    fixed_frame,
    label_path,
    write_into,
)


def _write(samples: Iterable[PlacedSample], part: ExportPart) -> ExportCounts:
    counts = ExportCounts()
    for sample in samples:
        counts.images += 1
        lines = []
        for thing in sample.record.objects:
            if thing.ignore:
                counts.left_out[IGNORED] += 1
                continue
            corners = " ".join(f"{value:.1f}" for corner in thing.quad for value in corner)
            lines.append(f"{corners} {thing.category.replace(' ', '-')} {int(thing.difficult)}\n")
        counts.objects += len(lines)
        write_into(part.folder, label_path(sample.path, ".txt"), "".join(lines).encode())
    return counts


DOTA_EXPORT = ExportFormat(
    "dota",
    "labels/<split>/<source>/<stem>.txt, eight numbers, class, difficult",
    fixed_frame("pixels of the image as it is stored, four corners clockwise on screen, one decimal"),
    _write,
    several="first",
)
