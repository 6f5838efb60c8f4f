"""A training recipe as a command is given it: a YAML file, or the name of one that comes with the package."""

from __future__ import annotations

from pathlib import Path

from mmrs.errors import UserError
from mmrs.installation import shipped_recipes
from mmrs.text import nearest


def find_train_recipe(word: str) -> Path:
    """The file that `word` means; a file of that name goes before a recipe of the package.

    Raises:
        UserError: neither; names the nearest of the package.
    """
    shipped = shipped_recipes("training")
    if Path(word).exists():
        return Path(word)
    if word in shipped:
        return shipped[word]
    raise UserError(
        f"recipe {word} not found{nearest(word, shipped)}: no such file, and none of the project's recipes "
        f"({', '.join(sorted(shipped))})."
    )
