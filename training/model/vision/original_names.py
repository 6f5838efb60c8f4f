"""Names of weights in the files that authors publish, brought to those of transformers by a table of beginnings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
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


def image_tower(state: State) -> dict[str, torch.Tensor]:
    """The image encoder's weights of a whole OpenCLIP model, bare; the weights as they are of anything else."""
    for prefix in ("visual.trunk.", "visual."):
        own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        if own:
            return own
    return dict(state)


def unstacked(state: State, stacked: str, names: Sequence[str]) -> dict[str, torch.Tensor]:
    """The weights with each stack of queries, keys and values cut into three.

    Args:
        stacked: pattern of a stack's name, its block and its kind (weight, bias) as groups.
        names: for queries, keys and values the new name, with # for the block.
    """
    result = {}
    for name, value in state.items():
        found = re.fullmatch(stacked, name)
        if found is None:
            result[name] = value
            continue
        for part, rows in zip(names, value.chunk(3), strict=True):
            result[f"{part.replace('#', found[1])}.{found[2]}"] = rows.contiguous()
    return result


def heads_of(width: int, head_width: int | None) -> int:
    """Attention heads of a vision transformer, which no weight tells.

    Args:
        head_width: channels of each where that is stated; else 64, or what models of this width were published with.
    """
    return width // (head_width or {1152: 72, 1280: 80, 1408: 88, 1664: 104}.get(width, 64)) or 1


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
