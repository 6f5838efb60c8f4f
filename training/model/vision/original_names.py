"""Names of weights in the files that authors publish, brought to those of transformers by a table of beginnings."""

from __future__ import annotations

import re
from typing import Any

from torch import nn

from training.model.vision.encoder import State

# Beginnings of names, theirs and ours; # stands for a number.
NameTable = tuple[tuple[str, str], ...]


def renamed(name: str, table: NameTable, what: str) -> str:
    """Our name of a weight.

    Args:
        what: whose names the table has, for the error.

    Raises:
        ValueError: no beginning fits.
    """
    for theirs, ours in table:
        match = re.match(re.escape(theirs).replace(r"\#", r"(\d+)"), name)
        if match:
            for number in match.groups():
                ours = ours.replace("#", number, 1)
            return ours + name[match.end() :]
    raise ValueError(f"{name!r} is no weight of {what}; give an unchanged checkpoint of one")


def count(state: State, pattern: str) -> int:
    """One more than the largest number that the pattern's group finds among the names."""
    return 1 + max(int(match[1]) for match in (re.match(pattern, name) for name in state) if match)


def loaded(kind: Any, config: Any, state: State) -> nn.Module:
    """A transformers model with exactly these weights.

    Raises:
        ValueError: a weight is missing, left over or of another shape.
    """
    model, report = kind.from_pretrained(None, config=config, state_dict=dict(state), output_loading_info=True)
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if report[problem]:
            raise ValueError(
                f"{kind.__name__} does not fit the checkpoint: {problem.replace('_', ' ')} such as "
                f"{sorted(map(str, report[problem]))[0]}; give an unchanged checkpoint"
            )
    return model
