"""Write a data set in another program's files, in one pass, all or nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from mmrs.data_set.data_set import DataSet, open_data_set
from mmrs.data_set.sample import Sample
from mmrs.errors import UserError
from mmrs.export.chat.llava import LLAVA_EXPORT
from mmrs.export.format import ExportCounts, ExportFormat, ExportTarget, ObbRule, image_path
from mmrs.export.labels.coco import COCO_EXPORT
from mmrs.export.labels.dota import DOTA_EXPORT
from mmrs.export.labels.yolo import YOLO_EXPORT, YOLO_OBB_EXPORT
from mmrs.progress import Progress
from mmrs.storage.atomic import atomic_folder
from mmrs.text import nearest, not_empty

EXPORT_FORMATS = {each.name: each for each in (COCO_EXPORT, DOTA_EXPORT, LLAVA_EXPORT, YOLO_EXPORT, YOLO_OBB_EXPORT)}


@dataclass(frozen=True, slots=True)
class ExportConfig:
    """What is exported, and how; `splits` and `sources` None for all.

    `with_images` false writes labels and texts alone, with the paths that the images would have.
    """

    location: Path | str
    form: str
    out: Path
    splits: tuple[str, ...] | None = None
    sources: tuple[str, ...] | None = None
    obb: ObbRule = "refuse"
    with_images: bool = True


@dataclass(frozen=True, slots=True)
class ExportResult:
    """Counts of each split, and the folder."""

    out: Path
    counts: dict[str, ExportCounts] = field(default_factory=dict)


def write_export(config: ExportConfig, progress: Progress) -> ExportResult:
    """Read every chosen sample once and write images, the format's files and a README into a new folder.

    Samples come in the order of the manifest, so equal data sets give equal bytes. A stopped export leaves nothing.

    Raises:
        UserError: no such format, data set, split or source, or `out` has something in it.
        RunFailure: a sample is damaged.
    """
    if config.form not in EXPORT_FORMATS:
        known = ", ".join(EXPORT_FORMATS)
        raise UserError(
            f"there is no format {config.form!r}{nearest(config.form, EXPORT_FORMATS)}; choose one of {known}."
        )
    if config.out.exists() and (not config.out.is_dir() or any(config.out.iterdir())):
        raise UserError(not_empty(config.out))
    form, data = EXPORT_FORMATS[config.form], open_data_set(config.location)
    splits = [split for split in data.splits if config.splits is None or split in config.splits]
    # Names what is there where a split or a source is not.
    total = len(data.table(config.splits, config.sources, ["id"]))
    chosen = [source for name, source in data.sources.items() if config.sources is None or name in config.sources]
    categories = tuple(sorted({name for source in chosen for name in source.categories}))
    result = ExportResult(config.out)
    with atomic_folder(config.out) as folder, progress.stage("export", total, "images") as advance:
        for split in splits:
            if _has(data, split, config.sources):
                samples = _placed(data.stream([split], config.sources, shuffle=False), folder, config, advance)
                target = ExportTarget(folder, split, categories, config.obb)
                result.counts[split] = form.write(samples, target)
        if form.finish is not None:
            form.finish(folder, tuple(result.counts), categories)
        (folder / "README.md").write_text(_readme(form, config, data, result), encoding="utf-8")
    return result


def describe_export(result: ExportResult) -> str:
    """Counts of each split, what was left out, and the folder."""
    lines = [_line(split, counts) for split, counts in result.counts.items()]
    return "\n".join([*lines, f"{result.out}: README.md says what the files are, and of which licences"])


def _has(data: DataSet, split: str, sources: Sequence[str] | None) -> bool:
    return any(split in source.splits for name, source in data.sources.items() if sources is None or name in sources)


def _placed(samples, folder: Path, config: ExportConfig, advance) -> Iterator[tuple[Sample, PurePosixPath]]:
    """Each sample with the path of its image, which is written before."""
    for sample in samples:
        image = image_path(sample)
        if config.with_images:
            path = folder / image
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(sample.image_bytes)
        advance(1)
        yield sample, image


def _line(split: str, counts: ExportCounts) -> str:
    what = f"{counts.dialogues} dialogues" if counts.dialogues else f"{counts.objects} objects"
    left_out = "".join(f"; left out: {number} {reason}" for reason, number in counts.left_out.items() if number)
    return f"{split}: {counts.images} images, {what}{left_out}"


def _readme(form: ExportFormat, config: ExportConfig, data: DataSet, result: ExportResult) -> str:
    licences = {
        name: source.licence for name, source in data.sources.items() if not config.sources or name in config.sources
    }
    lines = [
        f"# {form.name}",
        "",
        f"Written by `mmrs export` of data set `{data.id}`.",
        "",
        f"- files: {form.summary}",
        f"- boxes: {form.frame}",
        f"- images: {'as stored in the shards, under images/' if config.with_images else 'not written (--no-images)'}",
        *(f"- {_line(split, counts)}" for split, counts in result.counts.items()),
        "",
        "Each source keeps its own licence:",
        "",
        *(f"- {name}: {licence}" for name, licence in sorted(licences.items())),
    ]
    return "\n".join(lines) + "\n"
