"""How an answer to a question about an image is read: one rule for each kind of answer, never by substrings.

A rule that asks whether the truth occurs in the answer finds "no" in "another" and "1" in "10", and an answer of all
classes right. Here the answer is read without the truth in sight, and is then equal to the truth or not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from mmrs.instructions.class_names import class_spellings
from training.evaluation.metrics.words import first_number, normalise_answer, whole_number

_FIRST_WORD = re.compile(r"[^\W_]+")
_RANGE = re.compile(r"between (\d+) ?(?:m2)? and (\d+) ?(?:m2)?(?!\w)")
_MORE = re.compile(r"more than 1000 ?(?:m2)?(?!\w)")
_AREA = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?) ?m2(?!\w)")
_SQUARE_METRES = re.compile(r"m²|m\^2|sq(?:uare)?\.? ?m(?:et(?:er|re)s?)?(?!\w)")
_GROUPED = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
# RSVQA's bins: a number n belongs to the first whose end it does not pass.
_BIN_ENDS = (0, 10, 100, 1000)


@dataclass(frozen=True, slots=True)
class AnswerKind:
    """One kind of answer.

    Args:
        name: for a person.
        read: what an answer says, comparable by equality; None where it says nothing of this kind.
        unread: the reason that is counted for an answer that `read` makes nothing of.
        others: further texts that mean what a true answer means.
    """

    name: str
    read: Callable[[str], Hashable | None]
    unread: str
    others: Callable[[str], Sequence[str]] = lambda truth: ()


def read_yes_no(text: str) -> str | None:
    """``yes`` or ``no`` where it is the first word, else None."""
    found = _FIRST_WORD.search(text.lower())
    return found[0] if found and found[0] in ("yes", "no") else None


def read_area(text: str) -> float | None:
    """The first number that square metres follow: ``123m2``, ``123 m²``, ``1,230 square meters``."""
    found = _AREA.search(_plain_area(text))
    return float(found[1]) if found else None


def bin_of(number: float) -> int:
    """RSVQA's bin: 0 for none, 1 for up to 10, 2 for up to 100, 3 for up to 1000, 4 for more."""
    return next((place for place, end in enumerate(_BIN_ENDS) if number <= end), len(_BIN_ENDS))


def read_count_bin(text: str) -> int | None:
    """The bin that the answer names, or that of its first number."""
    number = first_number(text)
    return _named_bin(text) or (None if number is None else bin_of(number))


def read_area_bin(text: str) -> int | None:
    """The bin that the answer names, or that of its area."""
    area = read_area(text)
    return _named_bin(_plain_area(text)) or (None if area is None else bin_of(area))


def read_rural_urban(text: str) -> str | None:
    """``rural`` or ``urban`` where the answer is that word, else None."""
    word = normalise_answer(text)
    return word if word in ("rural", "urban") else None


def read_text(text: str) -> str | None:
    """The first line without case, blanks, quotes and stops; None where nothing is left."""
    return normalise_answer(text) or None


YES_NO = AnswerKind("yes or no", read_yes_no, "no_yes_or_no")
_NUMBER = AnswerKind("number", first_number, "no_number")
COUNT_BIN = AnswerKind("binned count", read_count_bin, "no_number")
AREA_BIN = AnswerKind("binned area", read_area_bin, "no_area")
RURAL_URBAN = AnswerKind("rural or urban", read_rural_urban, "outside_label_set")
TEXT = AnswerKind("text", read_text, "no_words", class_spellings)

# RSVQA's types of question, as its authors score them: counts in bins for low resolution, as they are for high.
RSVQA_LR: Mapping[str, AnswerKind] = {
    "presence": YES_NO, "comp": YES_NO, "count": COUNT_BIN, "rural_urban": RURAL_URBAN, "area": AREA_BIN,
}  # fmt: skip
RSVQA_HR: Mapping[str, AnswerKind] = {**RSVQA_LR, "count": _NUMBER}


@lru_cache(maxsize=1 << 16)
def kind_of_truth(truth: str) -> AnswerKind:
    """The kind of answer that a question has whose right answer is `truth`."""
    plain = normalise_answer(truth)
    if plain in ("yes", "no"):
        return YES_NO
    if whole_number(truth) is not None:
        return _NUMBER
    return RURAL_URBAN if plain in ("rural", "urban") else TEXT


@lru_cache(maxsize=1 << 16)
def read_answer(kind: AnswerKind, text: str) -> Hashable | None:
    """`AnswerKind.read`, remembering: a million answers have few different texts."""
    return kind.read(text)


@lru_cache(maxsize=1 << 16)
def right_readings(kind: AnswerKind, truth: str) -> frozenset[Hashable]:
    """What a right answer reads as."""
    return frozenset(map(kind.read, (truth, *kind.others(truth)))) - {None}


def _named_bin(text: str) -> int | None:
    """A bin by its own name, ``between 0 and 10`` or ``more than 1000``."""
    words = text.lower()
    if _MORE.search(words):
        return len(_BIN_ENDS)
    found = _RANGE.search(words)
    ends = (int(found[1]), int(found[2])) if found else None
    return next((place for place in range(1, len(_BIN_ENDS)) if ends == _BIN_ENDS[place - 1 : place + 1]), None)


def _plain_area(text: str) -> str:
    return _SQUARE_METRES.sub("m2", _GROUPED.sub("", text.lower()))
