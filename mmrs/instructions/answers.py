"""The detection answer: format and parse.

Grammar (MMRS-1M; joining words and singular form are our choice where the release is unknown)::

    answer = "There is|are " group {", " group} [" and " group] place
           | "There are no " plural place
    place  = " in the image." | " in the region."
    group  = "<p>" count " " name "</p>" "[" boxes "]"
    count  = "one" .. "ten" | digits (from 11 on);  name = category when count is one, else its plural

The parser also reads groups without the ``<p>`` tags, as the paper's demonstrations show them, and never raises.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from mmrs.geometry import SquareFrame
from mmrs.instructions.class_names import classes_of_phrase
from mmrs.instructions.dialects import Dialect, ParsedBoxes
from mmrs.instructions.prompts import plural

AskedPlace = Literal["image", "region"]

_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_COUNTS = {word: number for number, word in enumerate(_WORDS)} | {"no": 0, "a": 1, "an": 1}
_JOINING = ("", "and", "the", ",", ";", ":")
# The closing bracket may be missing: a generation can end at its token limit.
_BOXES = re.compile(r"\[(?P<boxes>[^\[\]]*)(?:\]|$)")
_ABSENCE = re.compile(r"\bthere are no \w", re.IGNORECASE)
_COUNTED = re.compile(r"(?:.*[^\w])?(?P<count>\d{1,6}|" + "|".join(_COUNTS) + r")\s+(?P<name>\S.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ParsedGroup:
    """One group of an answer. `category` is None when the name is no known category; `count` None when absent."""

    name: str
    category: str | None
    count: int | None
    boxes: ParsedBoxes


def count_word(count: int) -> str:
    """``1`` -> ``one`` ... ``10`` -> ``ten``, digits above."""
    return _WORDS[count] if count < len(_WORDS) else str(count)


def format_detections(groups: Sequence[tuple[str, int, str]], place: AskedPlace = "image") -> str:
    """The answer for (category, count, box text) groups, in the order given. Counts are at least 1.

    `place` is what was asked about: the whole image, or the region that the prompt names.
    """
    if not groups:
        return format_absence("object", place)
    parts = [
        f"<p>{count_word(count)} {category if count == 1 else plural(category)}</p>{boxes}"
        for category, count, boxes in groups
    ]
    listed = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
    return f"There {'is' if groups[0][1] == 1 else 'are'} {listed} in the {place}."


def format_absence(category: str, place: AskedPlace = "image") -> str:
    """The answer when `place` has no object of the category (``object``: none at all)."""
    return f"There are no {plural(category)} in the {place}."


def is_absence(text: str) -> bool:
    """Whether an answer says of some class, or of all objects, that there are none."""
    return _ABSENCE.search(text) is not None


def parse_detections(text: str, frame: SquareFrame, categories: Collection[str], dialect: Dialect) -> list[ParsedGroup]:
    """Every bracket group of an answer, boxes in pixels of the unpadded image. An absence gives an empty list."""
    groups = []
    for match in _BOXES.finditer(text):
        phrase = _phrase_before(text, match.start()).replace("<p>", " ").replace("</p>", " ").strip()
        name, category, count = _named(phrase, categories)
        groups.append(ParsedGroup(name, category, count, dialect.parse(match["boxes"], frame)))
    return groups


def _phrase_before(text: str, bracket: int) -> str:
    """The text between the bracket at this place and the one before it, of either kind."""
    return text[max(text.rfind("[", 0, bracket), text.rfind("]", 0, bracket)) + 1 : bracket]


def box_spans(text: str) -> list[tuple[int, int]]:
    """Start and end of each piece of an answer that is meant as a box, in the order of `parse_detections`."""
    spans = []
    for match in _BOXES.finditer(text):
        start = match.start("boxes")
        for piece in match["boxes"].split(";"):
            if piece.strip():
                spans.append((start, start + len(piece)))
            start += len(piece) + 1
    return spans


def _named(phrase: str, categories: Collection[str]) -> tuple[str, str | None, int | None]:
    """Name, class and count of a phrase such as ``and two large vehicles``."""
    # "two tennis courts" are no courts: nothing but a count or a joining word stands before a name.
    known = [(name, _count(word)) for name, word in classes_of_phrase(phrase, categories) if _may_precede(word)]
    if known:
        name, count = next((each for each in known if each[1] is not None), known[0])
        return name, name, count
    counted = _COUNTED.fullmatch(phrase)
    return (counted["name"].strip(), None, _count(counted["count"])) if counted else (phrase, None, None)


def _may_precede(word: str) -> bool:
    return word in _JOINING or _count(word) is not None


def _count(word: str) -> int | None:
    if word in _COUNTS:
        return _COUNTS[word]
    return int(word) if word.isascii() and word.isdecimal() and len(word) <= 6 else None
