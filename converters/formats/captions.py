"""The caption JSON that UCM-Captions, Sydney-Captions, RSICD and RSITMD share.

``{"dataset": ..., "images": [{"filename", "imgid", "split", "sentences": [{"raw", ...}]}]}``. Text is taken from
``raw``: token lists disagree with it in some copies, and ``sentids`` with the sentences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from converters.formats.text import parse_json, read_bytes
from mmrs.errors import BadItem


@dataclass(frozen=True, slots=True)
class CaptionedImage:
    """One image row: `raw` has every sentence as written, empty and repeated ones too."""

    file_name: str
    image_id: str
    split: str
    raw: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CaptionFile:
    """One caption file: images in file order and `problems` (path, reason) of rows left out."""

    dataset: str
    images: tuple[CaptionedImage, ...]
    problems: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Captions:
    """Distinct captions in first-seen order, how often each occurs, and the positions (from 0) of wordless ones."""

    texts: tuple[str, ...]
    counts: tuple[int, ...]
    empty: tuple[int, ...]


def read_captions(path: Path) -> CaptionFile:
    """Read one caption file. Raises `BadItem` when the file as a whole cannot be used."""
    return parse_captions(read_bytes(path), str(path))


def parse_captions(data: bytes, path: str) -> CaptionFile:
    """Parse the bytes of one caption file; `path` names it in errors.

    A row without file name, split or sentences, or with a file name used before, is left out and listed in `problems`.

    Raises:
        BadItem: not JSON, or no list ``images``.
    """
    tables = parse_json(data, path)
    rows = tables.get("images") if isinstance(tables, dict) else None
    if not isinstance(rows, list):
        raise BadItem("no list `images` at the top level", path)
    images: dict[str, CaptionedImage] = {}
    problems = []
    for number, row in enumerate(rows):
        try:
            image = _image(row, number, path)
            if image.file_name in images:
                raise BadItem(f"images[{number}] repeats file name {image.file_name}", path)
            images[image.file_name] = image
        except BadItem as error:
            problems.append((path, error.reason))
    return CaptionFile(str(tables.get("dataset", "")), tuple(images.values()), tuple(problems))


def distinct_captions(raw: Sequence[str]) -> Captions:
    """Strip captions, set those without a letter aside (`` .``, ``1 .``) and count repeats instead of keeping them."""
    counts: dict[str, int] = {}
    empty = []
    for position, text in enumerate(raw):
        text = text.strip()
        if any(character.isalpha() for character in text):
            counts[text] = counts.get(text, 0) + 1
        else:
            empty.append(position)
    return Captions(tuple(counts), tuple(counts.values()), tuple(empty))


def _image(row: object, number: int, path: str) -> CaptionedImage:
    if not isinstance(row, dict):
        raise BadItem(f"images[{number}] is no object", path)
    name, split, sentences = row.get("filename"), row.get("split"), row.get("sentences")
    if not isinstance(name, str) or not name or not isinstance(split, str) or not isinstance(sentences, list):
        raise BadItem(f"images[{number}] ({name!r}) lacks filename, split or sentences", path)
    raw: list[str] = []
    for sentence in sentences:
        text = sentence.get("raw") if isinstance(sentence, dict) else None
        if not isinstance(text, str):
            raise BadItem(f"images[{number}] ({name}) has a sentence without the text `raw`", path)
        raw.append(text)
    return CaptionedImage(name, str(row.get("imgid", number)), split, tuple(raw))
