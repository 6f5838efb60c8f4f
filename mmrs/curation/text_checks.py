"""Checks of a record's text and boxes against each other: rows that a person can act on.

An ``error`` says that something false would be taught; a ``warning`` that a person should look.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from mmrs.geometry import SquareFrame, signed_area
from mmrs.instructions.answers import parse_detections
from mmrs.instructions.dialects import Dialect, ParsedBoxes
from mmrs.instructions.prompts import plural
from mmrs.instructions.regions import object_centres, region_members
from mmrs.record import Dialogue, Record

_BRACKETS = re.compile(r"\[([^\[\]]*)\]")
_WORD = re.compile(r"\w")
_SHOWN_CHARACTERS = 80
# What readers and the build flag: the check, and words for it.
_FLAGS = {
    "zero_area": ("object without area", "has no area and is in no text"),
    "duplicate": ("duplicate object", "repeats an earlier object and is in no text"),
    "crossing": ("crossing edges", "has edges that cross"),
    "inside": ("object over the edge", "lies over the edge, {} of it in the image"),
}


@dataclass(frozen=True, slots=True)
class TextFault:
    """One thing to look at. `place` is a path into the record (``dialogues[2]``), `what` says what is wrong there."""

    id: str
    level: Literal["error", "warning"]
    check: str
    place: str
    what: str


def check_record(record: Record, categories: Collection[str], dialect: Dialect) -> list[TextFault]:
    """All findings of one record.

    Args:
        categories: the unified names that its source can use (empty: not checked).
        dialect: how the data set's text writes boxes.
    """
    findings = [
        *_empty_texts(record),
        *_flagged_objects(record),
        *_unknown_names(record, frozenset(categories)),
        *_repeats(record),
        *_contradictions(record, frozenset(categories)),
    ]
    for number, dialogue in enumerate(record.dialogues):
        findings += _box_texts(record, number, dialogue, frozenset(categories), dialect)
    return findings


def contradiction(label: str, captions: Iterable[str], labels: Collection[str]) -> str | None:
    """Why captions seem to be about another scene than `label`, or None.

    They are when none has any word of the label and more than half have all words of one other label. Endings of
    plurals do not count.
    """
    own = _stems(label)
    texts = [_stems(caption) for caption in captions]
    if not texts or not own or any(own & words for words in texts):
        return None
    votes = Counter(other for other in sorted(labels) for words in texts if other != label and _stems(other) <= words)
    for other, count in votes.most_common(1):
        if 2 * count > len(texts):
            return f"label is {label!r}, no caption says so, {count} of {len(texts)} speak of {other!r}"
    return None


def _finding(record: Record, level: Literal["error", "warning"], check: str, place: str, what: str) -> TextFault:
    return TextFault(record.id, level, check, place, what)


def _texts(record: Record) -> Iterator[tuple[str, str]]:
    if record.label is not None:
        yield "label", record.label
    for number, caption in enumerate(record.captions):
        yield f"captions[{number}]", caption
    for number, item in enumerate(record.questions):
        yield f"questions[{number}].question", item.question
        yield f"questions[{number}].answer", item.answer
    for number, expression in enumerate(record.expressions):
        yield f"expressions[{number}].text", expression.text
    for number, dialogue in enumerate(record.dialogues):
        for turn, part in enumerate(dialogue.turns):
            yield f"dialogues[{number}].turns[{turn}]", part.value


def _empty_texts(record: Record) -> Iterator[TextFault]:
    for place, text in _texts(record):
        if not _WORD.search(text):
            yield _finding(record, "error", "empty text", place, f"{text!r} has no word")


def _flagged_objects(record: Record) -> Iterator[TextFault]:
    for number, item in enumerate(record.objects):
        for flag, (check, what) in _FLAGS.items():
            if flag in item.flags:
                said = f"{item.label!r} {what.format(item.flags[flag])}: {[round(value, 2) for value in item.extent()]}"
                yield _finding(record, "warning", check, f"objects[{number}]", said)


def _unknown_names(record: Record, categories: frozenset[str]) -> Iterator[TextFault]:
    if not categories:
        return
    # What is ignored is in no text, and sources name it outside their classes.
    names = Counter(item.category for item in record.objects if not item.ignore)
    for name in sorted(names.keys() - categories):
        what = f"category {name!r} of {names[name]} objects is none of the source's {len(categories)} classes"
        yield _finding(record, "error", "unknown class", "objects", what)
    if record.label is not None and record.label not in categories:
        what = f"{record.label!r} is none of the source's {len(categories)} classes"
        yield _finding(record, "error", "unknown class", "label", what)


def _repeats(record: Record) -> Iterator[TextFault]:
    captions = [_plain(caption) for caption in record.captions]
    questions = [(_plain(item.question), _plain(item.answer)) for item in record.questions]
    # The dialogues of repeated captions and questions would only say the same again.
    dialogues = [
        number if dialogue.task in ("captioning", "vqa") else (dialogue.task, *(turn.value for turn in dialogue.turns))
        for number, dialogue in enumerate(record.dialogues)
    ]
    for name, keys in (("captions", captions), ("questions", questions), ("dialogues", dialogues)):
        first: dict[object, int] = {}
        for number, key in enumerate(keys):
            if (earlier := first.setdefault(key, number)) != number:
                check = f"duplicate {name.removesuffix('s')}"
                yield _finding(record, "warning", check, f"{name}[{number}]", f"repeats {name}[{earlier}]")


def _contradictions(record: Record, categories: frozenset[str]) -> Iterator[TextFault]:
    answers: dict[str, tuple[int, str]] = {}
    for number, item in enumerate(record.questions):
        earlier, answer = answers.setdefault(_plain(item.question), (number, item.answer))
        if _plain(answer) != _plain(item.answer):
            what = f"answers {item.answer!r}, questions[{earlier}] answers {answer!r} to the same question"
            yield _finding(record, "warning", "two answers", f"questions[{number}]", what)
    if record.label is not None and (why := contradiction(record.label, record.captions, categories)):
        yield _finding(record, "warning", "label against captions", "captions", why)


def _box_texts(
    record: Record, number: int, dialogue: Dialogue, categories: frozenset[str], dialect: Dialect
) -> Iterator[TextFault]:
    place = f"dialogues[{number}]"
    if dialogue.task in ("detection-hbb", "detection-obb"):
        yield from _detections(record, place, dialogue, categories, dialect)
    elif dialogue.task in ("visual-grounding", "region-captioning"):
        frame = SquareFrame(record.image.width, record.image.height)
        text = dialogue.turns[1 if dialogue.task == "visual-grounding" else 0].value
        boxes = [dialect.parse(match[1], frame) for match in _BRACKETS.finditer(text)]
        if sum(len(found.hbb) + found.malformed for found in boxes) != 1:
            yield _finding(record, "error", "box count", place, f"must name one box: {_shown(text)}")
        if any(_without_area(found) for found in boxes):
            yield _finding(record, "error", "degenerate box", place, f"box without area as written: {_shown(text)}")


def _detections(
    record: Record, place: str, dialogue: Dialogue, categories: frozenset[str], dialect: Dialect
) -> Iterator[TextFault]:
    frame = SquareFrame(record.image.width, record.image.height)
    shown = _asked_for(record, dialogue.turns[0].value, frame, dialect)
    answer = dialogue.turns[1].value
    for group in parse_detections(answer, frame, categories or shown.keys(), dialect):
        written = len(group.boxes.hbb) + group.boxes.malformed
        if flat := _without_area(group.boxes):
            what = f"{flat} of {written} boxes of {group.name!r} have no area as written"
            yield _finding(record, "error", "degenerate box", place, what)
        if group.count is None:
            yield _finding(record, "error", "count word", place, f"no count in {_shown(group.name)!r}")
            continue
        if group.count != written:
            what = f"says {group.count} {group.name!r} and lists {written} boxes"
            yield _finding(record, "error", "count word", place, what)
        if group.category is None:
            what = f"{group.name!r} is no class of the source, in singular or plural"
            yield _finding(record, "error", "unknown class", place, what)
        elif shown[group.category] != written:
            what = f"lists {written} {group.name!r}, there are {shown[group.category]}"
            yield _finding(record, "error", "box count", place, what)
    missing = _denied(answer, shown)
    if missing:
        yield _finding(record, "error", "box count", place, f"denies {missing!r}, there are {shown[missing]}")


def _asked_for(record: Record, prompt: str, frame: SquareFrame, dialect: Dialect) -> Counter[str]:
    """How many objects of each class are in the image, or in the region that the prompt names."""
    objects = [item for item in record.objects if not item.ignore]
    region = _BRACKETS.search(prompt)
    if region is not None:
        centres = object_centres([item.extent() for item in objects], frame)
        objects = [objects[position] for position in region_members(region[1], centres, frame, dialect)]
    return Counter(item.category for item in objects)


def _without_area(boxes: ParsedBoxes) -> int:
    # A thin oriented box can collapse to a slanted line, whose horizontal extent still has an area.
    lines = 0 if boxes.quads is None else int((signed_area(boxes.quads) == 0).sum())
    return boxes.malformed + lines


def _denied(answer: str, shown: Counter[str]) -> str | None:
    if "[" in answer:
        return None
    return next((name for name in shown if f" no {plural(name)} " in answer), None)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(" .?")


def _stems(text: str) -> set[str]:
    words = re.findall(r"[a-z]+", text.casefold())
    return {re.sub(r"(ies|y|s)$", "", word) for word in words}


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."
