"""Recipe -> the converters and roots that a build needs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import converters
from mmrs.build.recipe import BuildRecipe, load_recipe
from mmrs.config import validated, with_overrides
from mmrs.errors import UserError
from mmrs.source import SourceBuild


def find_recipe(word: str, shipped: Path, overrides: tuple[str, ...] = ()) -> BuildRecipe:
    """The build recipe that `word` means: a file, one of the `shipped` folder by name, or a source by itself.

    Raises:
        UserError: none of these; lists the shipped recipes.
    """
    for path in (Path(word), shipped / f"{word}.yaml"):
        if path.is_file():
            return load_recipe(path, overrides)
    if word in converters.names():
        return validated(BuildRecipe, with_overrides({"sources": [{"name": word}]}, overrides), where=f"recipe {word}")
    names = sorted(path.stem for path in shipped.glob("*.yaml"))
    raise UserError(
        f"recipe {word} not found: no such file, none of the project's recipes ({', '.join(names)}) and no source "
        "(`mmrs sources` lists them)."
    )


def resolve(recipe: BuildRecipe, roots: Mapping[str, Path] | None = None) -> list[SourceBuild]:
    """One `SourceBuild` for each source of the recipe; `roots` overrides the recipe's folders by source name.

    Raises:
        UserError: unknown source, option, split or task; a training split of an evaluation-only source; an unknown
            licence in a recipe for publication; a root given for a source that the recipe does not list.
    """
    roots = roots or {}
    sources = [converters.get(entry.name, **entry.options) for entry in recipe.sources]
    names = [source.name for source in sources]
    for name in roots:
        if name not in names:
            raise UserError(f"--root {name}=...: the recipe does not list {name!r}; it lists {', '.join(names)}.")
    builds = []
    for entry, source in zip(recipe.sources, sources, strict=True):
        if names.count(source.name) > 1:
            raise UserError(f"source {source.name!r} is listed twice; list it once with all its splits.")
        splits = _splits(source, entry.splits)
        unknown = sorted((entry.tasks or frozenset()) - set(source.tasks))
        if unknown:
            raise UserError(
                f"{entry.name} is not annotated for {unknown[0]} with these options; it has {', '.join(source.tasks)}."
            )
        if recipe.publication and source.licence == "unknown" and not recipe.allow_unknown_licences:
            raise UserError(
                f"{entry.name} states no licence ({source.facts.licence_evidence}), and the recipe is for publication. "
                "Leave it out, or take the responsibility with `--set allow_unknown_licences=true`."
            )
        builds.append(
            SourceBuild(
                source=source,
                root=roots.get(source.name, recipe.root_of(entry)),
                splits=splits,
                limit=entry.limit,
                tasks=entry.tasks,
            )
        )
    return builds


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
