"""Where the boxes of a text are, in the forms that other models and benchmarks write: label, numbers, place in it.

    json      [{"bbox_2d": [12, 30, 45, 60], "label": "ship"}]                   Qwen2.5-VL, Qwen3-VL
    brackets  <ref>ship</ref><box>[[12, 30, 45, 60]]</box>; ship: [0.12, ...]    InternVL, LLaVA, EarthDial
    braces    <p>ship</p>{<12><30><45><60>|<90>}                                 GeoChat, VRSBench

A piece that was meant as a box and holds no numbers of one stays in the list without them: it is counted, not dropped.
Regular expressions and not `json`: a generation can end anywhere, and what stands before the end is an answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?")
_INNERMOST = re.compile(r"\[([^\[\]]*)(?:\]|$)")
_JSON_BOX = re.compile(r'"(?:bbox_2d|bbox|box_2d)"\s*:\s*\[([^\[\]{}]*)(?:\]|$)')
_JSON_LABEL = re.compile(r'"(?:label|class|category|name)"\s*:\s*"((?:[^"\\\n]|\\.)*)"')
_BRACES = re.compile(r"\{([^{}]*)(?:\}|$)")
_ANGLE_NUMBER = re.compile(r"<\s*([+-]?\d+(?:\.\d+)?)\s*>")
_REFERENCE = re.compile(r"(?:<ref>|<p>|<\|object_ref_start\|>)(.*?)(?:</ref>|</p>|<\|object_ref_end\|>)", re.DOTALL)
_REFERENCE_ENDS = ("</ref>", "</p>", "<|object_ref_end|>")
_MARKUP = re.compile(r"<[^<>]*>|[\[\](){}]")
_LONGEST_LABEL = 80


@dataclass(frozen=True, slots=True)
class BoxText:
    """A piece of a text that is meant as a box: from `start` to `end`, with the label that stands with it ("": none).

    `numbers` is empty where the piece is no list of numbers.
    """

    label: str
    numbers: tuple[float, ...]
    start: int
    end: int


Reader = Callable[[str], list[BoxText]]


def read_json(text: str) -> list[BoxText]:
    """Boxes of a JSON list of objects; of a text without one, those in brackets."""
    found = []
    for match in _JSON_BOX.finditer(text):
        opened = text.rfind("{", 0, match.start())
        closed = text.find("}", match.end())
        label = _JSON_LABEL.search(text, max(opened, 0), closed if closed >= 0 else len(text))
        found.append(BoxText(label[1].strip() if label else "", _plain_numbers(match[1]), match.start(), match.end()))
    return found or read_brackets(text)


def read_brackets(text: str) -> list[BoxText]:
    """Boxes in innermost brackets. Their label is the reference before them, or the words since the last
    one. Empty brackets are a list of none."""
    filled = (match for match in _INNERMOST.finditer(text) if match[1].strip())
    return list(_labelled(text, ((match, _plain_numbers(match[1])) for match in filled)))


def read_braces(text: str) -> list[BoxText]:
    """Boxes in braces, each number between ``<`` and ``>``; brackets where there are none."""
    matches = ((match, tuple(map(float, _ANGLE_NUMBER.findall(match[1])))) for match in _BRACES.finditer(text))
    return list(_labelled(text, matches)) or read_brackets(text)


def _labelled(text: str, matches: Iterator[tuple[re.Match[str], tuple[float, ...]]]) -> Iterator[BoxText]:
    label, last = "", 0
    for match, numbers in matches:
        # Boxes that follow each other share the label of the first.
        label = _label(text[last : match.start()]) or label
        last = match.end()
        yield BoxText(label, numbers, match.start(), match.end())


def _label(words: str) -> str:
    # Behind the last end of a reference there is none, and looking for one from each start would take its time.
    ends = [words.rfind(end) + len(end) for end in _REFERENCE_ENDS if end in words]
    references = _REFERENCE.findall(words, 0, max(ends, default=0))
    if references:
        return str(references[-1]).strip()
    plain = " ".join(_MARKUP.sub(" ", words).split()).strip(" ,;:.-*\"'`")
    # A sentence is no label, but its end may be one: the classes of a phrase are looked for from its end.
    return plain[-_LONGEST_LABEL:]


def _plain_numbers(text: str) -> tuple[float, ...]:
    parts = text.split(",")
    return tuple(map(float, parts)) if all(_NUMBER.fullmatch(part.strip()) for part in parts) else ()
