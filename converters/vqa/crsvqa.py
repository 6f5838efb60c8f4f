"""CRSVQA: 4,639 images of AID under new numbers, with questions written by hand.

``data/image/<id>.png`` and ``data/text/<id>.txt``: question and answer on lines of their own in turn, CRLF, ``？`` or
``?``. No list of the official split is public, so images are split by a seeded rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from converters.base import register
from converters.formats.split_lists import paired
from converters.formats.text import read_bytes
from converters.formats.vqa import QuestionAnswer, parse_question_text
from converters.layout import layout_error, list_files, locate_root
from converters.splits import SeededSplit
from converters.vqa.items import from_payload, payload
from mmrs.record import Annotations
from mmrs.source import Discovery, Item


@register("crsvqa")
@dataclass(frozen=True)
class Crsvqa(SeededSplit):
    """Questions by image; the images are cut by the seeded rule."""

    def discover(self, root: Path, split: str) -> Discovery:
        """List the split's images; an image without a text and a text without an image are problems."""
        self.check_split(split)
        base, notes = locate_root(self.name, root, lambda folder: _data(folder) is not None, {"data", "image", "text"})
        data = _data(base)
        if data is None:
            raise layout_error(self.name, base, "has no folders data/image and data/text")
        files, texts = list_files(data / "image", base), list_files(data / "text", base, {".txt"})
        both, alone = paired(files, texts, "text file")
        chosen = self.part(both, lambda pair: pair[0], split)
        items = tuple(Item(stem, image, (text,)) for stem, image, text in sorted(chosen))
        return Discovery(items, notes, shared_problems=(*files.problems, *texts.problems, *alone))

    def read(self, item: Item) -> Annotations:
        """Questions of the image's text, with the types that the authors' loader infers from words of the question."""
        text = item.annotations[0]
        questions, left_out = parse_question_text(read_bytes(text), str(text))
        typed = [QuestionAnswer(asked.question, asked.answer, _type(asked.question)) for asked in questions]
        known = Item(item.stem, item.image, item.annotations, payload(item.stem, typed, lines_left_out=left_out))
        return from_payload(known)


def _data(root: Path) -> Path | None:
    for folder in (root / "data", root):
        if (folder / "image").is_dir() and (folder / "text").is_dir():
            return folder
    return None


def _type(question: str) -> str:
    words = question.lower()
    if "scene" in words or "theme" in words:
        return "scene"
    return "object" if any(word in words for word in ("many", "object", "shape")) else "relation"
