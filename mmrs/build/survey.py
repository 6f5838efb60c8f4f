"""Survey: what is on disk for a recipe. Headers are read and windows planned; nothing is decoded or written."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from mmrs.build.engine import run_tasks
from mmrs.build.objects import cut_to_window
from mmrs.build.plan import PlannedSample, seeded_order
from mmrs.build.quarantine import QuarantineEntry, entry_for, relative_to_root
from mmrs.errors import BadItem, UserError
from mmrs.imaging.probe import MAX_PIXELS, MAX_SCENE_PIXELS, ImageProbe, probe
from mmrs.imaging.windows import plan_windows
from mmrs.progress import Progress
from mmrs.record import Window
from mmrs.source import Item, Source, SourceBuild

_ITEMS_PER_TASK = 256


@dataclass(frozen=True, slots=True)
class SplitSurvey:
    """One split of one source: the samples to store, what cannot be stored, and notes for the user."""

    build: SourceBuild
    split: str
    samples: tuple[PlannedSample, ...]
    quarantine: tuple[QuarantineEntry, ...]
    notes: tuple[str, ...]


def survey_split(build: SourceBuild, split: str, seed: int, workers: int, progress: Progress) -> SplitSurvey:
    """Discover a split, apply the recipe's limit, and probe every image's header.

    Raises:
        UserError: the source's layout is not there, or the split has no image at all.
    """
    found = build.source.discover(build.root, split)
    items = found.items
    if not items and not found.problems:
        raise UserError(
            f"{build.source.name}: split {split!r} under {build.root} has no image; "
            f"see what is there with `mmrs scan {build.source.name} {build.root}`."
        )
    if build.limit is not None and build.limit < len(items):
        chosen = seeded_order([item.stem for item in items], seed, "limit")[: build.limit]
        items = tuple(items[index] for index in sorted(chosen))
    quarantine = [_found_entry(build, split, "item", *problem) for problem in found.problems]
    quarantine += [_found_entry(build, split, "part", *detail) for detail in found.details]
    chunks = [items[start : start + _ITEMS_PER_TASK] for start in range(0, len(items), _ITEMS_PER_TASK)]
    samples: list[PlannedSample] = []
    survey = partial(_survey_items, build.source, build.root, split, seed)
    with progress.stage(f"survey {build.source.name}/{split}", len(items)) as advance:
        for position, (read, bad) in run_tasks(survey, chunks, workers):
            samples += [PlannedSample(chunks[position][index], header, window) for index, header, window in read]
            quarantine += bad
            advance(len(chunks[position]))
    samples.sort(key=lambda sample: sample.stem)
    return SplitSurvey(build, split, tuple(samples), tuple(quarantine), found.notes)


def _found_entry(
    build: SourceBuild, split: str, level: Literal["item", "part"], path: str, reason: str
) -> QuarantineEntry:
    return QuarantineEntry(
        source=build.source.name,
        split=split,
        level=level,
        path=relative_to_root(path, build.root),
        reason=reason.replace(str(build.root) + "/", ""),
        images=1 if level == "item" else 0,
    )


def _survey_items(
    source: Source, root: Path, split: str, seed: int, items: tuple[Item, ...]
) -> tuple[list[tuple[int, ImageProbe, Window | None]], list[QuarantineEntry]]:
    """Samples as (position in `items`, header, window): the caller has the items, they need not travel back."""
    found: list[tuple[int, ImageProbe, Window | None]] = []
    quarantine = []
    for index, item in enumerate(items):
        try:
            header = probe(item.image, MAX_PIXELS if source.tiling is None else MAX_SCENE_PIXELS, source.bands)
            windows = [None] if source.tiling is None else _windows(source, item, header, seed)
            found += [(index, header, window) for window in windows]
        except BadItem as error:
            quarantine.append(entry_for(error, source.name, split, item, root))
    return found, quarantine


def _windows(source: Source, item: Item, header: ImageProbe, seed: int) -> list[Window]:
    tiling = source.tiling
    if tiling is None:
        raise ValueError(f"source {source.name} is not tiled")
    if header.orientation != 1:
        raise BadItem(f"scene has EXIF orientation {header.orientation}; windows need 1", str(item.image))
    objects = list(enumerate(source.read(item).objects))
    kept = []
    for window in plan_windows(header.width, header.height, tiling):
        tile = PlannedSample(item, header, window)
        shown = cut_to_window(objects, window, tiling.min_iof)
        if any(not shown_object.ignore for _, shown_object in shown) or _kept_empty(tile.stem, seed, tiling.keep_empty):
            kept.append(window)
    return kept


def _kept_empty(stem: str, seed: int, share: float) -> bool:
    digest = hashlib.sha256(f"{seed}\0empty\0{stem}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64
