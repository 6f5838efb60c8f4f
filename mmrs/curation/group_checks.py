"""Checks across the images of one group: the same picture must not be called two things."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from mmrs.curation.groups import Groups
from mmrs.curation.image_table import Rows
from mmrs.curation.links import LinkKind, Links, components
from mmrs.curation.text_checks import TextFault, contradiction
from mmrs.shards.several import NumberedShards


def check_groups(rows: Rows, groups: Groups, shards: NumberedShards) -> list[tuple[int, TextFault]]:
    """Warnings about pictures with two labels in one source, and about captions against another source's label.

    Only images that show the same picture are compared; tiles of one scene show different ones, and so do samples of
    several images that have some in common and not all.

    Returns:
        (row, warning) pairs.
    """
    findings: list[tuple[int, TextFault]] = []
    for members in _pictures(rows, groups.links):
        findings += _labels(rows, members)
        findings += _captions(rows, members, shards)
    return findings


def _pictures(rows: Rows, links: Links) -> Iterator[list[int]]:
    same = ~np.isin(links.kinds, (LinkKind.SCENE, LinkKind.PART))
    kept = np.flatnonzero(same)
    subset = Links(links.kinds[kept], links.first[kept], links.second[kept], ("",) * len(kept))
    labels = components(len(rows), subset)
    members: dict[int, list[int]] = defaultdict(list)
    for row in np.flatnonzero(np.bincount(labels, minlength=len(rows))[labels] > 1).tolist():
        members[int(labels[row])].append(row)
    yield from members.values()


def _labels(rows: Rows, members: list[int]) -> Iterator[tuple[int, TextFault]]:
    first: dict[str, int] = {}
    for row in members:
        label = rows.labels[row]
        if label is None:
            continue
        earlier = first.setdefault(rows.source(row), row)
        if label != rows.labels[earlier]:
            what = f"{label!r}, but {rows.ids[earlier]} shows the same picture and is {rows.labels[earlier]!r}"
            yield row, TextFault(rows.ids[row], "warning", "two labels", "label", what)


def _captions(rows: Rows, members: list[int], shards: NumberedShards) -> Iterator[tuple[int, TextFault]]:
    labelled = [row for row in members if rows.labels[row] is not None]
    for row in members:
        if not labelled or rows.labels[row] is not None or not rows.captions[row]:
            continue
        label, known = rows.labels[labelled[0]], shards.source_entry(int(rows.shard[labelled[0]])).categories
        captions = rows.record(shards, row).captions
        if label is not None and (why := contradiction(label, captions, known)):
            what = f"{why} (label of {rows.ids[labelled[0]]}, the same picture)"
            yield row, TextFault(rows.ids[row], "warning", "label against captions", "captions", what)
