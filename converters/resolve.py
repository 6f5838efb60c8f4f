"""Recipe -> the converters and roots that a build needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import converters
from mmrs.builder.recipe import BuildRecipe, SourceRecipe, load_recipe
from mmrs.config import validated, with_overrides
from mmrs.errors import UserError
from mmrs.source import SourceBuild
from mmrs.text import nearest


def find_recipe(word: str, shipped: Mapping[str, Path], overrides: tuple[str, ...] = ()) -> BuildRecipe:
    """The build recipe that `word` means: a file, one of the `shipped` files by name, or a source by itself.

    Raises:
        UserError: none of these; lists the shipped recipes and names what is nearest.
    """
    if Path(word).is_file():
        return load_recipe(Path(word), overrides)
    if word in shipped:
        return load_recipe(shipped[word], overrides)
    sources = converters.names()
    if word in sources:
        return validated(BuildRecipe, with_overrides({"sources": [{"name": word}]}, overrides), where=f"recipe {word}")
    raise UserError(
        f"recipe {word} not found{nearest(word, [*shipped, *sources])}: no such file, none of the project's recipes "
        f"({', '.join(sorted(shipped))}) and no source (`mmrs sources` lists them)."
    )


@dataclass(frozen=True, slots=True)
class SourcesToBuild:
    """What a recipe asks for: sources to build, and (source, reason) of those that its filters leave out."""

    builds: tuple[SourceBuild, ...]
    left_out: tuple[tuple[str, str], ...]


def resolve(recipe: BuildRecipe, roots: Mapping[str, Path] | None = None) -> SourcesToBuild:
    """One `SourceBuild` for each source of the recipe that passes its filters; `roots` overrides folders by name.

    Raises:
        UserError: unknown source, option, split or task; a training split of an evaluation-only source; a licence that
            the recipe refuses; a root given for a source that the recipe does not list; filters that leave nothing.
    """
    roots = roots or {}
    sources = [converters.get(entry.name, **entry.options) for entry in recipe.sources]
    names = [source.name for source in sources]
    _check_names(recipe, roots, names)
    builds, left_out = [], []
    for entry, source in zip(recipe.sources, sources, strict=True):
        if names.count(source.name) > 1:
            raise UserError(f"source {source.name!r} is listed twice; list it once with all its splits.")
        found = _resolve_one(recipe, entry, source)
        if isinstance(found, str):
            left_out.append((source.name, found))
        else:
            builds.append(replace(found, root=roots.get(source.name, found.root)))
    if not builds:
        reasons = "; ".join(f"{name} {reason}" for name, reason in left_out)
        raise UserError(f"the recipe leaves no source to build: {reasons}. Change `sensors`, `tasks` or `splits`.")
    return SourcesToBuild(tuple(builds), tuple(left_out))


def _check_names(recipe: BuildRecipe, roots: Mapping[str, Path], names: list[str]) -> None:
    for option, given in (("--root", roots), ("licences.accept", sorted(recipe.licences.accept))):
        for name in given:
            if name not in names:
                raise UserError(f"{option} {name}: the recipe does not list {name!r}; it lists {', '.join(names)}.")


def _resolve_one(recipe: BuildRecipe, entry: SourceRecipe, source: converters.Converter) -> SourceBuild | str:
    """The build of one source, or why the recipe's filters leave it out."""
    splits = _splits(source, entry.splits)
    unknown = sorted((entry.tasks or frozenset()) - set(source.tasks))
    if unknown:
        raise UserError(
            f"{entry.name} is not annotated for {unknown[0]} with these options; it has {', '.join(source.tasks)}."
        )
    train_splits = entry.train_splits if entry.train_splits is not None else recipe.train_splits
    for split in entry.train_splits or ():
        source.check_split(split)
        if source.facts.evaluation_only:
            raise UserError(f"{source.name} is for evaluation only, never for training: leave out its train_splits.")
    tasks = frozenset(source.tasks) if entry.tasks is None else entry.tasks
    if recipe.sensors is not None and source.sensor not in recipe.sensors:
        return f"is {source.sensor}"
    if recipe.tasks is not None and not (tasks := tasks & recipe.tasks):
        return f"has none of the tasks {', '.join(sorted(recipe.tasks))}"
    if recipe.splits is not None and not (splits := tuple(split for split in splits if split in recipe.splits)):
        return f"has none of the splits {', '.join(recipe.splits)}"
    if refusal := recipe.licences.refusal(source.name, source.licence):
        if recipe.licences.refused == "leave-out":
            return refusal
        raise UserError(
            f"{entry.name} {refusal}, and the recipe's licences.allow is {recipe.licences.allow} (evidence: "
            f"{source.facts.licence_evidence}). Leave such sources out with `--set licences.refused=leave-out`, or "
            f"take the responsibility with `--set licences.accept=[{source.name}]`."
        )
    return SourceBuild(
        source=source,
        root=recipe.root_of(entry),
        splits=splits,
        limit=entry.limit,
        tasks=tasks,
        train_splits=() if source.facts.evaluation_only else train_splits,
    )


def _splits(source: converters.Converter, asked: tuple[str, ...] | None) -> tuple[str, ...]:
    """The splits to build; of an evaluation-only source all but the training split, which is refused when asked for."""
    for split in asked or ():
        source.check_split(split)
    if not source.facts.evaluation_only:
        return asked or tuple(source.splits)
    if "train" in (asked or ()):
        rest = ", ".join(split for split in source.splits if split != "train")
        raise UserError(
            f"{source.name} is for evaluation only, never for training; build its other splits ({rest or 'none'})."
        )
    return asked or tuple(split for split in source.splits if split != "train")
