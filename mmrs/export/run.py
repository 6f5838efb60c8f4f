"""Write a data set in another program's files: shard by shard, so that what was stopped goes on, and all or nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from mmrs.engines.base import Engine
from mmrs.engines.processes import ProcessPool
from mmrs.errors import UserError
from mmrs.export.format import (
    ExportCounts,
    ExportFormat,
    ExportPart,
    ObbRule,
    WrittenExport,
)
from mmrs.export.images import ImagePlacement, ImageRule, check_linked
from mmrs.export.registry import export_format
from mmrs.export.target import FolderTarget, UrlTarget, export_target
from mmrs.export.wording import read_wording
from mmrs.progress import Progress
from mmrs.shards.manifest import Manifest
from mmrs.shards.reader import OneShard, ShardSet
from mmrs.storage.urls import without_secrets
from mmrs.text import nearest

ONE_PROCESS = ProcessPool(1)


@dataclass(frozen=True, slots=True)
class ExportConfig:
    """What is exported, and how; `splits` and `sources` None for all.

    Args:
        location: of the data set.
        form: name of the format.
        out: a new folder, or a URL that takes objects.
        splits: of the data set.
        sources: of the data set.
        obb: what becomes of oriented objects where the format has horizontal boxes alone.
        images: copied, linked, referenced or none.
        images_from: the export whose images are linked.
        boxes: box style of texts, for formats that leave it open; empty for their first.
        max_pixels: most pixels that Qwen2.5-VL is shown of an image: ``max_pixels`` of the training.
    """

    location: Path | str
    form: str
    out: Path | str
    splits: tuple[str, ...] | None = None
    sources: tuple[str, ...] | None = None
    obb: ObbRule = "refuse"
    images: ImageRule = "copy"
    images_from: Path | None = None
    boxes: str = ""
    max_pixels: int = 12_845_056


@dataclass(frozen=True, slots=True)
class ExportResult:
    """Counts of each split, and the folder or URL."""

    out: Path | str
    counts: dict[str, ExportCounts] = field(default_factory=dict)


def write_export(config: ExportConfig, progress: Progress, engine: Engine = ONE_PROCESS) -> ExportResult:
    """Read every chosen sample once and write images, the format's files and a README into a new folder or to a URL.

    Samples come in the order of the manifest, so equal data sets give equal bytes, whatever the engine. Until it is
    whole an export lies beside its place, as ``OUT.partial``, or at its URL without `export.json`; one that was stopped
    there goes on with the shards that are not whole.

    Raises:
        UserError: no such format, box style, data set, split or source, or `out` has something in it, or what was
            stopped is of another export.
        RunFailure: a sample is damaged.
    """
    form = export_format(config.form)
    boxes = _box_style(form, config.boxes)
    target = export_target(config.out)
    shards = ShardSet(config.location)
    manifest = shards.manifest
    positions = _positions(shards, config)
    _check_images(config, form, manifest.id)
    state = orjson.dumps(_state(config, boxes, manifest.id), option=orjson.OPT_INDENT_2)
    export = _Export(config, form, boxes, shards, target, _categories(manifest, config.sources), positions)
    with target.held(state, progress.note):
        result = ExportResult(config.out, export.write_parts(engine, progress))
        parts = {split: len(chosen) for split, chosen in positions.items()}
        with target.joining() as folder:
            form.finish(WrittenExport(folder, result.counts, export.categories, parts))
            (folder / "README.md").write_text(_readme(form, config, boxes, manifest, result), encoding="utf-8")
            target.finish(folder, state)
    shards.close()
    return result


def describe_export(result: ExportResult) -> str:
    """Counts of each split, what was left out, and the folder."""
    lines = [_line(split, counts) for split, counts in result.counts.items()]
    return "\n".join([*lines, f"{result.out}: README.md says what the files are, and of which licences"])


@dataclass(frozen=True, slots=True)
class _PartTask:
    """One part, small to send to another process; `part.folder` is where it is written."""

    name: str
    form: str
    part: ExportPart
    shard: OneShard
    suffix: str
    images: ImagePlacement
    target: FolderTarget | UrlTarget


def _write_part(task: _PartTask) -> ExportCounts:
    with task.target.writing() as folder:
        samples = task.images.samples(task.shard, task.suffix, folder)
        counts = export_format(task.form).write(samples, replace(task.part, folder=folder))
        counts.left_out.update(task.images.left_out(task.shard))
        task.target.keep(folder, task.name, _counts_json(counts))
    return counts


@dataclass(frozen=True, slots=True)
class _Export:
    config: ExportConfig
    form: ExportFormat
    boxes: str
    shards: ShardSet
    target: FolderTarget | UrlTarget
    categories: tuple[str, ...]
    positions: Mapping[str, Sequence[int]]

    def write_parts(self, engine: Engine, progress: Progress) -> dict[str, ExportCounts]:
        """Write the parts that are not there, and count all by split."""
        tasks = [
            self._task(split, number, shard)
            for split, positions in self.positions.items()
            for number, shard in enumerate(positions)
        ]
        found = {name: _read_counts(counts) for name, counts in self.target.done([one.name for one in tasks]).items()}
        missing = [task for task in tasks if task.name not in found]
        run = engine.run(_write_part, missing, lambda task: task.shard.entry.path, progress.note)
        with progress.stage("export", sum(task.shard.entry.records for task in tasks), "images") as advance:
            advance(sum(task.shard.entry.records for task in tasks if task.name in found))
            for position, counts in run:
                found[missing[position].name] = counts
                advance(missing[position].shard.entry.records)
        counted = {split: ExportCounts() for split in self.positions}
        for task in tasks:
            counted[task.part.split].add(found[task.name])
        return counted

    def _task(self, split: str, number: int, shard: int) -> _PartTask:
        manifest = self.shards.manifest
        source = manifest.sources[manifest.shards[shard].source]
        part = ExportPart(
            folder=Path(),
            split=split,
            number=number,
            of=len(self.positions[split]),
            categories=self.categories,
            source_categories=source.categories,
            wording=read_wording(manifest.recipe, split in source.train_splits, self.shards.location),
            boxes=self.boxes,
            max_pixels=self.config.max_pixels,
            obb=self.config.obb,
        )
        images = ImagePlacement(self.config.images, self.config.images_from, self.form.embeds_images, self.form.several)
        suffix = source.image_suffix[split]
        return _PartTask(part.name, self.config.form, part, self.shards.one(shard), suffix, images, self.target)


def _box_style(form: ExportFormat, asked: str) -> str:
    if not form.box_styles:
        if asked:
            raise UserError(f"the format {form.name} has one form of boxes: leave out --boxes {asked}.")
        return ""
    if asked and asked not in form.box_styles:
        known = ", ".join(form.box_styles)
        raise UserError(f"there is no box style {asked!r}{nearest(asked, form.box_styles)}; choose one of {known}.")
    return asked or form.box_styles[0]


def _check_images(config: ExportConfig, form: ExportFormat, data_set: str) -> None:
    if config.images == "link" and not isinstance(config.out, Path):
        raise UserError(
            f"{without_secrets(config.out)}: hard links lie on one disk. Use `--images copy`, or `--images reference`, "
            "which leaves them in the shards."
        )
    if (config.images == "link") != (config.images_from is not None):
        raise UserError("`--images link` and `--images-from EXPORT` go together: the first says how, the second whose.")
    if config.images_from is not None:
        if form.embeds_images:
            raise UserError(f"images lie inside the files of {form.name}: there is nothing to link.")
        check_linked(config.images_from, data_set)


def _state(config: ExportConfig, boxes: str, data_set: str) -> dict[str, Any]:
    """What decides the bytes of an export; it stays in it as `export.json`."""
    return {
        "format": "mmrs-export-1",
        "data_set": data_set,
        "form": config.form,
        "splits": sorted(config.splits) if config.splits is not None else None,
        "sources": sorted(config.sources) if config.sources is not None else None,
        "obb": config.obb,
        "images": config.images,
        "boxes": boxes,
        "max_pixels": config.max_pixels,
    }


def _positions(shards: ShardSet, config: ExportConfig) -> dict[str, list[int]]:
    """Positions in the manifest of the shards of each split, in its order."""
    entries = shards.manifest.shards
    splits = config.splits or tuple({entry.split for entry in entries})
    positions: dict[str, list[int]] = {}
    for position in shards.shard_positions(splits, config.sources):
        positions.setdefault(entries[position].split, []).append(position)
    return dict(sorted(positions.items()))


def _categories(manifest: Manifest, sources: Sequence[str] | None) -> tuple[str, ...]:
    chosen = [entry for name, entry in manifest.sources.items() if sources is None or name in sources]
    return tuple(sorted({name for source in chosen for name in source.categories}))


def _counts_json(counts: ExportCounts) -> bytes:
    # `asdict` makes a counter of a counter's pairs.
    content = {name: getattr(counts, name) for name in ("images", "objects", "dialogues")}
    return orjson.dumps(content | {"left_out": dict(counts.left_out)})


def _read_counts(written: bytes) -> ExportCounts:
    content = orjson.loads(written)
    return ExportCounts(**content | {"left_out": Counter(content["left_out"])})


def _line(split: str, counts: ExportCounts) -> str:
    what = f"{counts.dialogues} dialogues" if counts.dialogues else f"{counts.objects} objects"
    left_out = "".join(f"; left out: {number} {reason}" for reason, number in sorted(counts.left_out.items()) if number)
    return f"{split}: {counts.images} images, {what}{left_out}"


_IMAGES = {
    "copy": "as stored in the shards, under images/",
    "link": "as stored in the shards, under images/, hard links to those of another export",
    "reference": "in the shards; rows name them by URLs that `fsspec.open` reads (tar://MEMBER::SHARD)",
    "none": "not written (--images none)",
}


def _readme(form: ExportFormat, config: ExportConfig, boxes: str, manifest: Manifest, result: ExportResult) -> str:
    licences = {
        name: source.licence
        for name, source in manifest.sources.items()
        if config.sources is None or name in config.sources
    }
    is_inside = form.embeds_images and config.images == "copy"
    lines = [
        f"# {form.name}",
        "",
        f"Written by `mmrs export` of data set `{manifest.id}`.",
        "",
        f"- files: {form.summary}",
        f"- boxes{f' ({boxes})' if boxes else ''}: {form.frame(boxes, config.max_pixels)}",
        f"- images: {'as stored in the shards, inside the files' if is_inside else _IMAGES[config.images]}",
        *(f"- {_line(split, counts)}" for split, counts in result.counts.items()),
        "",
        "Each source keeps its own licence:",
        "",
        *(f"- {name}: {licence}" for name, licence in sorted(licences.items())),
    ]
    return form.front_matter(tuple(result.counts)) + "\n".join(lines) + "\n"
