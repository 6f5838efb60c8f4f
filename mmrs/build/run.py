"""The whole build: survey, plan, shards, quarantine, and last of all the manifest."""

from __future__ import annotations

import fcntl
import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import mmrs
from mmrs.build.engine import run_tasks
from mmrs.build.exclude import load_exclusions
from mmrs.build.plan import plan_split, stored_suffix
from mmrs.build.quarantine import QUARANTINE_NAME, QuarantineEntry, to_jsonl
from mmrs.build.recipe import BuildRecipe
from mmrs.build.shard import STATE_FOLDER, ShardResult, ShardTask, build_shard, finished
from mmrs.build.survey import SplitSurvey, survey_split
from mmrs.errors import RunFailure, UserError
from mmrs.files import remove_temporaries, write_atomic
from mmrs.progress import Progress
from mmrs.record import Task
from mmrs.shards.manifest import (
    MANIFEST_NAME,
    Manifest,
    ShardEntry,
    SourceEntry,
    SplitCounts,
    done_path,
    index_path,
)
from mmrs.source import SourceBuild

_OUR_FILES = re.compile(r"[a-z0-9_-]+-\d{5}-of-\d{5}\.(tar|parquet|done\.json)")


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """What a build will do; nothing has been written yet.

    `listed` is the number of images that the recipe's `exclude` names, in this data set or not.
    """

    surveys: tuple[SplitSurvey, ...]
    tasks: tuple[ShardTask, ...]
    listed: int = 0

    @property
    def planned_bytes(self) -> int:
        return sum(sample.planned_bytes for task in self.tasks for sample in task.samples)

    @property
    def excluded(self) -> tuple[str, ...]:
        """Ids of the planned samples that are left out because the recipe lists them."""
        return tuple(f"{task.source.name}/{task.split}/{stem}" for task in self.tasks for stem, _ in task.excluded)

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(note for survey in self.surveys for note in survey.notes))


@dataclass(frozen=True, slots=True)
class BuildResult:
    """A finished build. `rebuilt` counts the shards written by this run; the others were already there."""

    manifest: Manifest
    rebuilt: int
    quarantine: tuple[QuarantineEntry, ...]
    dialogues_too_long: int


def plan_build(sources: Sequence[SourceBuild], recipe: BuildRecipe, workers: int, progress: Progress) -> BuildPlan:
    """Survey every split and plan its shards.

    Raises:
        UserError: a source's layout or split is missing, or a list of `exclude` cannot be read.
    """
    exclusions = load_exclusions(recipe.exclude)
    surveys, tasks = [], []
    for build in sources:
        offered = frozenset(build.source.tasks)
        wanted: frozenset[Task] = offered if build.tasks is None else build.tasks & offered  # type: ignore[assignment]
        for split in build.splits:
            survey = survey_split(build, split, recipe.seed, workers, progress)
            surveys.append(survey)
            tasks += _split_tasks(survey, recipe, wanted, exclusions)
    return BuildPlan(tuple(surveys), tuple(tasks), len(exclusions))


def _split_tasks(
    survey: SplitSurvey, recipe: BuildRecipe, tasks: frozenset[Task], exclusions: Mapping[str, str]
) -> list[ShardTask]:
    source = survey.build.source
    prefix = f"{source.name}/{survey.split}/"
    training = survey.split in survey.build.train_splits
    shards = plan_split(survey.samples, recipe.seed, recipe.shard_bytes)
    suffix = stored_suffix(survey.samples)
    first, planned = 0, []
    for number, samples in enumerate(shards):
        planned.append(
            ShardTask(
                path=f"{source.name}/{survey.split}-{number:05d}-of-{len(shards):05d}.tar",
                source=source,
                root=survey.build.root,
                split=survey.split,
                first_ordinal=first,
                samples=samples,
                suffix=suffix,
                render=recipe.render_options(tasks, training),
                validation=recipe.validation,
                excluded=tuple((s.stem, exclusions[prefix + s.stem]) for s in samples if prefix + s.stem in exclusions),
            )
        )
        first += len(samples)
    return planned


def build(plan: BuildPlan, recipe: BuildRecipe, out: Path, workers: int, progress: Progress) -> BuildResult:
    """Write every shard that is not there yet, then `quarantine.jsonl`, then the manifest.

    A run that is killed at any point leaves whole shards and no manifest; the next run continues from them.

    Raises:
        UserError: another build writes to `out`.
        RunFailure: more bad images or objects than the recipe's ceiling allows; the shards stay for the next run.
    """
    with _locked(out):
        remove_temporaries(out)
        results = {task.path: done for task in plan.tasks if (done := finished(task, out)) is not None}
        missing = [task for task in plan.tasks if task.path not in results]
        stale = _stale_files(out, plan)
        if missing or stale:
            (out / MANIFEST_NAME).unlink(missing_ok=True)
        for path in stale:
            path.unlink()
        with progress.stage("build", sum(len(task.samples) for task in missing), "samples") as advance:
            for position, result in run_tasks(partial(build_shard, out=out), missing, workers):
                results[missing[position].path] = result
                advance(len(missing[position].samples))
        return _finish(plan, recipe, out, results, len(missing))


def _finish(
    plan: BuildPlan, recipe: BuildRecipe, out: Path, results: dict[str, ShardResult], rebuilt: int
) -> BuildResult:
    entries = [entry for survey in plan.surveys for entry in survey.quarantine]
    entries += [entry for result in results.values() for entry in result.quarantine]
    entries.sort(key=lambda entry: entry.sort_key)
    quarantine = to_jsonl(entries)
    write_atomic(out / QUARANTINE_NAME, quarantine)
    manifest = Manifest(
        tool_version=mmrs.__version__,
        recipe_digest=recipe.digest(plan.excluded),
        recipe=recipe.content(plan.excluded),
        sources=_source_entries(plan, results),
        shards=tuple(_shard_entry(task, results[task.path]) for task in plan.tasks if results[task.path].records),
        quarantine_sha256=hashlib.sha256(quarantine).hexdigest(),
    ).with_id()
    try:
        _check_ceiling(manifest, recipe, out)
    except RunFailure:
        (out / MANIFEST_NAME).unlink(missing_ok=True)
        raise
    write_atomic(out / MANIFEST_NAME, manifest.to_json())
    return BuildResult(manifest, rebuilt, tuple(entries), sum(result.dialogues_too_long for result in results.values()))


def _shard_entry(task: ShardTask, result: ShardResult) -> ShardEntry:
    return ShardEntry(
        source=task.source.name,
        split=task.split,
        path=task.path,
        records=result.records,
        bytes=result.bytes,
        sha256=result.sha256,
        index_bytes=result.index_bytes,
        index_sha256=result.index_sha256,
    )


def _source_entries(plan: BuildPlan, results: dict[str, ShardResult]) -> dict[str, SourceEntry]:
    by_source = defaultdict(list)
    for survey in plan.surveys:
        by_source[survey.build.source.name].append(survey)
    entries = {}
    for name, surveys in by_source.items():
        source = surveys[0].build.source
        tasks = [task for task in plan.tasks if task.source.name == name]
        entries[name] = SourceEntry(
            sensor=source.sensor,
            licence=source.licence,
            tasks=tuple(sorted(tasks[0].render.tasks)) if tasks else (),
            train_splits=tuple(split for split in surveys[0].build.splits if split in surveys[0].build.train_splits),
            categories=tuple(source.categories),
            image_suffix={task.split: task.suffix for task in tasks},
            converter_version=source.version,
            options=source.options(),
            splits={survey.split: _split_counts(survey, tasks, results) for survey in surveys},
        )
    return entries


def _split_counts(survey: SplitSurvey, tasks: list[ShardTask], results: dict[str, ShardResult]) -> SplitCounts:
    parts = [results[task.path].counts for task in tasks if task.split == survey.split]
    dialogues: dict[str, int] = defaultdict(int)
    for part in parts:
        for task, count in part.dialogues.items():
            dialogues[task] += count
    names = set(SplitCounts.model_fields) - {"dialogues"}
    totals = {name: sum(getattr(part, name) for part in parts) for name in names}
    totals["quarantined_items"] += sum(entry.images for entry in survey.quarantine)
    return SplitCounts(**totals, dialogues=dict(sorted(dialogues.items())))


def _check_ceiling(manifest: Manifest, recipe: BuildRecipe, out: Path) -> None:
    for name, source in manifest.sources.items():
        counts = source.splits.values()
        for level, bad, good in (
            ("images", sum(part.quarantined_items for part in counts), sum(part.records for part in counts)),
            (
                "objects",
                sum(part.quarantined_objects for part in counts),
                sum(part.objects + part.ignored_objects for part in counts),
            ),
        ):
            share = bad / (bad + good) if bad else 0.0
            if share > recipe.quarantine_ceiling:
                raise RunFailure(
                    f"{name}: {bad} of {bad + good} {level} are bad ({share:.1%}), more than the ceiling of "
                    f"{recipe.quarantine_ceiling:.1%}. Read {out / QUARANTINE_NAME}, mend the source and run again, or "
                    f"accept them with `--set quarantine_ceiling={min(1.0, share * 1.05):.4f}`."
                )


def _stale_files(out: Path, plan: BuildPlan) -> list[Path]:
    planned = {name for task in plan.tasks for name in (task.path, index_path(task.path), done_path(task.path))}
    found = [path for path in out.glob("*/*") if _OUR_FILES.fullmatch(path.name)]
    return [path for path in found if str(path.relative_to(out)) not in planned]


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    folder = out / STATE_FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / "lock", "w")  # noqa: SIM115 - held for the whole build
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error}. Choose another folder with --out.") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"another `mmrs build` is writing to {out}; wait for it or take another --out.") from error
        yield
