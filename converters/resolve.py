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
        UserError: unknown source, option, split or task, or a root given for a source that the recipe does not list.
    """
    roots = roots or {}
    listed = [entry.name for entry in recipe.sources]
    for name in roots:
        if name not in listed:
            raise UserError(f"--root {name}=...: the recipe does not list {name!r}; it lists {', '.join(listed)}.")
    builds = []
    for entry in recipe.sources:
        source = converters.get(entry.name, **entry.options)
        for split in entry.splits or ():
            source.check_split(split)
        unknown = sorted((entry.tasks or frozenset()) - set(source.tasks))
        if unknown:
            raise UserError(
                f"{entry.name} is not annotated for {unknown[0]} with these options; it has {', '.join(source.tasks)}."
            )
        builds.append(
            SourceBuild(
                source=source,
                root=roots.get(entry.name, recipe.root_of(entry)),
                splits=entry.splits or tuple(source.splits),
                limit=entry.limit,
                tasks=entry.tasks,
            )
        )
    return builds
