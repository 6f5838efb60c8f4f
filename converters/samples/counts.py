"""How many images a generator writes per split."""

from __future__ import annotations

from collections.abc import Mapping

from converters.catalog import nearest
from mmrs.errors import UserError


def split_counts(asked: int | Mapping[str, int] | None, usual: Mapping[str, int]) -> dict[str, int]:
    """Images by split, in the source's order of splits.

    Args:
        asked: one number for all splits, a number by split (others are left out), or None for the usual numbers.
        usual: the generator's own numbers.

    Raises:
        UserError: a split that the source does not have, or a negative number.
    """
    if asked is None:
        return dict(usual)
    if isinstance(asked, int):
        asked = dict.fromkeys(usual, asked)
    for split, count in asked.items():
        if split not in usual:
            raise UserError(f"no split {split!r}{nearest(split, usual)}; splits are {', '.join(usual)}")
        if count < 0:
            raise UserError(f"{count} images for split {split}; give 0 or more")
    return {split: asked[split] for split in usual if split in asked}
