"""Survey: what is on disk for a recipe. Headers are read and windows planned; nothing is decoded or written."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mmrs.builder.objects import check_objects, cut_to_window
from mmrs.builder.plan import PlannedSample
from mmrs.builder.survey.unread_files import Unread, find_unread
from mmrs.engines.processes import run_tasks
from mmrs.errors import BadItem, UserError
from mmrs.imaging.limits import SCENE, WHOLE_IMAGE, SizeLimit
from mmrs.imaging.probe import ImageProbe, probe
from mmrs.imaging.row_images import read_row_images
from mmrs.imaging.windows import plan_windows
from mmrs.progress import Progress
from mmrs.record import TaskName, UnreadRow, Window
from mmrs.seeding import is_in_share, seeded_order
from mmrs.shards.quarantine import Level, QuarantineEntry, entry_for, relative_to_root, row_entry
from mmrs.source import (
    Absent,
    BandSelection,
    Discovery,
    Item,
    RowImage,
    Source,
    SourceBuild,
    read_block,
    without_strange_names,
)
from mmrs.storage.plain_files import folders_stay, reading_below

_IMAGES_PER_TASK, _SCENES_PER_TASK = 1024, 64
# An item's way to another process and back costs this process more than a plain JPEG's header.
_SECONDS_WORTH_PROCESSES, _SECONDS_WORTH_A_WAY = 3.0, 5e-5
# Samples as (position among a part's items, headers of its images, window), as the items need not travel back; and what
# is wrong.
_Read = tuple[list[tuple[int, tuple[ImageProbe, ...], Window | None]], list[QuarantineEntry]]


@dataclass(frozen=True, slots=True)
class SplitSurvey:
    """One split of one source: the samples to store, what cannot be stored, notes, and tasks besides.

    The first split of a source has what nothing reads of it.
    """

    build: SourceBuild
    split: str
    samples: tuple[PlannedSample, ...]
    quarantine: tuple[QuarantineEntry, ...]
    notes: tuple[str, ...]
    tasks: tuple[TaskName, ...] = ()
    unread: Unread = field(default_factory=Unread)


@dataclass(frozen=True, slots=True)
class _Found:
    """One split as it was discovered, and its part that is built."""

    build: SourceBuild
    split: str
    discovery: Discovery
    items: tuple[Item, ...]
    quarantine: tuple[QuarantineEntry, ...]


@dataclass(frozen=True, slots=True)
class _Part:
    """Some items of the split number `number`: a task of its own."""

    number: int
    source: Source
    root: Path
    split: str
    seed: int
    items: tuple[Item, ...]


def survey_splits(
    builds: Sequence[SourceBuild], seed: int, workers: int, progress: Progress, skipped: Collection[Path] = ()
) -> list[SplitSurvey]:
    """Discover every split of every source, apply the recipe's limits, and probe every image's header.

    All splits are discovered before the first header is read, so a wrong path is told at once. Folders of `skipped` are
    no part of a source.

    Raises:
        UserError: a source's layout is not there, or there is no image in any of its splits.
    """
    with folders_stay():
        found = [one for build in builds for one in _discover_source(build, seed)]
        unread = {build.source.name: _find_unread(build, found, skipped) for build in builds}
    parts = [
        _Part(number, one.build.source, one.build.root, one.split, seed, items)
        for number, one in enumerate(found)
        for items in _cut(
            _in_reading_order(one.items), _IMAGES_PER_TASK if one.build.source.tiling is None else _SCENES_PER_TASK
        )
    ]
    samples: list[list[PlannedSample]] = [[] for _ in found]
    quarantine = [list(one.quarantine) for one in found]
    with progress.stage("survey", sum(len(part.items) for part in parts), "images") as advance:
        for part, (read, bad) in _surveyed(parts, workers):
            samples[part.number] += [
                PlannedSample(part.items[index], headers[0], window, headers[1:]) for index, headers, window in read
            ]
            quarantine[part.number] += bad
            advance(len(part.items))
    for members in samples:
        members.sort(key=lambda sample: sample.stem)
    return [
        SplitSurvey(
            one.build,
            one.split,
            tuple(members),
            tuple(entries),
            one.discovery.notes,
            one.discovery.tasks,
            unread[one.build.source.name] if one.split == one.build.splits[0] else Unread(),
        )
        for one, members, entries in zip(found, samples, quarantine, strict=True)
    ]


def _in_reading_order(items: tuple[Item, ...]) -> tuple[Item, ...]:
    """Items of tables by table and row: in the order of stems each of them would read its table anew."""
    if not any(isinstance(item.image, RowImage) for item in items):
        return items
    return tuple(sorted(items, key=lambda item: _row_order(item.image)))


def _row_order(image: Path | RowImage) -> tuple[str, int]:
    return (str(image.file), image.row) if isinstance(image, RowImage) else (str(image), -1)


def _cut(items: tuple[Item, ...], length: int) -> list[tuple[Item, ...]]:
    return [items[start : start + length] for start in range(0, len(items), length)]


def _surveyed(parts: Sequence[_Part], workers: int) -> Iterator[tuple[_Part, _Read]]:
    """Every part with what was read, in any order. Processes are started only where they pay."""
    done, items, seconds = 0, 0, 0.0
    to_come = sum(len(part.items) for part in parts)
    while done < len(parts):
        started = time.monotonic()
        read = _survey_part(parts[done])
        seconds += time.monotonic() - started
        items += len(parts[done].items)
        yield parts[done], read
        done += 1
        if pays(seconds / items, to_come - items):
            break
    rest = parts[done:]
    for position, result in run_tasks(_survey_part, rest, workers):
        yield rest[position], result


def pays(seconds_per_item: float, items: int) -> bool:
    """Whether processes of their own should read so many more headers: it must outlast their start and their way."""
    return seconds_per_item > _SECONDS_WORTH_A_WAY and seconds_per_item * items > _SECONDS_WORTH_PROCESSES


def _discover_source(build: SourceBuild, seed: int) -> list[_Found]:
    """Every split of a source. A split without an image is absent, as long as another one has some."""
    found = [_discover(build, split, seed) for split in build.splits]
    if any(one.items or one.quarantine for one in found):
        return [one if one.items or one.quarantine else _absent_split(one) for one in found]
    splits = " or ".join(repr(split) for split in build.splits)
    raise UserError(
        f"{build.source.name}: split {splits} under {build.root} has no image; "
        f"see what is there with `{build.scan_command}`."
    )


def _absent_split(found: _Found) -> _Found:
    entry = _found_entry(found.build, found.split, "absent", str(found.build.root), f"split {found.split} has no image")
    return replace(found, quarantine=(entry,))


def _discover(build: SourceBuild, split: str, seed: int) -> _Found:
    with reading_below(build.root, build.follow_links):
        found = without_strange_names(build.source.discover(build.root, split), build.root)
    items = found.items
    _check_tiling(build, items)
    # What concerns the whole set is the same in every split: it is counted once, whichever splits are built.
    shared = found.shared_problems if split == build.splits[0] else ()
    if build.limit is not None and build.limit < len(items):
        chosen = seeded_order([item.stem for item in items], seed, "limit")[: build.limit]
        items = tuple(items[index] for index in sorted(chosen))
    quarantine = [_found_entry(build, split, _level(problem, "item"), *problem) for problem in found.problems]
    quarantine += [_found_entry(build, split, "object", *row) for row in found.unread_rows]
    quarantine += [_found_entry(build, split, "part", *detail) for detail in found.details]
    quarantine += [_found_entry(build, split, _level(problem, "set"), *problem) for problem in shared]
    return _Found(build, split, found, items, tuple(quarantine))


def _check_tiling(build: SourceBuild, items: Sequence[Item]) -> None:
    several = next((item for item in items if item.further), None)
    if build.source.tiling is not None and several is not None:
        raise UserError(
            f"{build.source.name}: {several.stem} has {len(several.images)} images, and scenes are to be cut into "
            "tiles: what the texts say of whole images that are compared would be false of a part. Leave out the "
            "tiling (`tile_size` of a description), or build the images one by one."
        )


def _find_unread(build: SourceBuild, found: Sequence[_Found], skipped: Collection[Path]) -> Unread:
    """What of a source nothing reads. What another source of the build reads in the same folder is read."""
    others = {split: other for split in build.other_splits for other in _there(build, split)}
    read = [one.discovery for one in found if _share_a_folder(one.build.root, build.root)]
    looked_at = (path for discovery in (*read, *others.values()) for path in discovery.looked_at())
    images = {split: len(other.items) for split, other in others.items() if other.items}
    return find_unread(build.root, looked_at, images, skipped)


def _there(build: SourceBuild, split: str) -> list[Discovery]:
    """A split that is not asked for, where it can be read; else its files are among those that nothing reads."""
    try:
        with reading_below(build.root, build.follow_links):
            return [build.source.discover(build.root, split)]
    except (UserError, BadItem, OSError):
        return []


def _share_a_folder(one: Path, other: Path) -> bool:
    one, other = one.resolve(), other.resolve()
    return one.is_relative_to(other) or other.is_relative_to(one)


def _level(problem: tuple[str, str], otherwise: Level) -> Level:
    return "absent" if isinstance(problem, Absent) else otherwise


def _found_entry(build: SourceBuild, split: str, level: Level, path: str, reason: str) -> QuarantineEntry:
    return QuarantineEntry(
        source=build.source.name,
        split=split,
        level=level,
        path=relative_to_root(path, build.root),
        reason=reason.replace(str(build.root) + "/", ""),
        images=0 if level in ("object", "part", "absent") else 1,
    )


def _survey_part(part: _Part) -> _Read:
    source, tiling, bands = part.source, part.source.tiling, part.source.bands
    found: list[tuple[int, tuple[ImageProbe, ...], Window | None]] = []
    quarantine = []
    for index, headers in _headers(part.items, WHOLE_IMAGE if tiling is None else SCENE, bands):
        item = part.items[index]
        try:
            sound = tuple(map(_raised, headers))
            if tiling is None:
                found.append((index, sound, None))
                continue
            windows, unread = _windows(source, item, sound[0], part.seed)
            found += [(index, sound, window) for window in windows]
            # The first tile of a scene reports its rows when it is stored; a scene without a tile reports them here.
            rows = unread if not windows else ()
            quarantine += [row_entry(row, source.name, part.split, item, item.stem, part.root) for row in rows]
        except BadItem as error:
            quarantine.append(entry_for(error, source.name, part.split, item, part.root))
    return found, quarantine


_Header = ImageProbe | BadItem


def _raised(header: _Header) -> ImageProbe:
    if isinstance(header, BadItem):
        raise header
    return header


def _headers(
    items: Sequence[Item], limit: SizeLimit, bands: BandSelection | None
) -> Iterator[tuple[int, tuple[_Header, ...]]]:
    """(position, the header of each image or why it has none) of every item; those in rows of tables come last."""
    rows = {image: None for item in items for image in item.images if isinstance(image, RowImage)}
    if not rows:
        for index, item in enumerate(items):
            yield index, tuple(_header(image, limit, bands, None) for image in item.images)
        return
    in_rows = {image: _header(image, limit, bands, content) for image, content in read_row_images(list(rows))}
    for index, item in enumerate(items):
        yield (
            index,
            tuple(
                in_rows[image] if isinstance(image, RowImage) else _header(image, limit, bands, None)
                for image in item.images
            ),
        )


def _header(
    image: Path | RowImage, limit: SizeLimit, bands: BandSelection | None, content: bytes | BadItem | None
) -> _Header:
    if isinstance(content, BadItem):
        return content
    try:
        found = probe(image if isinstance(image, Path) else Path(str(image)), limit, bands, content)
    except BadItem as error:
        return error
    if isinstance(image, RowImage):
        # A row changes with its table: the next build then reads it again.
        return replace(found, mtime_ns=image.file.stat().st_mtime_ns)
    return found


def _windows(source: Source, item: Item, header: ImageProbe, seed: int) -> tuple[list[Window], tuple[UnreadRow, ...]]:
    """The windows that become tiles, and the rows of the scene that are no object."""
    tiling = source.tiling
    if tiling is None:
        raise ValueError(f"source {source.name} is not tiled")
    (known,) = read_block(source, [item])
    if isinstance(known, BadItem):
        raise known
    ((objects, reasons),) = check_objects([(known.objects, header.upright_size)])
    unread = (*known.unread, *(UnreadRow(reason=reason) for reason in reasons))
    # A tile that seems empty may hold what such a row meant, so it is no negative.
    keep_empty = 0.0 if unread else tiling.keep_empty
    kept = []
    for window in plan_windows(*header.upright_size, tiling):
        tile = PlannedSample(item, header, window)
        shown = cut_to_window(objects, window, tiling.min_iof)
        has_objects = any(not shown_object.ignore for _, shown_object in shown)
        if has_objects or is_in_share(keep_empty, seed, "empty", tile.stem):
            kept.append(window)
    return kept, unread
