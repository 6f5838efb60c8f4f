"""Recipe -> the converters and roots that a build needs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import converters
from mmrs.build.recipe import BuildRecipe
from mmrs.errors import UserError
from mmrs.source import SourceBuild


def resolve(recipe: BuildRecipe, roots: Mapping[str, Path] | None = None) -> list[SourceBuild]:
    """One `SourceBuild` for each source of the recipe; `roots` overrides the recipe's folders by source name.

    Raises:
        UserError: unknown source, option, split or task; a training split of an evaluation-only source; an unknown
            licence in a recipe for publication; a root given for a source that the recipe does not list.
    """
    roots = roots or {}
    listed = [entry.name for entry in recipe.sources]
    for name in roots:
        if name not in listed:
            raise UserError(f"--root {name}=...: the recipe does not list {name!r}; it lists {', '.join(listed)}.")
    builds = []
    for entry in recipe.sources:
        source = converters.get(entry.name, **entry.options)
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
                root=roots.get(entry.name, recipe.root_of(entry)),
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
