"""The caption JSON that UCM-Captions, Sydney-Captions, RSICD and RSITMD share, and the one of NWPU-Captions.

Shared: ``{"dataset", "images": [{"filename", "imgid", "split", "sentences": [{"raw", ...}]}]}``. Text is taken from
``raw``: token lists disagree with it in some copies, and ``sentids`` with the sentences.

NWPU-Captions: ``{"<class>": [{"filename", "imgid", "split", "raw", "raw_1", ..., "raw_4"}]}``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.formats.text import parse_json, read_bytes
from mmrs.errors import BadItem


@dataclass(frozen=True, slots=True)
class CaptionedImage:
    """One image row: `raw` has every sentence as written, empty and repeated ones too.

    A sentence that has no text is an empty one.
    """

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
    named = [(f"images[{number}]", row) for number, row in enumerate(rows)]
    return _collect(str(tables.get("dataset", "")), named, _sentences, path)


def parse_class_captions(data: bytes, path: str) -> CaptionFile:
    """Parse the bytes of one file in the schema of NWPU-Captions; `path` names it in errors.

    Rows that cannot be used are left out and listed in `problems`, as those of `parse_captions` are.

    Raises:
        BadItem: not JSON, or not lists of rows by class.
    """
    classes = parse_json(data, path)
    if not isinstance(classes, dict) or not classes or not all(isinstance(rows, list) for rows in classes.values()):
        raise BadItem("lists of image rows by class are expected at the top level", path)
    named = [(f"{label}[{number}]", row) for label, rows in classes.items() for number, row in enumerate(rows)]
    return _collect("", named, _numbered_sentences, path)


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


def _collect(
    dataset: str, rows: Sequence[tuple[str, object]], sentences: Callable[[dict[str, Any]], object], path: str
) -> CaptionFile:
    images: dict[str, CaptionedImage] = {}
    problems = []
    for number, (where, row) in enumerate(rows):
        try:
            image = _image(row, where, number, sentences, path)
            if image.file_name in images:
                raise BadItem(f"{where} repeats file name {image.file_name}", path)
            images[image.file_name] = image
        except BadItem as error:
            problems.append((path, error.reason))
    return CaptionFile(dataset, tuple(images.values()), tuple(problems))


def _image(
    row: object, where: str, number: int, sentences: Callable[[dict[str, Any]], object], path: str
) -> CaptionedImage:
    if not isinstance(row, dict):
        raise BadItem(f"{where} is no object", path)
    name, split, found = row.get("filename"), row.get("split"), sentences(row)
    if not isinstance(name, str) or not name or not isinstance(split, str) or not isinstance(found, list):
        raise BadItem(f"{where} ({name!r}) lacks filename, split or sentences", path)
    raw = tuple(text if isinstance(text, str) else "" for text in found)
    return CaptionedImage(name, str(row.get("imgid", number)), split, raw)


def _sentences(row: dict[str, Any]) -> object:
    sentences = row.get("sentences")
    if not isinstance(sentences, list):
        return None
    return [sentence.get("raw") if isinstance(sentence, dict) else None for sentence in sentences]


def _numbered_sentences(row: dict[str, Any]) -> object:
    return [row[key] for key in ("raw", *(f"raw_{number}" for number in range(1, 5))) if key in row] or None
