"""Words of direction in a text, moved with the image that it speaks of.

A word such as "top" may name a place of the picture ("at the top") or another one ("on top of the roof"), and "left"
may be a verb. So a word is rewritten only inside a phrase that can mean nothing but a place of the picture,
and whatever word of direction is left over makes the whole text one that cannot follow:

| phrase | follows |
|---|---|
| a corner: "top left", "upper-right", "bottom right corner" | every symmetry |
| a side: "on the left", "at the top of the image", "lower half" | every symmetry |
| "to the right of", "above the", "below a" | mirror images; a swap of the axes would need another grammar |
| "horizontal", "vertical", their adverbs | every symmetry |
| the kind of a box, "horizontal bounding box" | every symmetry: it says nothing of the scene |
"""

from __future__ import annotations

import re

from mmrs.instructions.symmetry import Symmetry

_DIRECTION = re.compile(
    r"\b((left|right|top|bottom|upper|lower)(most)?|above|below|north\w*|south\w*|east\w*|west\w*|horizontal\w*|"
    r"vertical\w*|(anti|counter)?-?clockwise)\b",
    re.IGNORECASE,
)
_PART = r"(?:sides?|parts?|half|halves|edges?|borders?|margins?|third|quarter|portions?|areas?|regions?|sections?)"
_IMAGE = r" of (?:the |this )?(?:image|picture|scene|photo|photograph)\b"
_PLACE = re.compile(
    r"\b(?P<kind>(?:horizontal|oriented|rotated) (?:bounding )?box(?:es)?)\b"
    r"|\b(?P<row>top|upper|bottom|lower)(?P<joint>[ -]?)(?P<column>left|right)\b"
    rf"|\b(?P<lead>(?:on|at|in|from) the (?:very |far )?)(?P<side>top|bottom|left|right)(?={_IMAGE}|[.,;:?!]|$)"
    r"|\b(?P<toward>(?:to|on|at) the )(?P<beside>left|right)(?= of )"
    rf"|\b(?P<half>top|upper|bottom|lower|left|right)(?P<hyphen>[ -])(?P<part>{_PART})\b"
    r"|\b(?P<relation>above|below)(?= (?:the|a|an|this) )"
    r"|\b(?P<axis>horizontal|vertical)(?P<adverb>ly)?\b",
    re.IGNORECASE,
)
_SIDES = {"left": (0, 1), "right": (2, 1), "top": (1, 0), "upper": (1, 0), "bottom": (1, 2), "lower": (1, 2)}
_NAMES = {(0, 1): "left", (2, 1): "right", (1, 0): "top", (1, 2): "bottom"}
_OPPOSITE = {"above": "below", "below": "above"}
_ACROSS = {"horizontal": "vertical", "vertical": "horizontal"}


def turn_directions(text: str, symmetry: Symmetry) -> str | None:
    """The text as it is true of the turned image; None where a word of direction cannot follow.

    Lower and upper case stay as they were.
    """
    parts, last = [], 0
    for match in _PLACE.finditer(text):
        before = text[last : match.start()]
        moved = _moved(match, symmetry)
        if moved is None or _DIRECTION.search(before):
            return None
        parts += [before, _in_the_case_of(match[0], moved)]
        last = match.end()
    rest = text[last:]
    return None if _DIRECTION.search(rest) else "".join([*parts, rest])


def _moved(match: re.Match[str], symmetry: Symmetry) -> str | None:
    """A phrase of `_PLACE` in lower case, moved."""
    found = {name: value.lower() for name, value in match.groupdict().items() if value is not None}
    if "kind" in found:
        return found["kind"]
    if "row" in found:
        row, column = _moved_corner(found["row"], found["column"], symmetry)
        return f"{row}{found['joint']}{column}"
    if "side" in found:
        return found["lead"] + _moved_side(found["side"], symmetry)
    if "beside" in found:
        return None if symmetry.swap else found["toward"] + _moved_side(found["beside"], symmetry)
    if "half" in found:
        return f"{_moved_side(found['half'], symmetry)}{found['hyphen']}{found['part']}"
    if "relation" in found:
        if symmetry.swap:
            return None
        return _OPPOSITE[found["relation"]] if symmetry.mirror_y else found["relation"]
    axis = _ACROSS[found["axis"]] if symmetry.swap else found["axis"]
    return axis + found.get("adverb", "")


def _moved_side(side: str, symmetry: Symmetry) -> str:
    """The name of the side that a side comes to lie at; one that stays keeps its own word."""
    place = symmetry.moved(*_SIDES[side], 2)
    return side if place == _SIDES[side] else _NAMES[place]


def _moved_corner(row: str, column: str, symmetry: Symmetry) -> tuple[str, str]:
    """Words for the corner that a corner comes to lie at, top and bottom or upper and lower as it was said."""
    x, y = symmetry.moved(_SIDES[column][0], _SIDES[row][1], 2)
    words = ("upper", "lower") if row in ("upper", "lower") else ("top", "bottom")
    return words[y // 2], ("left", "right")[x // 2]


def _in_the_case_of(old: str, new: str) -> str:
    if old.isupper():
        return new.upper()
    return new[0].upper() + new[1:] if old[0].isupper() else new
