"""The answer grammar of each task as a regular expression, for generation that cannot leave it.

What `mmrs.instructions.answers` writes matches, with the boxes of one dialect; free text (captions, questions) has no
grammar.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping

from mmrs.instructions.answers import count_word
from mmrs.instructions.dialects import HORIZONTAL, ORIENTED, Dialect
from mmrs.instructions.prompts import plural

_MANY = "|".join([*(count_word(count) for count in range(2, 11)), r"1[1-9]", r"[2-9]\d", r"[1-9]\d{2,3}"])


def answer_pattern(task: str, categories: Collection[str], dialect: Dialect) -> str | None:
    """Regular expression that whole answers of `task` match, or None where any text is an answer.

    Args:
        task: a task name of the records, such as "classification" or "detection-hbb".
        categories: class names as the texts have them.
        dialect: how boxes are written.

    Raises:
        ValueError: a task of classes without any class.
    """
    return _PATTERNS[task](categories, dialect) if task in _PATTERNS else None


def _one_class(categories: Collection[str], dialect: Dialect) -> str:
    if not categories:
        raise ValueError("the grammar of class names needs at least one category")
    return _any(categories)


def _one_box(categories: Collection[str], dialect: Dialect) -> str:
    return rf"\[{dialect.pattern(HORIZONTAL)}\]"


def _horizontal_groups(categories: Collection[str], dialect: Dialect) -> str:
    return _groups(categories, dialect.pattern(HORIZONTAL))


def _oriented_groups(categories: Collection[str], dialect: Dialect) -> str:
    return _groups(categories, dialect.pattern(ORIENTED))


def _groups(categories: Collection[str], box: str) -> str:
    if not categories:
        raise ValueError("the grammar of detections needs at least one category")
    boxes = rf"\[{box}(?:;{box})*\]"
    one, more = _any(categories), _any([plural(category) for category in categories])
    group = rf"<p>(?:one {one}|(?:{_MANY}) {more})</p>{boxes}"
    listed = rf"There (?:is|are) {group}(?:, {group})*(?: and {group})?"
    absent = rf"There are no {_any([*(plural(category) for category in categories), 'objects'])}"
    return rf"(?:{listed}|{absent}) in the (?:image|region)\."


def _any(words: Collection[str]) -> str:
    return "(?:" + "|".join(re.escape(word) for word in sorted(set(words))) + ")"


_PATTERNS: Mapping[str, Callable[[Collection[str], Dialect], str]] = {
    "classification": _one_class,
    "detection-hbb": _horizontal_groups,
    "detection-obb": _oriented_groups,
    "visual-grounding": _one_box,
}
