"""Words of answers made comparable."""

from __future__ import annotations

import re
import unicodedata

_QUOTES = {'"': '"', "'": "'", "\u201c": "\u201d", "\u2018": "\u2019", "`": "`"}

_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_WORDS = (
    {word: value for value, word in enumerate(_ONES)}
    | {word: 20 + 10 * place for place, word in enumerate(_TENS)}
    | {f"{tens} {_ONES[one]}": 20 + 10 * place + one for place, tens in enumerate(_TENS) for one in range(1, 10)}
    | {"a hundred": 100, "one hundred": 100, "hundred": 100, "no": 0, "none": 0}
)
# Digits, in groups of three or not, and never more than a count can have; the longest words first.
_NUMBER = re.compile(
    r"(?<![\w.])(?:(?P<digits>\d{1,3}(?:,\d{3})+|\d{1,12})(?![\w]|\.\d)|"
    rf"(?P<word>{'|'.join(sorted(_WORDS, key=len, reverse=True))})(?!\w))"
)


def first_number(text: str) -> int | None:
    """The first whole number of a text, in digits or in English words from zero (no, none) to one hundred."""
    match = _NUMBER.search(text.lower().replace("-", " "))
    if match is None:
        return None
    return int(match["digits"].replace(",", "")) if match["digits"] else _WORDS[match["word"]]


def whole_number(text: str) -> int | None:
    """The text as one whole number, ``about`` before it apart; None where it says anything else."""
    words = text.strip().lower().replace("-", " ").removeprefix("about ").rstrip(".")
    match = _NUMBER.fullmatch(words)
    return first_number(words) if match else None


def normalise_answer(text: str) -> str:
    """Letters and digits of the first line, lower case, compatibility forms (NFKC) made plain.

    One pair of quotes, blanks, hyphens and stops make no difference: ``"Baseball-field."`` is ``baseballfield``. Empty
    where the line has neither letters nor digits.
    """
    lines = unicodedata.normalize("NFKC", text).strip().splitlines()
    line = lines[0].strip() if lines else ""
    if len(line) > 1 and _QUOTES.get(line[0]) == line[-1]:
        line = line[1:-1]
    return "".join(character for character in line.lower() if character.isalnum())
