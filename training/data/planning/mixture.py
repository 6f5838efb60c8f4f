"""How often each part of the data is seen: passes per epoch of groups of dialogues, without sampling by chance.

Shape legend: D dialogues, I items.

A group's *items* are its samples, each with all of its dialogues that belong to the group. The items of a group form
an endless sequence of passes, each in an order of its own, and epoch e takes the part from ``floor(e * p * I)`` to
``floor((e + 1) * p * I)`` of it, p being the passes per epoch. So 2.5 passes are two whole ones and a half that the
next epoch completes; at any time the items of a group were seen equally often, give or take one.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from mmrs.errors import UserError
from mmrs.seeding import permutation
from mmrs.text import nearest
from training.config import MixtureRule
from training.data.planning.selection import Selection


def group_dialogues(selection: Selection, rules: Sequence[MixtureRule]) -> tuple[np.ndarray, str]:
    """Assign every selected dialogue to the first rule that matches it.

    Where rules give `epochs`, dialogues that no rule matches form a last group that is seen once per epoch. Where they
    give `weight`, a group's share of the epoch's samples is its share of the weights, and an epoch has as many samples
    as the selection.

    Returns:
        Group of each dialogue, int32 (D,), and the passes of the groups as text for `PlanSettings.mixture`.

    Raises:
        UserError: a rule names what is not there or matches nothing, or a dialogue has no weight.
    """
    if not rules:
        return np.zeros(len(selection.dialogue_row), np.int32), ""
    group = np.full(len(selection.dialogue_row), len(rules), np.int32)
    source_D = selection.source[selection.dialogue_row]
    for number in reversed(range(len(rules))):
        rule = rules[number]
        matches = np.ones(len(group), bool)
        if rule.source is not None:
            matches &= source_D == _number(rule.source, selection.sources, "source")
        if rule.task is not None:
            matches &= selection.dialogue_task == _number(rule.task, selection.tasks, "task")
        group[matches] = number
    items = [_count_items(selection, group == number) for number in range(len(rules) + 1)]
    for rule, count in zip(rules, items, strict=False):
        if count == 0:
            raise UserError(
                f"data.mixture: the rule for {rule.name} matches no dialogue that an earlier rule left. Move it up, or "
                "remove it."
            )
    return group, mixture_text([*(rule.name for rule in rules), "others"], _passes(rules, items, selection, group))


def _passes(rules: Sequence[MixtureRule], items: list[int], selection: Selection, group: np.ndarray) -> list[Fraction]:
    if rules[0].weight is None:
        return [*(Fraction(str(rule.epochs)) for rule in rules), Fraction(1)]
    if items[-1]:
        entry = int(np.flatnonzero(group == len(rules))[0])
        source = selection.sources[selection.source[selection.dialogue_row[entry]]]
        task = selection.tasks[selection.dialogue_task[entry]]
        raise UserError(
            f"data.mixture: no rule gives a weight to {source}/{task}. Add one, or leave it out with data.sources or "
            "data.tasks."
        )
    weights = [Fraction(str(rule.weight)) for rule in rules]
    total = len(selection)
    return [*(w / sum(weights) * total / count for w, count in zip(weights, items, strict=False)), Fraction(1)]


def _number(name: str, known: tuple[str, ...], what: str) -> int:
    if name not in known:
        near = nearest(name, known)
        raise UserError(f"data.mixture: {what} {name!r} is not selected{near}; there are {', '.join(known)}.")
    return known.index(name)


def _count_items(selection: Selection, chosen_D: np.ndarray) -> int:
    row = selection.dialogue_row[chosen_D]
    return int((np.diff(row, prepend=-1) != 0).sum())


def mixture_text(names: Sequence[str], passes: Sequence[Fraction]) -> str:
    """``dota/*=5/2;others=1``: a group's name and its passes per epoch, exactly."""
    return ";".join(f"{name}={count}" for name, count in zip(names, passes, strict=True))


def parse_mixture(text: str) -> list[Fraction]:
    """Passes per epoch of each group, in order; one group that is seen once for the empty text."""
    return [Fraction(part.rpartition("=")[2]) for part in text.split(";")] if text else [Fraction(1)]


def copies_of_epoch(item_group: np.ndarray, passes: Sequence[Fraction], key: tuple[str, int], epoch: int) -> np.ndarray:
    """How often each item (I,) is seen in an epoch, int64 (I,).

    Args:
        item_group: group of every item.
        passes: passes per epoch of every group.
        key: data set id and seed.
    """
    copies = np.zeros(len(item_group), np.int64)
    for number, per_epoch in enumerate(passes):
        members = np.flatnonzero(item_group == number)
        count = len(members)
        if per_epoch == 1 or count == 0:
            copies[members] = 1
            continue
        first, last = (int(edge * per_epoch * count) for edge in (epoch, epoch + 1))
        for turn in range(first // count, -(-last // count)):
            start, stop = max(first - turn * count, 0), min(last - turn * count, count)
            if stop - start == count:
                copies[members] += 1
            else:
                copies[members[permutation(count, *key, "mixture", number, turn)[start:stop]]] += 1
    return copies
