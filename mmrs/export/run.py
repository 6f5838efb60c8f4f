"""Write a data set in another program's files: shard by shard, so that what was stopped goes on, and all or nothing."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from mmrs.engines.garbage import rare_collections
from mmrs.errors import UserError
from mmrs.export.format import (
    PARTS_FOLDER,
    ExportCounts,
    ExportFormat,
    ExportPart,
    ObbRule,
    WrittenExport,
)
from mmrs.export.images import STATE_NAME, ImagePlacement, ImageRule, check_linked
from mmrs.export.registry import export_format
from mmrs.export.wording import read_wording
from mmrs.progress import Progress
from mmrs.shards.manifest import Manifest
from mmrs.shards.reader import ShardSet
from mmrs.storage.atomic import write_atomic
from mmrs.storage.locks import whole_file_lock
from mmrs.text import nearest, not_empty, removal

_PARTIAL, _LOCK_NAME = ".partial", ".lock"


@dataclass(frozen=True, slots=True)
class ExportConfig:
    """What is exported, and how; `splits` and `sources` None for all.

    Args:
        location: of the data set.
        form: name of the format.
        out: a new folder.
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
    out: Path
    splits: tuple[str, ...] | None = None
    sources: tuple[str, ...] | None = None
    obb: ObbRule = "refuse"
    images: ImageRule = "copy"
    images_from: Path | None = None
    boxes: str = ""
    max_pixels: int = 12_845_056


@dataclass(frozen=True, slots=True)
class ExportResult:
    """Counts of each split, and the folder."""

    out: Path
    counts: dict[str, ExportCounts] = field(default_factory=dict)


def write_export(config: ExportConfig, progress: Progress) -> ExportResult:
    """Read every chosen sample once and write images, the format's files and a README into a new folder.

    Samples come in the order of the manifest, so equal data sets give equal bytes. Until it is whole an export lies
    beside its place, as ``OUT.partial``; one that was stopped there goes on after its last whole shard.

    Raises:
        UserError: no such format, box style, data set, split or source, or `out` has something in it, or what was
            stopped is of another export.
        RunFailure: a sample is damaged.
    """
    form = export_format(config.form)
    boxes = _box_style(form, config.boxes)
    if _is_taken(config.out):
        raise UserError(not_empty(config.out))
    shards = ShardSet(config.location)
    manifest = shards.manifest
    positions = _positions(shards, config)
    _check_images(config, form, manifest.id)
    state = _state(config, boxes, manifest.id)
    partial = config.out.with_name(config.out.name + _PARTIAL)
    with _opened(partial, state, config) as folder:
        export = _Export(config, form, boxes, shards, folder, _categories(manifest, config.sources))
        result = ExportResult(config.out)
        total = sum(manifest.shards[shard].records for chosen in positions.values() for shard in chosen)
        with progress.stage("export", total, "images") as advance:
            for split, chosen in positions.items():
                result.counts[split] = export.write_split(split, chosen, advance)
        parts = {split: len(chosen) for split, chosen in positions.items()}
        form.finish(WrittenExport(folder, result.counts, export.categories, parts))
        (folder / "README.md").write_text(_readme(form, config, boxes, manifest, result), encoding="utf-8")
        shutil.rmtree(folder / PARTS_FOLDER)
        (folder / _LOCK_NAME).unlink()
        os.replace(folder, config.out)
    shards.close()
    return result


def describe_export(result: ExportResult) -> str:
    """Counts of each split, what was left out, and the folder."""
    lines = [_line(split, counts) for split, counts in result.counts.items()]
    return "\n".join([*lines, f"{result.out}: README.md says what the files are, and of which licences"])


@dataclass(frozen=True, slots=True)
class _Export:
    config: ExportConfig
    form: ExportFormat
    boxes: str
    shards: ShardSet
    folder: Path
    categories: tuple[str, ...]

    def write_split(self, split: str, positions: Sequence[int], advance: Callable[[int], None]) -> ExportCounts:
        """Write the parts of a split that are not there, and count all."""
        manifest = self.shards.manifest
        images = ImagePlacement(self.config.images, self.config.images_from, self.form.embeds_images)
        counts = ExportCounts()
        for number, shard in enumerate(positions):
            entry = manifest.shards[shard]
            source = manifest.sources[entry.source]
            before = ExportCounts()
            before.add(counts)
            part = ExportPart(
                folder=self.folder,
                split=split,
                number=number,
                of=len(positions),
                before=before,
                categories=self.categories,
                source_categories=source.categories,
                wording=read_wording(manifest.recipe, split in source.train_splits, self.shards.location),
                boxes=self.boxes,
                max_pixels=self.config.max_pixels,
                obb=self.config.obb,
            )
            done = part.file("done.json")
            if not done.exists():
                suffix = source.image_suffix[entry.split]
                with rare_collections():
                    written = self.form.write(images.samples(self.shards.one(shard), suffix, self.folder), part)
                write_atomic(done, _counts_json(written))
            counts.add(_read_counts(done))
            advance(entry.records)
        return counts


class _opened:
    """The folder of an export that is not whole yet, held against a second writer."""

    def __init__(self, partial: Path, state: dict[str, Any], config: ExportConfig):
        self._partial, self._state, self._config = partial, state, config

    def __enter__(self) -> Path:
        path, content = self._partial / STATE_NAME, orjson.dumps(self._state, option=orjson.OPT_INDENT_2)
        if self._partial.exists():
            try:
                found = path.read_bytes()
            except OSError:
                found = b""
            if found != content:
                raise UserError(
                    f"{self._partial} holds another export, which was stopped: give its command again and it goes on, "
                    f"or remove it: {removal(self._partial)}"
                )
        else:
            (self._partial / PARTS_FOLDER).mkdir(parents=True)
            write_atomic(path, content)
        self._lock = whole_file_lock(self._partial / _LOCK_NAME)
        try:
            self._lock.__enter__()
        except BlockingIOError as error:
            raise UserError(f"{self._partial} is being written to by another `mmrs export`.") from error
        return self._partial

    def __exit__(self, *error: Any) -> None:
        self._lock.__exit__(*error)


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


def _is_taken(out: Path) -> bool:
    return os.path.lexists(out) and (out.is_symlink() or not out.is_dir() or any(out.iterdir()))


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


def _read_counts(path: Path) -> ExportCounts:
    content = orjson.loads(path.read_bytes())
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
