"""Build one shard: tar and index. A function of the task alone."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mmrs.builder.objects import check_objects, cut_to_window, follow_objects
from mmrs.builder.plan import PlannedSample
from mmrs.builder.spool import RowSpool, TileSpool, open_rows, open_tiles
from mmrs.config import StrictModel
from mmrs.errors import BadItem
from mmrs.imaging.probe import ImageProbe
from mmrs.imaging.store import StoredImage, Validation, store_file
from mmrs.instructions.render import RenderOptions, render_records
from mmrs.record import UNREAD_ROWS, AnnotatedObject, Annotations, ImageInfo, Record, Sensor, UnreadRow
from mmrs.shards.index import write_index
from mmrs.shards.manifest import SplitCounts, index_path
from mmrs.shards.quarantine import QuarantineEntry, entry_for, relative_to_root, row_entry
from mmrs.shards.tar import MemberWriter, TarWriter, image_member
from mmrs.source import FurtherImage, Item, Source, read_block

# Raised when equal tasks would give other bytes than before; every shard is then rebuilt.
TASK_FORMAT = 7
# Held in memory together, so that geometry and text of many objects are computed at once.
_SAMPLES_TOGETHER, _BYTES_TOGETHER = 64, 16 * 2**20


@dataclass(frozen=True, slots=True)
class ShardTask:
    """All that one shard depends on. `path` is relative to the data set's folder.

    `excluded` are the (stem, reason) of samples that are left out: they keep their place in the plan, so that the other
    shards and keys stay what they are.
    """

    path: str
    source: Source
    root: Path
    split: str
    first_ordinal: int
    samples: tuple[PlannedSample, ...]
    suffix: Literal["jpg", "png"]
    render: RenderOptions
    validation: Validation
    excluded: tuple[tuple[str, str], ...] = ()

    def state(self) -> dict[str, Any]:
        """Plain values of all that decides whether to rebuild, the samples apart: those are `sample_state`."""
        return {
            "format": TASK_FORMAT,
            "converter": [self.source.name, self.source.version],
            "option of the converter": self.source.options(),
            "split": [self.split, self.first_ordinal],
            "image suffix": self.suffix,
            "validation": self.validation,
            "text": self.render.state(),
            "list of excluded images": [list(pair) for pair in self.excluded],
        }

    def sample_state(self, sample: PlannedSample) -> dict[str, Any]:
        """Plain values of what a sample depends on: sizes and times of its files, and what was read for it."""
        item = sample.item
        # What a sample of one image has nothing of is left out, so that its state is what it was.
        roles = [[item.role], *([one.role, one.sensor] for one in item.further)] if item.further else []
        return {
            "stem": sample.stem,
            "image": [
                fact
                for image, probe in zip(item.images, sample.probes, strict=True)
                for fact in (relative_to_root(str(image), self.root), probe.file_bytes, probe.mtime_ns)
            ],
            "annotations": [[relative_to_root(str(path), self.root), *_file_state(path)] for path in item.annotations],
            "content": [item.scene, sample.window.model_dump() if sample.window else None, item.payload, *roles],
        }


class ShardResult(StrictModel):
    """What the done-file says: digests of the written files, counts, and what was not stored."""

    format: Literal["mmrs-shard-1"] = "mmrs-shard-1"
    records: int
    bytes: int
    sha256: str
    index_bytes: int
    index_sha256: str
    counts: SplitCounts
    quarantine: tuple[QuarantineEntry, ...]


def _file_state(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


@dataclass(frozen=True, slots=True)
class WrittenSamples:
    """What is known of members that were written: one index row each, the objects of each that no dialogue lists, how
    many dialogues there are of each task, and what was not stored."""

    rows: list[dict[str, Any]]
    unlisted: list[int]
    dialogues: Counter[str]
    quarantine: list[QuarantineEntry]


def build_shard(task: ShardTask, folder: Path) -> ShardResult:
    """Write one shard's tar and index into an empty local `folder`, at their paths in a data set.

    A shard without any usable sample gets neither: WebDataset readers reject empty tars.
    """
    tar = folder / task.path
    tar.parent.mkdir(parents=True, exist_ok=True)
    with tar.open("wb") as file:
        writer = TarWriter(file)
        written = write_samples(task, folder, writer)
        sha256 = writer.finish()
    return complete_shard(task, folder, written, writer.bytes_written, sha256)


def write_samples(task: ShardTask, folder: Path, writer: MemberWriter) -> WrittenSamples:
    """Write the members of a task's samples; temporary files lie in `folder`."""
    rows: list[dict[str, Any]] = []
    unlisted: list[int] = []
    dialogues: Counter[str] = Counter()
    quarantine: list[QuarantineEntry] = []
    left_out = {stem for stem, _ in task.excluded}
    stored = [sample for sample in task.samples if sample.stem not in left_out]
    with (
        open_rows(stored, folder) as table_rows,
        open_tiles(stored, task.source, task.suffix, folder, table_rows) as tiles,
    ):
        for ordinal, sample, outcome in _outcomes(task, table_rows, tiles):
            if isinstance(outcome, QuarantineEntry):
                quarantine.append(outcome)
                continue
            quarantine += outcome.problems
            key = f"{task.source.name}-{task.split}-{ordinal:08d}"
            image, *further = (
                writer.add(image_member(key, number, task.suffix), stored.data)
                for number, stored in enumerate(outcome.images)
            )
            record = writer.add(f"{key}.json", outcome.record.to_json())
            rows.append(
                _index_row(key, outcome, sample)
                | {"image_offset": image.offset, "image_size": image.size}
                | {"record_offset": record.offset, "record_size": record.size}
                | {"further_offset": [one.offset for one in further], "further_size": [one.size for one in further]}
            )
            dialogues.update(dialogue.task for dialogue in outcome.record.dialogues)
            unlisted.append(outcome.objects_in_no_dialogue)
    return WrittenSamples(rows, unlisted, dialogues, quarantine)


def complete_shard(
    task: ShardTask, folder: Path, written: WrittenSamples, tar_bytes: int, tar_sha256: str
) -> ShardResult:
    """Write the index beside the tar that is in `folder`; without a sample, remove the tar."""
    buffer = io.BytesIO()
    write_index(buffer, written.rows)
    if written.rows:
        (folder / index_path(task.path)).write_bytes(buffer.getvalue())
    else:
        (folder / task.path).unlink()
    return ShardResult(
        records=len(written.rows),
        bytes=tar_bytes,
        sha256=tar_sha256,
        index_bytes=buffer.tell(),
        index_sha256=hashlib.sha256(buffer.getvalue()).hexdigest(),
        counts=_counts(written),
        quarantine=tuple(sorted(written.quarantine, key=lambda entry: entry.sort_key)),
    )


@dataclass(frozen=True, slots=True)
class _Stored:
    images: tuple[StoredImage, ...]
    record: Record
    problems: tuple[QuarantineEntry, ...]
    objects_in_no_dialogue: int


_Outcome = _Stored | QuarantineEntry


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of an image or scene: its annotations, and its objects held against its size."""

    annotations: Annotations
    objects: list[tuple[int, AnnotatedObject]]
    unread: tuple[UnreadRow, ...]


@dataclass(frozen=True, slots=True)
class _Untold:
    """A sample that is stored, before its dialogues are written; `reported` are the rows that are told with it."""

    images: tuple[StoredImage, ...]
    record: Record
    reported: tuple[UnreadRow, ...]


def _outcomes(task: ShardTask, rows: RowSpool, tiles: TileSpool) -> Iterator[tuple[int, PlannedSample, _Outcome]]:
    """(ordinal in the split, sample, what became of it) of each sample of the task."""
    excluded = dict(task.excluded)
    known: dict[str, _Known | BadItem] = {}
    reported: set[str] = set()
    ordinal = task.first_ordinal
    for block in _blocks(task.samples):
        stored = [sample for sample in block if sample.stem not in excluded]
        known |= _read(task, {sample.item.stem: sample for sample in stored if sample.item.stem not in known}.values())
        found: list[_Untold | QuarantineEntry | None] = []
        for sample in block:
            if sample.stem in excluded:
                found.append(_excluded_entry(task, sample, excluded[sample.stem]))
                continue
            # The tiles of one scene share its annotation: its faults are reported with the first of them only.
            first = sample.item.stem not in reported
            reported.add(sample.item.stem)
            found.append(_store(task, sample, known[sample.item.stem], rows, tiles, first))
        for sample, outcome in zip(block, _told(task, block, found), strict=True):
            if outcome is not None:
                yield ordinal, sample, outcome
            ordinal += 1
        if task.source.tiling is None:
            known.clear()


def _blocks(samples: Sequence[PlannedSample]) -> Iterator[list[PlannedSample]]:
    """Consecutive samples whose images are held in memory together."""
    block: list[PlannedSample] = []
    held = 0
    for sample in samples:
        if block and (len(block) == _SAMPLES_TOGETHER or held + sample.image_bytes > _BYTES_TOGETHER):
            yield block
            block, held = [], 0
        block.append(sample)
        held += sample.image_bytes
    if block:
        yield block


def _store(
    task: ShardTask, sample: PlannedSample, known: _Known | BadItem, rows: RowSpool, tiles: TileSpool, first: bool
) -> _Untold | QuarantineEntry | None:
    """The sample's image and record; or why it has none, which the first sample of an item alone tells."""
    try:
        if isinstance(known, BadItem):
            raise known
        images = _images(task, sample, rows, tiles)
        objects = known.objects
        if sample.window is not None and task.source.tiling is not None:
            objects = cut_to_window(objects, sample.window, task.source.tiling.min_iof)
        return _Untold(images, _record(task, sample, known, images, objects), known.unread if first else ())
    except BadItem as error:
        if not first:
            return None
        item = sample.item
        lost = sum(other.item.stem == item.stem for other in task.samples) if sample.window else 1
        return entry_for(error, task.source.name, task.split, item, task.root, lost)


def _told(
    task: ShardTask, samples: Sequence[PlannedSample], found: Sequence[_Untold | QuarantineEntry | None]
) -> Iterator[_Outcome | None]:
    """What was found, the records with their dialogues."""
    rendered = iter(render_records([one.record for one in found if isinstance(one, _Untold)], task.render))
    for sample, one in zip(samples, found, strict=True):
        if not isinstance(one, _Untold):
            yield one
            continue
        text = next(rendered)
        problems = tuple(
            row_entry(row, task.source.name, task.split, sample.item, sample.stem, task.root) for row in one.reported
        )
        record = one.record.model_copy(update={"dialogues": text.dialogues})
        yield _Stored(one.images, record, problems, text.objects_in_no_dialogue)


def _excluded_entry(task: ShardTask, sample: PlannedSample, reason: str) -> QuarantineEntry:
    return QuarantineEntry(
        source=task.source.name,
        split=task.split,
        level="excluded",
        id=f"{task.source.name}/{task.split}/{sample.stem}",
        path=relative_to_root(str(sample.item.image), task.root),
        reason=reason,
    )


def _read(task: ShardTask, samples: Collection[PlannedSample]) -> dict[str, _Known | BadItem]:
    """What is known of each sample's item, by its stem."""
    found = read_block(task.source, [sample.item for sample in samples])
    read = {
        sample.item.stem: one if isinstance(one, BadItem) else _of_this_image(one, sample)
        for sample, one in zip(samples, found, strict=True)
    }
    sizes = {sample.item.stem: sample.probe.upright_size for sample in samples}
    sound = {stem: one for stem, one in read.items() if isinstance(one, Annotations)}
    checked = check_objects([(one.objects, sizes[stem]) for stem, one in sound.items()])
    known = {
        stem: _Known(one, objects, (*one.unread, *(UnreadRow(reason=reason) for reason in reasons)))
        for (stem, one), (objects, reasons) in zip(sound.items(), checked, strict=True)
    }
    return {stem: one if isinstance(one, BadItem) else known[stem] for stem, one in read.items()}


def _of_this_image(annotations: Annotations, sample: PlannedSample) -> Annotations | BadItem:
    """The annotations, unless they say that their image has another size."""
    size = sample.probe.upright_size
    if annotations.declared_size in (None, size):
        return annotations
    declared = "x".join(str(side) for side in annotations.declared_size or ())
    actual = f"{sample.item.image.name} is {size[0]}x{size[1]}"
    file = str(sample.item.annotations[0]) if sample.item.annotations else None
    return BadItem(f"annotation is for a {declared} image, {actual}", file)


def _images(task: ShardTask, sample: PlannedSample, rows: RowSpool, tiles: TileSpool) -> tuple[StoredImage, ...]:
    if sample.window is not None:
        return (tiles.image(sample.stem),)
    further = zip(sample.item.further, sample.further, strict=True)
    return (
        _image(task, sample.item, sample.probe, task.source.sensor, rows),
        *(_image(task, image, probe, image.sensor or task.source.sensor, rows) for image, probe in further),
    )


def _image(task: ShardTask, one: Item | FurtherImage, probe: ImageProbe, sensor: Sensor, rows: RowSpool) -> StoredImage:
    content = rows.content(one.image)
    try:
        return store_file(one.place, probe, task.suffix, sensor, task.validation, task.source.bands, content)
    except OSError as error:
        # Nothing is written here: the fault is the image's, not the output's.
        raise BadItem(f"image cannot be read: {error.strerror or error}", str(one.place)) from error


def _record(
    task: ShardTask,
    sample: PlannedSample,
    known: _Known,
    images: Sequence[StoredImage],
    objects: list[tuple[int, AnnotatedObject]],
) -> Record:
    told, unread_rows = known.annotations, len(known.unread)
    return Record(
        id=f"{task.source.name}/{task.split}/{sample.stem}",
        source=task.source.name,
        split=task.split,
        sensor=task.source.sensor,
        image=ImageInfo(
            **_stored_facts(images[0]),
            parent=sample.item.stem if sample.window else None,
            window=sample.window,
            role=sample.item.role,
        ),
        further_images=tuple(
            ImageInfo(**_stored_facts(image), role=one.role, sensor=one.sensor)
            for image, one in zip(images[1:], sample.item.further, strict=True)
        ),
        objects=tuple(item for _, item in objects),
        label=told.label,
        source_label=told.source_label,
        captions=told.captions,
        questions=told.questions,
        expressions=follow_objects(told.expressions, [position for position, _ in objects]),
        metadata=told.metadata | _tiling_rule(task, sample) | ({UNREAD_ROWS: unread_rows} if unread_rows else {}),
        licence=task.source.licence,
        provenance=told.provenance,
    )


def _stored_facts(image: StoredImage) -> dict[str, Any]:
    return {
        "width": image.width,
        "height": image.height,
        "mode": image.mode,
        "sha256": hashlib.sha256(image.data).hexdigest(),
        "reencoded": image.reencoded,
        "render": image.render,
    }


def _tiling_rule(task: ShardTask, sample: PlannedSample) -> dict[str, Any]:
    """How the tile was cut and which objects it kept, so that a record explains itself."""
    tiling = task.source.tiling
    if sample.window is None or tiling is None:
        return {}
    return {"tiling": {"size": tiling.size, "overlap": tiling.overlap, "min_iof": tiling.min_iof}}


def _index_row(key: str, stored: _Stored, sample: PlannedSample) -> dict[str, Any]:
    record = stored.record
    return {
        "key": key,
        "id": record.id,
        "width": record.image.width,
        "height": record.image.height,
        "scene": sample.item.scene,
        "label": record.label,
        "categories": sorted({item.category for item in record.objects if not item.ignore}),
        "objects": sum(not item.ignore for item in record.objects),
        "ignored_objects": sum(item.ignore for item in record.objects),
        "captions": len(record.captions),
        "dialogue_tasks": [dialogue.task for dialogue in record.dialogues],
        "dialogue_chars": [sum(len(turn.value) for turn in dialogue.turns) for dialogue in record.dialogues],
        "perceptual_hash": stored.images[0].perceptual_hash,
        "reencoded": next((image.reencoded for image in record.images if image.reencoded), None),
        "sha256": record.image.sha256,
        "further_sha256": [image.sha256 for image in record.further_images],
        "further_hash": _known_hashes([image.perceptual_hash for image in stored.images[1:]]),
    }


def _known_hashes(hashes: Sequence[bytes | None]) -> list[bytes] | None:
    known = [one for one in hashes if one is not None]
    return known if len(known) == len(hashes) else None


def _several_images(rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    counts = Counter(1 + len(row["further_offset"]) for row in rows if row["further_offset"])
    return {str(images): counts[images] for images in sorted(counts)}


def _counts(written: WrittenSamples) -> SplitCounts:
    rows, quarantine = written.rows, written.quarantine
    return SplitCounts(
        records=len(rows),
        objects=sum(row["objects"] for row in rows),
        ignored_objects=sum(row["ignored_objects"] for row in rows),
        captions=sum(row["captions"] for row in rows),
        reencoded=sum(row["reencoded"] is not None for row in rows),
        several_images=_several_images(rows),
        dialogues=dict(sorted(written.dialogues.items())),
        quarantined_items=sum(entry.images for entry in quarantine if entry.level != "excluded"),
        quarantined_objects=sum(entry.level == "object" for entry in quarantine),
        excluded=sum(entry.level == "excluded" for entry in quarantine),
        images_with_objects_in_no_dialogue=sum(count > 0 for count in written.unlisted),
        objects_in_no_dialogue=sum(written.unlisted),
    )
