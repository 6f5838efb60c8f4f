"""FloodNet-VQA (EARTHVISION 2021, track 2): drone images after a hurricane, with questions on damage.

``Questions/Training Question.json`` and ``Images/Train_Image/<id>.JPG``. Only the training questions have answers, so
both splits come from them, by image: every image has the same first question, and splitting by question would leak.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from converters.base import register
from converters.formats.shared_file import read_shared
from converters.formats.text import read_bytes
from converters.formats.vqa import parse_floodnet
from converters.layout import layout_error, list_files, locate_root
from converters.splits import SeededSplit
from converters.vqa.items import from_payload, items_by_image
from mmrs.record import Annotations
from mmrs.source import Discovery, Item

QUESTIONS = ("Questions/Training Question.json", "Training Question.json")
_IMAGES = ("Images/Train_Image", "Train_Image", "Images")


@register("floodnet")
@dataclass(frozen=True)
class FloodNet(SeededSplit):
    """Questions by image; the images are cut by the seeded rule."""

    def discover(self, root: Path, split: str) -> Discovery:
        """List the split's images with all their questions."""
        self.check_split(split)
        base, notes = locate_root(self.name, root, lambda folder: _first(folder, QUESTIONS) is not None, {"Questions"})
        questions, folder = _first(base, QUESTIONS), _first(base, _IMAGES)
        if questions is None or folder is None:
            raise layout_error(self.name, base, "has questions but no folder Images/Train_Image")
        found = read_shared(self.name, root, questions, lambda path: parse_floodnet(read_bytes(path), str(path)))
        files = list_files(folder, base)
        items, problems = items_by_image(found, files, questions)
        chosen = self.part(items, lambda item: item.stem, split)
        ordered = tuple(sorted(chosen, key=lambda item: item.stem))
        shared = (*found.problems, *files.problems, *problems)
        return Discovery(ordered, notes, shared_problems=shared, consulted=frozenset((questions,)))

    def read(self, item: Item) -> Annotations:
        """Questions with their types; a count becomes its decimal text, ``flooded,non flooded`` stays as written."""
        return from_payload(item)


def _first(root: Path, names: tuple[str, ...]) -> Path | None:
    return next((root / name for name in names if (root / name).exists()), None)
