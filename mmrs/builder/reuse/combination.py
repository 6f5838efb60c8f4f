"""Parts of finished data sets as one: which shards it has under which names, and its manifest. Nothing is written.

The outcome does not depend on the order of the data sets, and is the same whether they are joined at once or one after
the other. A shard keeps its bytes, so what is inside of it stays true: two shards with one key, or two descriptions of
one source, cannot be in one data set, and are refused.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

import mmrs
from mmrs.builder.reuse.parts import SplitName, SplitPart, TakenShard, Unstored, quarantine_of
from mmrs.errors import UserError
from mmrs.record import canonical_json
from mmrs.shards.manifest import Manifest, ParentEntry, ShardEntry, SourceEntry, sum_counts
from mmrs.text import shorten

# Of a recipe, what decides what the dialogues say: exports and evaluations read it once for the whole data set.
_TEXT_KEYS = ("dialect", "templates", "per_class_prompts", "repeat_single_class", "max_objects_per_dialogue")
# Of a source, what its splits share.
_SOURCE_FACTS = ("sensor", "licence", "categories", "converter_version", "options")
_ONE_WORDING = "mmrs1m"
_SHOWN_LETTERS = 200


@dataclass(frozen=True, slots=True)
class PlacedShard:
    """A shard under its name in the new data set."""

    taken: TakenShard
    path: str


@dataclass(frozen=True, slots=True)
class Combination:
    """A data set that is to be: its manifest, its shards in the manifest's order, and its quarantine."""

    manifest: Manifest
    shards: tuple[PlacedShard, ...]
    quarantine: bytes


@dataclass(frozen=True, slots=True)
class _Split:
    """All that the new data set has of one split."""

    name: SplitName
    parts: tuple[SplitPart, ...]
    shards: tuple[PlacedShard, ...]
    unstored: tuple[Unstored, ...]


def combine(parts: Sequence[SplitPart], trained_on: bool = True) -> Combination:
    """One data set of all parts.

    Args:
        trained_on: whether splits stay meant for training; otherwise all of it is for evaluation.

    Raises:
        UserError: the parts contradict each other, or have no shard; says in what, and what to do.
        RunFailure: an index is damaged, or a URL does not answer.
    """
    if not any(part.shards for part in parts):
        raise UserError("nothing is left of these data sets: not one shard has the --source and --split asked for.")
    ordered = sorted(parts, key=lambda part: (part.source, part.split, part.parent.id))
    by_split: dict[SplitName, list[SplitPart]] = defaultdict(list)
    for part in ordered:
        by_split[part.source, part.split].append(part)
    _check_descriptions(ordered)
    _check_keys(by_split)
    splits = [_split(name, same) for name, same in by_split.items()]
    quarantine = quarantine_of(([placed.taken for placed in split.shards], split.unstored) for split in splits)
    recipe = _recipe(ordered)
    manifest = Manifest(
        tool_version=mmrs.__version__,
        recipe_digest=hashlib.sha256(canonical_json(recipe)).hexdigest(),
        recipe=recipe,
        sources=_sources(splits, trained_on),
        shards=tuple(_entry(placed) for split in splits for placed in split.shards),
        quarantine_sha256=hashlib.sha256(quarantine).hexdigest(),
        parents=_parents(ordered),
    ).with_id()
    return Combination(manifest, tuple(placed for split in splits for placed in split.shards), quarantine)


def _split(name: SplitName, parts: Sequence[SplitPart]) -> _Split:
    unique = {shard.entry.sha256: shard for part in reversed(parts) for shard in part.shards}
    whole = next((part for part in parts if part.is_whole and len(part.shards) == len(unique)), None)
    if whole is not None:
        placed = [PlacedShard(shard, shard.entry.path) for shard in whole.shards]
    else:
        # The keys are numbered through in the order of the build.
        shards = sorted(unique.values(), key=lambda shard: (_first_key(shard), shard.entry.sha256))
        source, split = name
        placed = [
            PlacedShard(shard, f"{source}/{split}-{number:05d}-of-{len(shards):05d}.tar")
            for number, shard in enumerate(shards)
        ]
    # Copies of one split tell the same.
    unstored = {canonical_json(_told(part.unstored)): part.unstored for part in parts if part.unstored is not None}
    return _Split(name, tuple(parts), tuple(placed), tuple(unstored[key] for key in sorted(unstored)))


def _told(unstored: Unstored) -> dict[str, Any]:
    entries = sorted(entry.model_dump_json() for entry in unstored.entries)
    return {"counts": unstored.counts.model_dump(mode="json"), "entries": entries}


def _first_key(shard: TakenShard) -> str:
    return str(shard.shards.index(shard.position, ["key"])["key"][0].as_py())


def _entry(placed: PlacedShard) -> ShardEntry:
    return placed.taken.entry.model_copy(update={"path": placed.path})


def _check_descriptions(parts: Sequence[SplitPart]) -> None:
    """Refuse data sets that say different things of one source or split."""
    first: dict[str, SplitPart] = {}
    for part in parts:
        before = first.setdefault(part.source, part)
        for fact in _SOURCE_FACTS:
            if _fact(part, fact) != _fact(before, fact):
                raise _two_descriptions(fact, before, part)
    trained: dict[SplitName, bool] = {}
    for part in parts:
        if trained.setdefault((part.source, part.split), part.is_trained_on) != part.is_trained_on:
            raise UserError(
                f"{part.source}/{part.split} is meant for training in one of the data sets and for evaluation in "
                "another. Add --first-wins to take the source from the first of them that has it."
            )


def _fact(part: SplitPart, name: str) -> Any:
    return getattr(part.parent.sources[part.source], name)


def _check_keys(by_split: Mapping[SplitName, Sequence[SplitPart]]) -> None:
    """Refuse shards that hold one key, or one image, and are not the same shard."""
    # Keys are named SOURCE-SPLIT-NUMBER, and both names may hold a hyphen.
    by_prefix: dict[str, list[SplitPart]] = defaultdict(list)
    for (source, split), parts in by_split.items():
        by_prefix[f"{source}-{split}"] += parts
    for parts in by_prefix.values():
        if len(parts) < 2:
            continue
        unique = {shard.entry.sha256: shard for part in reversed(parts) for shard in part.shards}
        if any(len(part.shards) == len(unique) for part in parts):
            continue
        tables = [shard.shards.index(shard.position, ["key", "id"]) for shard in unique.values()]
        for column in ("key", "id"):
            counted = pc.value_counts(pa.chunked_array([chunk for table in tables for chunk in table[column].chunks]))
            twice = counted.filter(pc.greater(counted.field("counts"), 1))
            if len(twice):
                raise _two_builds(parts, column, len(twice), min(twice.field("values").to_pylist()))


def _two_builds(parts: Sequence[SplitPart], column: str, count: int, first: str) -> UserError:
    names = ", ".join(sorted({f"{part.source}/{part.split}" for part in parts}))
    places = sorted({str(shard.shards.location) for part in parts for shard in part.shards})
    return UserError(
        f"{' and '.join(places)} hold other shards of {names} with the same {column} ({count} of them, {first} first): "
        "they are two builds of one split, and its images would be there twice. Add --first-wins to take each source "
        "from the first of them that has it, or choose by --source and --split what is merged."
    )


def _sources(splits: Sequence[_Split], trained_on: bool) -> dict[str, SourceEntry]:
    by_source: dict[str, list[_Split]] = defaultdict(list)
    for split in splits:
        by_source[split.name[0]].append(split)
    return {name: _source(name, mine, trained_on) for name, mine in by_source.items()}


def _source(name: str, splits: Sequence[_Split], trained_on: bool) -> SourceEntry:
    parts = [part for split in splits for part in split.parts]
    entries = [part.parent.sources[name] for part in parts]
    trained = {split.name[1] for split in splits if split.parts[0].is_trained_on}
    suffixes = {
        split.name[1]: part.parent.sources[name].image_suffix[split.name[1]]
        for split in splits
        for part in split.parts
        if split.name[1] in part.parent.sources[name].image_suffix
    }
    return entries[0].model_copy(
        update={
            "tasks": tuple(sorted({task for entry in entries for task in entry.tasks})),
            "train_splits": tuple(sorted(trained)) if trained_on else (),
            "image_suffix": suffixes,
            "splits": {split.name[1]: _counts(split) for split in splits},
        }
    )


def _counts(split: _Split) -> Any:
    stored = [placed.taken.result.counts for placed in split.shards]
    return sum_counts([*stored, *(rest.counts for rest in split.unstored)])


def _two_descriptions(fact: str, first: SplitPart, second: SplitPart) -> UserError:
    ids = [part.parent.id[:12] for part in (first, second)]
    values = [shorten(repr(_fact(part, fact)), _SHOWN_LETTERS) for part in (first, second)]
    return UserError(
        f"the data sets describe {first.source} in two ways: {fact} is {values[0]} in {ids[0]} and {values[1]} in "
        f"{ids[1]}. Add --first-wins to take the source from the first data set that has it, or build it again in one "
        "of them as in the other."
    )


def _recipe(parts: Sequence[SplitPart]) -> dict[str, Any]:
    """What all of the text is written by, and the least of the checks."""
    recipes = {part.parent.id: part.parent.recipe for part in parts}
    first_id, first = min(recipes.items())
    for other_id, other in sorted(recipes.items()):
        for key in _TEXT_KEYS:
            if other.get(key) != first.get(key):
                raise UserError(
                    f"the text of the data sets is written in two ways: {key} is {first.get(key)!r} in {first_id[:12]} "
                    f"and {other.get(key)!r} in {other_id[:12]}. Build one of them again with `--set {key}=...` of "
                    "the other; training and `mmrs curate` take several data sets as they are."
                )
    recipe = {key: first[key] for key in _TEXT_KEYS if key in first}
    seeds = [other.get("seed") for other in recipes.values()]
    if all(seed == seeds[0] for seed in seeds):
        recipe |= {"seed": seeds[0]} if seeds[0] is not None else {}
    elif recipe.get("templates", _ONE_WORDING) != _ONE_WORDING:
        raise UserError(
            f"prompts of the data sets are worded by different seeds ({', '.join(sorted(map(str, seeds)))}). Build one "
            "of them again with `--set seed=...` of the other."
        )
    levels = [str(other["validation"]) for other in recipes.values() if "validation" in other]
    return recipe | ({"validation": min(levels)} if len(levels) == len(recipes) else {})


def _parents(parts: Sequence[SplitPart]) -> tuple[ParentEntry, ...]:
    """The builds behind the parts; those of a data set that was put together itself are its own parents."""
    known: dict[str, ParentEntry] = {}
    names: dict[str, set[str]] = defaultdict(set)
    for part in parts:
        if not part.shards:
            continue
        manifest, name = part.parent, f"{part.source}/{part.split}"
        for origin in manifest.parents or (_as_parent(manifest),):
            if name in origin.parts:
                known[origin.id] = origin
                names[origin.id].add(name)
    return tuple(known[key].model_copy(update={"parts": tuple(sorted(names[key]))}) for key in sorted(known))


def _as_parent(manifest: Manifest) -> ParentEntry:
    return ParentEntry(
        id=manifest.id,
        tool_version=manifest.tool_version,
        recipe_digest=manifest.recipe_digest,
        recipe=manifest.recipe,
        parts=tuple(sorted({f"{shard.source}/{shard.split}" for shard in manifest.shards})),
    )
