"""The answer grammar of each task as a regular expression, for generation that cannot leave it.

What `mmrs.instructions.answers` writes matches, in any box dialect; free text (captions, questions) has no grammar.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from mmrs.instructions.answers import count_word
from mmrs.instructions.prompts import plural

_NUMBER = r"(?:0\.\d{2,3}|1\.00{1,2})"
_MANY = "|".join([*(count_word(count) for count in range(2, 11)), r"1[1-9]", r"[2-9]\d", r"[1-9]\d{2,3}"])


def answer_pattern(task: str, categories: Collection[str]) -> str | None:
    """Regular expression that whole answers of `task` match, or None where any text is an answer.

    Args:
        task: a task name of the records, such as "classification" or "detection-hbb".
        categories: class names as the texts have them.

    Raises:
        ValueError: a task of classes without any class.
    """
    if task == "visual-grounding":
        return rf"\[{_box(4)}\]"
    if task not in ("classification", "detection-hbb", "detection-obb"):
        return None
    if not categories:
        raise ValueError(f"the grammar of {task} needs at least one category")
    if task == "classification":
        return _any(categories)
    box = _box(8 if task == "detection-obb" else 4)
    boxes = rf"\[{box}(?:;{box})*\]"
    one, more = _any(categories), _any([plural(category) for category in categories])
    group = rf"<p>(?:one {one}|(?:{_MANY}) {more})</p>{boxes}"
    listed = rf"There (?:is|are) {group}(?:, {group})*(?: and {group})? in the image\."
    absent = rf"There are no {_any([*(plural(category) for category in categories), 'objects'])} in the image\."
    return rf"(?:{listed}|{absent})"


def _box(numbers: int) -> str:
    return rf"{_NUMBER}(?:,{_NUMBER}){{{numbers - 1}}}"


def _any(words: Collection[str]) -> str:
    return "(?:" + "|".join(re.escape(word) for word in sorted(set(words))) + ")"
