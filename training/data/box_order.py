"""The order in which an answer names the boxes of one class: left to right, however the image is turned.

Boxes are a set, and a data set writes them in any order, so which one comes next cannot be seen in the image; a turn
shuffles them anew. Sorted by their numbers as written, the next box is the nearest to the right of the last one. It is
what Pix2seq (arXiv 2109.10852) compares orders for; there random ones are best, with a thousand times our images.
"""

from __future__ import annotations

import re

DETECTION_TASKS = frozenset({"detection-hbb", "detection-obb"})
_GROUP = re.compile(r"\[([^\[\]]*)\]")


def ordered_turns(task: str, turns: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """(role, text) pairs of one dialogue with the boxes of each group of its answers in order; other tasks as they
    are."""
    if task not in DETECTION_TASKS:
        return turns
    return [(role, text if role == "human" else left_to_right(text)) for role, text in turns]


def left_to_right(text: str) -> str:
    """The text with the boxes inside each pair of brackets sorted by their numbers, first numbers first. A group in
    which anything is no number stays as it is."""
    return _GROUP.sub(lambda match: f"[{_sorted(match[1])}]", text)


def _sorted(boxes: str) -> str:
    pieces = boxes.split(";")
    try:
        numbers = [tuple(float(number) for number in piece.split(",")) for piece in pieces]
    except ValueError:
        return boxes
    return ";".join(pieces[place] for place in sorted(range(len(pieces)), key=numbers.__getitem__))
