"""The whole build: survey, plan, shards, quarantine, and last of all the manifest."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import mmrs
from mmrs.builder.exclude import load_exclusions
from mmrs.builder.ownership import check_ownership
from mmrs.builder.parts.write import write_shards
from mmrs.builder.plan import plan_split, stored_suffix
from mmrs.builder.publish import storage_failure
from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.resume import ExistingShards, existing_shards
from mmrs.builder.shard import ShardResult, ShardTask
from mmrs.builder.survey.splits import SplitSurvey, survey_splits
from mmrs.builder.survey.unread_files import Unread
from mmrs.engines.base import Engine
from mmrs.engines.garbage import rare_collections
from mmrs.engines.processes import ProcessPool
from mmrs.errors import RunFailure, UserError
from mmrs.progress import Progress
from mmrs.record import TaskName
from mmrs.shards.manifest import (
    MANIFEST_NAME,
    Manifest,
    ShardEntry,
    SourceEntry,
    SplitCounts,
    sum_counts,
)
from mmrs.shards.quarantine import QUARANTINE_NAME, QuarantineEntry, to_jsonl
from mmrs.source import SourceBuild
from mmrs.storage.open import open_place
from mmrs.storage.place import Place


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """What a build will do; nothing has been written yet.

    `listed` is the number of images that the recipe's `exclude` names, in this data set or not. `drops_sources` allows
    the shards of sources that the plan does not have to be removed; else they are a reason to refuse.
    """

    surveys: tuple[SplitSurvey, ...]
    tasks: tuple[ShardTask, ...]
    listed: int = 0
    drops_sources: bool = False

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

    @property
    def unread(self) -> dict[str, Unread]:
        """What of each source nothing reads; sources that are read whole are left out."""
        return {survey.build.source.name: survey.unread for survey in self.surveys if survey.unread != Unread()}


@dataclass(frozen=True, slots=True)
class BuildResult:
    """A finished build. `rebuilt` counts the shards written by this run; the others were already there."""

    manifest: Manifest
    rebuilt: int
    quarantine: tuple[QuarantineEntry, ...]


def plan_build(
    sources: Sequence[SourceBuild],
    recipe: BuildRecipe,
    workers: int,
    progress: Progress,
    skipped: Collection[Path] = (),
) -> BuildPlan:
    """Survey every split and plan its shards. Folders of `skipped`, such as the output, are no part of a source.

    Raises:
        UserError: a source's layout or split is missing, or a list of `exclude` cannot be read.
    """
    exclusions = load_exclusions(recipe.exclude)
    with rare_collections():
        surveys = survey_splits(sources, recipe.seed, workers, progress, skipped)
        tasks = [task for split in surveys for task in _split_tasks(split, recipe, exclusions)]
    return BuildPlan(tuple(surveys), tuple(tasks), len(exclusions))


def _split_tasks(survey: SplitSurvey, recipe: BuildRecipe, exclusions: Mapping[str, str]) -> list[ShardTask]:
    source, asked = survey.build.source, survey.build.tasks
    offered = frozenset((*source.tasks, *survey.tasks))
    tasks: frozenset[TaskName] = offered if asked is None else asked & offered  # type: ignore[assignment]
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


def inspect_output(plan: BuildPlan, out: Path | str) -> ExistingShards:
    """What is at `out` already and what a build would write; changes nothing.

    Raises:
        UserError: `out` cannot be read.
    """
    try:
        return existing_shards(plan.tasks, open_place(out))
    except OSError as error:
        raise UserError(f"cannot read {out}: {error}. Mend that, or choose another --out.") from error


def check_output(plan: BuildPlan, findings: ExistingShards, place: Place) -> None:
    """Refuse what no build may do with what was found at a place.

    Raises:
        UserError: files of others are in the way, or sources of another recipe would be removed unasked.
        OSError: the place cannot be read.
    """
    # A source of which no image can be stored any more is of this recipe all the same.
    asked = {survey.build.source.name for survey in plan.surveys}
    dropped = () if plan.drops_sources else [name for name in findings.stale_sources if name not in asked]
    check_ownership(place, findings.in_the_way, dropped, bool(findings.results or findings.stale))


def build(
    plan: BuildPlan,
    recipe: BuildRecipe,
    out: Path | str,
    workers: int,
    progress: Progress,
    engine: Engine | None = None,
    announce: Callable[[ExistingShards], None] | None = None,
) -> BuildResult:
    """Write every shard that is not there yet, then `quarantine.jsonl`, then the manifest.

    A run that is killed at any point leaves whole shards and no manifest; the next run continues from them.

    Args:
        out: a folder, or a URL of fsspec.
        workers: processes, where no `engine` is given.
        announce: is told what is there and what will be written, before anything is.

    Raises:
        UserError: another build writes to `out`, nothing can be written there, or files of others are in the way.
        RunFailure: more bad images or annotation rows than the recipe's ceiling allows (told before anything is written
            where the survey knows), nothing to store, or the storage failed; finished shards stay for the next run.
    """
    place = open_place(out)
    with place.lock(progress.note) as token:
        try:
            findings = existing_shards(plan.tasks, place)
            check_output(plan, findings, place)
            if left := place.remove_leftovers():
                progress.note(f"left alone, as no build made it: {', '.join(left)}")
            if announce is not None:
                announce(findings)
            _check_survey(plan, recipe, place)
            if findings.missing or findings.stale:
                place.remove([MANIFEST_NAME, *findings.stale])
            written = _write_missing(findings, place, token, engine or ProcessPool(workers), progress)
            place.check(token)
            place.remove_leftovers()
            rebuilt = sum(result.records > 0 for result in written.values())
            return _finish(plan, recipe, place, findings.results | written, rebuilt)
        except OSError as error:
            raise storage_failure(place, error, "the data set") from error
        except (KeyboardInterrupt, SystemExit):
            with suppress(OSError):
                place.remove_leftovers()
            raise


def _write_missing(
    findings: ExistingShards, place: Place, token: str, engine: Engine, progress: Progress
) -> dict[str, ShardResult]:
    tasks = [task for task, _ in findings.missing]
    results: dict[str, ShardResult] = {}
    run = write_shards(tasks, place, token, engine, progress.note)
    with progress.stage("build", sum(len(task.samples) for task in tasks), "samples") as advance, closing(run) as done:
        for samples, finished in done:
            results |= finished
            advance(samples)
    return results


def _finish(
    plan: BuildPlan, recipe: BuildRecipe, place: Place, results: dict[str, ShardResult], rebuilt: int
) -> BuildResult:
    entries = [entry for survey in plan.surveys for entry in survey.quarantine]
    entries += [entry for result in results.values() for entry in result.quarantine]
    entries.sort(key=lambda entry: entry.sort_key)
    quarantine = to_jsonl(entries)
    place.write(QUARANTINE_NAME, quarantine)
    manifest = Manifest(
        tool_version=mmrs.__version__,
        recipe_digest=recipe.digest(plan.excluded),
        recipe=recipe.content(plan.excluded),
        sources=_source_entries(plan, results),
        shards=tuple(_shard_entry(task, results[task.path]) for task in plan.tasks if results[task.path].records),
        quarantine_sha256=hashlib.sha256(quarantine).hexdigest(),
    ).with_id()
    try:
        if not manifest.shards:
            raise _nothing_to_store(plan, place)
        _check_ceiling(manifest, recipe, place)
    except RunFailure:
        place.remove([MANIFEST_NAME])
        raise
    place.write(MANIFEST_NAME, manifest.to_json())
    return BuildResult(manifest, rebuilt, tuple(entries))


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
            tasks=tuple(sorted({name for task in tasks for name in task.render.tasks})),
            train_splits=tuple(split for split in surveys[0].build.splits if split in surveys[0].build.train_splits),
            categories=tuple(source.categories),
            image_suffix={task.split: task.suffix for task in tasks},
            converter_version=source.version,
            options=source.options(),
            splits={survey.split: _split_counts(survey, tasks, results) for survey in surveys},
        )
    return entries


def _split_counts(survey: SplitSurvey, tasks: list[ShardTask], results: dict[str, ShardResult]) -> SplitCounts:
    of_survey = SplitCounts(
        quarantined_items=sum(entry.images for entry in survey.quarantine),
        absent=sum(entry.level == "absent" for entry in survey.quarantine),
        quarantined_objects=sum(entry.level == "object" for entry in survey.quarantine),
    )
    return sum_counts([of_survey, *(results[task.path].counts for task in tasks if task.split == survey.split)])


def _check_survey(plan: BuildPlan, recipe: BuildRecipe, place: Place) -> None:
    """Fail before a shard is written where the survey alone shows that the build must."""
    bad: dict[str, int] = defaultdict(int)
    for survey in plan.surveys:
        bad[survey.build.source.name] += sum(entry.images for entry in survey.quarantine)
    good: dict[str, int] = defaultdict(int)
    for task in plan.tasks:
        good[task.source.name] += len(task.samples) - len(task.excluded)
    try:
        if not any(good.values()):
            raise _nothing_to_store(plan, place)
        for name, count in bad.items():
            _check_share(name, "images", count, good[name], recipe, place)
    except RunFailure:
        place.remove([MANIFEST_NAME])
        entries = sorted((entry for survey in plan.surveys for entry in survey.quarantine), key=lambda e: e.sort_key)
        place.write(QUARANTINE_NAME, to_jsonl(entries))
        raise


def _nothing_to_store(plan: BuildPlan, place: Place) -> RunFailure:
    first = plan.surveys[0].build
    return RunFailure(
        f"no image can be stored, so there is no data set. {place}/{QUARANTINE_NAME} says why; see what is there with "
        f"`{first.scan_command}`."
    )


def _check_ceiling(manifest: Manifest, recipe: BuildRecipe, place: Place) -> None:
    for name, source in manifest.sources.items():
        counts = source.splits.values()
        images = sum(part.records for part in counts)
        _check_share(name, "images", sum(part.quarantined_items for part in counts), images, recipe, place)
        rows = sum(part.objects + part.ignored_objects for part in counts)
        _check_share(name, "rows", sum(part.quarantined_objects for part in counts), rows, recipe, place)


def _check_share(name: str, what: str, bad: int, good: int, recipe: BuildRecipe, place: Place) -> None:
    share = bad / (bad + good) if bad else 0.0
    if share > recipe.quarantine_ceiling:
        raise RunFailure(
            f"{name}: {bad} of {bad + good} {what} are bad ({share:.1%}), more than the ceiling of "
            f"{recipe.quarantine_ceiling:.1%}. Read {place}/{QUARANTINE_NAME}, mend the source and run again, "
            f"or accept them with `--set quarantine_ceiling={min(1.0, share * 1.05):.4f}`."
        )
