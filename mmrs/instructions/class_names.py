"""Class names in answers: the spellings that mean a class, and those at the end of a phrase.

``two LSD 41 LLs`` names the class ``LSD 41 LL``, twice: names are matched before counts, since a name may hold a number
or a number word.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from types import MappingProxyType

from mmrs.instructions.prompts import plural

# Two spellings of one word, British and American ones or a compound's, in either direction.
_SAME_WORDS = (
    ("harbor", "harbour"),
    ("airplane", "aeroplane"),
    ("center", "centre"),
    ("theater", "theatre"),
    ("storage tank", "storagetank"),
    ("golf course", "golfcourse"),
    ("swimming pool", "swimmingpool"),
)
_IRREGULAR = {"person": "people", "man": "men", "aircraft": "aircraft", "other aircraft": "other aircraft"}
_SIBILANTS = ("s", "x", "z", "ch", "sh")


def class_spellings(category: str) -> list[str]:
    """Lower-case spellings of a class, its own first: the release's plural (one ``s``), the English one, two words as
    one, British as American. Blanks, ``_`` and ``-`` are the same."""
    own = _plain(category)
    names = [own]
    for pair in _SAME_WORDS:
        for known, other in (pair, pair[::-1]):
            if own == known or own.endswith(" " + known):
                names.append(own.removesuffix(known) + other)
    return list(dict.fromkeys([*names, *(form for name in names for form in (_plain(plural(name)), _english(name)))]))


def classes_of_phrase(phrase: str, categories: Collection[str]) -> list[tuple[str, str]]:
    """The classes that a phrase ends with, the longest name first, each with the word before it.

    ``and 2 small ships`` of the classes ``ship``, ``small ship`` -> (``small ship``, ``2``), (``ship``, ``small``).
    """
    names = _names(tuple(categories))
    words = _plain(phrase).rstrip(".,:;").split()
    first = max(0, len(words) - _longest(tuple(categories)))
    found = (
        (names.get(" ".join(words[start:])), words[start - 1] if start else "") for start in range(first, len(words))
    )
    return [(category, before) for category, before in found if category is not None]


@lru_cache(maxsize=256)
def _names(categories: tuple[str, ...]) -> Mapping[str, str]:
    """Class by spelling. A spelling that two classes share means the one whose own name it is, else neither."""
    owners: dict[str, list[str]] = {}
    for category in categories:
        for name in class_spellings(category):
            owners.setdefault(name, []).append(category)
    own = {_plain(category): category for category in categories}
    return MappingProxyType(own | {name: found[0] for name, found in owners.items() if len(found) == 1})


@lru_cache(maxsize=256)
def _longest(categories: tuple[str, ...]) -> int:
    """Words of the longest spelling of any class."""
    return max((name.count(" ") + 1 for name in _names(categories)), default=0)


def _english(name: str) -> str:
    head, _, last = name.rpartition(" ")
    if last in _IRREGULAR:
        ending = _IRREGULAR[last]
    elif last.endswith(_SIBILANTS):
        ending = last + "es"
    elif last.endswith("y") and last[-2:-1] not in ("a", "e", "i", "o", "u", ""):
        ending = last[:-1] + "ies"
    else:
        ending = last + "s"
    return f"{head} {ending}" if head else ending


def _plain(text: str) -> str:
    return " ".join(text.lower().replace("_", " ").replace("-", " ").split())
