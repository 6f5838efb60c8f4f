"""All pages of the reference that are made from the code, by their place in the site."""

from __future__ import annotations

from collections.abc import Callable

from docs.hooks.reference.catalogue import sources_page
from docs.hooks.reference.commands import commands_page
from docs.hooks.reference.formats import errors_page, index_page, record_page
from docs.hooks.reference.modules import modules_page
from docs.hooks.reference.protocols import protocols_page
from docs.hooks.reference.settings import recipe_page, training_page

PAGES: dict[str, Callable[[], str]] = {
    "reference/commands.md": commands_page,
    "reference/recipe.md": recipe_page,
    "reference/training.md": training_page,
    "reference/sources.md": sources_page,
    "reference/index-columns.md": index_page,
    "reference/record.md": record_page,
    "reference/errors.md": errors_page,
    "reference/protocols.md": protocols_page,
    "reference/modules.md": modules_page,
}
