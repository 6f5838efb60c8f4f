"""Recipe -> the converters and roots that a build needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import converters
from mmrs.builder.recipe import BuildRecipe, SourceRecipe, load_recipe
from mmrs.config import validated, with_overrides
from mmrs.errors import UserError
from mmrs.source import SourceBuild
from mmrs.storage.plain_files import reading_below
from mmrs.text import nearest


def find_recipe(
    word: str,
    shipped: Mapping[str, Path],
    overrides: tuple[str, ...] = (),
    options: Mapping[str, Any] | None = None,
) -> BuildRecipe:
    """The build recipe that `word` means: a file, one of the `shipped` files by name, or a source by itself.

    Args:
        overrides: ``a.b=c`` for keys of the recipe. Beside a source, ``a=b`` may also set an option of the source, as
            `mmrs scan` takes it.
        options: ``NAME`` or ``SOURCE.NAME`` -> value, as `with_options` takes them.

    Raises:
        UserError: none of these; lists the shipped recipes and names what is nearest.
    """
    sources = converters.names()
    given = dict(options or {})
    if Path(word).is_file():
        recipe = load_recipe(Path(word), overrides)
    elif word in shipped:
        recipe = load_recipe(shipped[word], overrides)
    elif word in sources:
        keys, own = _options_apart(word, overrides)
        content = with_overrides({"sources": [{"name": word}]}, keys)
        recipe, given = validated(BuildRecipe, content, where=f"recipe {word}"), own | given
    else:
        raise _no_recipe(word, shipped, sources)
    return with_options(recipe, given)


def _no_recipe(word: str, shipped: Mapping[str, Path], sources: Sequence[str]) -> UserError:
    return UserError(
        f"recipe {word} not found{nearest(word, [*shipped, *sources])}: no such file, none of the project's recipes "
        f"({', '.join(sorted(shipped))}) and no source (`mmrs sources` lists them)."
    )


def _options_apart(source: str, overrides: tuple[str, ...]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Overrides of keys of a recipe, and those that name an option of the source and no such key."""
    known = set(converters.option_names(source)) - set(BuildRecipe.model_fields)
    keys, own = [], {}
    for override in overrides:
        name, separator, value = override.partition("=")
        if separator and name in known:
            own[name] = value
        else:
            keys.append(override)
    return tuple(keys), own


def with_options(recipe: BuildRecipe, options: Mapping[str, Any]) -> BuildRecipe:
    """The recipe with options of its sources set: ``NAME`` where it has one source, else ``SOURCE.NAME``.

    Raises:
        UserError: the recipe does not list that source, lists it twice, or has several and none is named.
    """
    entries = list(recipe.sources)
    listed = [entry.name for entry in entries]
    for key, value in options.items():
        source, separator, name = key.rpartition(".")
        if not separator and len(entries) > 1:
            example = f"--option {listed[0]}.{name}={value}"
            raise UserError(f"--option {name}={value}: the recipe has {len(listed)} sources; say whose: `{example}`.")
        if separator and source not in listed:
            raise _not_listed(f"--option {key}={value}", source, listed)
        position = listed.index(source) if separator else 0
        entries[position] = entries[position].model_copy(update={"options": entries[position].options | {name: value}})
    return recipe.model_copy(update={"sources": tuple(entries)})


def _not_listed(option: str, name: str, listed: Sequence[str]) -> UserError:
    return UserError(
        f"{option}: the recipe does not list {name!r}{nearest(name, listed)}; it lists {', '.join(listed)}."
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
    # Descriptions of a user's own data are read here; each bounds itself to its folder.
    with reading_below(Path("/"), recipe.follow_links):
        sources = [converters.get(entry.name, **entry.options) for entry in recipe.sources]
    names = [source.name for source in sources]
    for name in sorted(recipe.licences.accept):
        if name not in names:
            raise _not_listed(f"licences.accept {name}", name, names)
    roots = _roots_by_name(recipe, roots or {}, names)
    builds, left_out = [], []
    for entry, source in zip(recipe.sources, sources, strict=True):
        if names.count(source.name) > 1:
            raise UserError(f"source {source.name!r} is listed twice; list it once with all its splits.")
        found = _resolve_one(recipe, entry, source, roots.get(source.name, recipe.root_of(entry)))
        if isinstance(found, str):
            left_out.append((source.name, found))
        else:
            builds.append(found)
    if not builds:
        reasons = "; ".join(f"{name} {reason}" for name, reason in left_out)
        raise UserError(f"the recipe leaves no source to build: {reasons}. Change `sensors`, `tasks` or `splits`.")
    return SourcesToBuild(tuple(builds), tuple(left_out))


def _roots_by_name(recipe: BuildRecipe, roots: Mapping[str, Path], names: Sequence[str]) -> dict[str, Path]:
    """Folders by the sources' own names; described data may be called ``generic`` as well where it is the only such."""
    entries = [entry.name for entry in recipe.sources]
    found = {}
    for name, folder in roots.items():
        if name in names:
            found[name] = folder
        elif entries.count(name) == 1:
            found[names[entries.index(name)]] = folder
        else:
            raise _not_listed(f"--root {name}", name, list(dict.fromkeys([*names, *entries])))
    return found


def _resolve_one(
    recipe: BuildRecipe, entry: SourceRecipe, source: converters.Converter, root: Path
) -> SourceBuild | str:
    """The build of one source, or why the recipe's filters leave it out."""
    splits = _splits(source, entry.splits, root)
    offered = frozenset((*source.tasks, *source.optional_tasks))
    unknown = sorted((entry.tasks or frozenset()) - offered)
    if unknown:
        raise UserError(
            f"{entry.name} is not annotated for {unknown[0]}{nearest(unknown[0], source.tasks)}"
            f" with these options; it has {', '.join(source.tasks)}."
        )
    train_splits = entry.train_splits if entry.train_splits is not None else recipe.train_splits
    for split in entry.train_splits or ():
        source.check_split(split, root)
        if source.facts.evaluation_only:
            raise UserError(f"{source.name} is for evaluation only, never for training: leave out its train_splits.")
    tasks = offered if entry.tasks is None else entry.tasks
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
        root=root,
        splits=splits,
        limit=entry.limit,
        tasks=tasks,
        train_splits=() if source.facts.evaluation_only else train_splits,
        other_splits=tuple(split for split in source.splits_in(root) if split not in splits),
        follow_links=recipe.follow_links,
        asked_as=(
            entry.name,
            *(word for name, value in entry.options.items() for word in ("--option", f"{name}={value}")),
        ),
    )


def _splits(source: converters.Converter, asked: tuple[str, ...] | None, root: Path) -> tuple[str, ...]:
    """The splits to build; of an evaluation-only source all but the training split, which is refused when asked for."""
    for split in asked or ():
        source.check_split(split, root)
    offered = tuple(source.splits_in(root))
    if not source.facts.evaluation_only:
        return asked or offered
    if "train" in (asked or ()):
        rest = ", ".join(split for split in offered if split != "train")
        raise UserError(
            f"{source.name} is for evaluation only, never for training; build its other splits ({rest or 'none'})."
        )
    return asked or tuple(split for split in offered if split != "train")
