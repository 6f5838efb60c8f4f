"""LLaVA JSON: one list of samples, each with an image, or a list of them, and the turns of one conversation.

``[{"id": ..., "image": "folder/a.jpg", "conversations": [{"from": "human"|"gpt", "value": ...}, ...]}, ...]``. Marks
``<image>`` are taken off (`mmrs.instructions.image_mark`); the text is otherwise kept as written. Of several images
(``"image": ["before.png", "after.png"]``) there are as many marks or none: all are seen before the first text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.formats.text import parse_json, read_bytes, shown
from mmrs.errors import BadItem
from mmrs.instructions.image_mark import IMAGE_MARK, without_image_marks
from mmrs.record import MOST_SAMPLE_IMAGES

# Old exports of the same form use these words for the two speakers.
SPEAKERS = {"human": "human", "user": "human", "gpt": "gpt", "assistant": "gpt"}

Exchange = tuple[str, str]


@dataclass(frozen=True, slots=True)
class LlavaImage:
    """All conversations about one image, or about the same ones together, in file order: `names` as written, `ids` of
    the samples, turns in pairs."""

    names: tuple[str, ...]
    ids: tuple[str, ...]
    conversations: tuple[tuple[Exchange, ...], ...]

    @property
    def name(self) -> str:
        """Of the first image."""
        return self.names[0]


@dataclass(frozen=True, slots=True)
class LlavaFile:
    """One LLaVA file: images in first-seen order, and `problems` (path, reason) of samples left out.

    `details` are samples left out of an image that has others, so that no image is lost with them. `repeats` counts the
    samples that only say again, word for word, what stood there before of the same image.
    """

    images: tuple[LlavaImage, ...]
    problems: tuple[tuple[str, str], ...]
    repeats: int = 0
    details: tuple[tuple[str, str], ...] = ()


def read_llava(path: Path) -> LlavaFile:
    """Read one LLaVA file. Raises `BadItem` when the file as a whole cannot be used."""
    return parse_llava(read_bytes(path), str(path))


def parse_llava(data: bytes, path: str) -> LlavaFile:
    """Parse the bytes of one LLaVA file; `path` names it in errors.

    A sample without an image, or with more than `MOST_SAMPLE_IMAGES`, with another number of marks than of its several
    images, or with turns that do not alternate is left out and listed in `problems`, or in `details`.
    Ids are no keys: published files give one id to several conversations about one image, which are all kept.

    Raises:
        BadItem: not JSON, or no list at the top.
    """
    rows = parse_json(data, path)
    if not isinstance(rows, list):
        raise BadItem(f"top level is a {type(rows).__name__}, a list of samples expected", path)
    images: dict[tuple[str, ...], list[tuple[str, tuple[Exchange, ...]]]] = {}
    bad: list[tuple[tuple[str, ...], str]] = []
    seen: set[tuple[tuple[str, ...], tuple[Exchange, ...]]] = set()
    repeats = 0
    for number, row in enumerate(rows):
        names: tuple[str, ...] = ()
        try:
            names, own = _named(row, number)
            what = f"[{number}] (id {shown(own)})"
            exchanges = conversation_exchanges(row.get("conversations"), what)
            _check_marks(row["conversations"], len(names), what)
        except BadItem as error:
            bad.append((names, error.reason))
            continue
        if (names, exchanges) in seen:
            repeats += 1
            continue
        seen.add((names, exchanges))
        images.setdefault(names, []).append((own, exchanges))
    found = tuple(
        LlavaImage(names, tuple(dict.fromkeys(own for own, _ in samples)), tuple(turns for _, turns in samples))
        for names, samples in images.items()
    )
    problems = tuple((path, reason) for names, reason in bad if names not in images)
    details = tuple((path, reason) for names, reason in bad if names in images)
    return LlavaFile(found, problems, repeats, details)


def _named(row: Any, number: int) -> tuple[tuple[str, ...], str]:
    """The images and the id of a sample."""
    if not isinstance(row, dict):
        raise BadItem(f"[{number}] is a {type(row).__name__}, an object expected")
    own = str(row.get("id", f"#{number}"))
    named = row.get("image", row.get("images"))
    names = tuple(named) if isinstance(named, list) else (named,)
    if not names or not all(isinstance(name, str) and name for name in names):
        what = f"[{number}] (id {shown(own)}) has the image {shown(named)}"
        raise BadItem(f"{what}; one file name is expected, or a list of them")
    if len(names) > MOST_SAMPLE_IMAGES:
        raise BadItem(
            f"[{number}] (id {shown(own)}) has {len(names)} images; a sample has at most {MOST_SAMPLE_IMAGES}"
        )
    return names, own


def _check_marks(turns: list[Any], images: int, what: str) -> None:
    """Marks of several images: which one each is would not be known where their number is another."""
    if images == 1:
        return
    marks = sum((_said(turn) or "").count(IMAGE_MARK) for turn in turns if isinstance(turn, dict))
    if marks not in (0, images):
        raise BadItem(f"{what} has {images} images and {marks} marks {IMAGE_MARK}; as many are expected, or none")


def conversation_exchanges(turns: Any, what: str) -> tuple[Exchange, ...]:
    """The questions and answers of a list of turns (``from`` and ``value``, or ``role`` and ``content``).

    Raises:
        BadItem: no list, turns that do not alternate, or one without text; `what` names the conversation.
    """
    if not isinstance(turns, list) or not turns:
        raise BadItem(f"{what} has no list `conversations`")
    # A system turn at the head is an instruction to the model, no statement about the image.
    if isinstance(turns[0], dict) and _speaker(turns[0]) == "system":
        turns = turns[1:]
    texts = [_text(turn, ("human", "gpt")[number % 2], f"{what} turn {number}") for number, turn in enumerate(turns)]
    if len(texts) % 2 or not texts:
        raise BadItem(f"{what} has {len(texts)} turns; each question needs an answer")
    return _pairs(texts, what)


def _text(turn: Any, speaker: str, what: str) -> str:
    text = _said(turn) if isinstance(turn, dict) and SPEAKERS.get(_speaker(turn)) == speaker else None
    if text is None:
        raise BadItem(f"{what} is {shown(turn)}; a text from {speaker} is expected")
    return without_image_marks(text)


def _speaker(turn: dict[str, Any]) -> str:
    return str(turn.get("from") or turn.get("role"))


def _said(turn: dict[str, Any]) -> str | None:
    """The text of a turn; of a list of parts, as messages have them, that of its text parts."""
    said = turn.get("value") if turn.get("value") is not None else turn.get("content")
    if isinstance(said, list):
        texts = [part.get("text") for part in said if isinstance(part, dict) and part.get("type") == "text"]
        written = [text for text in texts if isinstance(text, str)]
        said = "\n".join(written) if written and len(written) == len(texts) else None
    return said if isinstance(said, str) else None


def _pairs(texts: Sequence[str], what: str) -> tuple[Exchange, ...]:
    if not all(text.strip() for text in texts):
        raise BadItem(f"{what} has a turn without text")
    return tuple(zip(texts[::2], texts[1::2], strict=True))
