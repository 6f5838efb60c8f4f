"""RSVQA, low and high resolution: questions derived from OpenStreetMap, in three tables per split joined by id.

``<prefix>_split_<split>_{images,questions,answers}.json`` beside an image folder with ``<id>.tif`` (or ``.png``).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from converters.base import Converter
from converters.formats.shared_file import read_shared
from converters.formats.text import read_bytes
from converters.formats.vqa import ImageQuestions, parse_rsvqa
from converters.layout import layout_error, list_files, locate_root
from converters.mirrors.named import locate_mirror
from converters.vqa.items import from_payload, items_by_image
from mmrs.errors import UserError
from mmrs.record import Annotations
from mmrs.source import Discovery, Item

TABLES = ("images", "questions", "answers")


@dataclass(frozen=True)
class Rsvqa(Converter):
    """A resolution of RSVQA, told by the `prefix` of its tables and the usual `image_folders`, best first."""

    prefix: ClassVar[str] = ""
    image_folders: ClassVar[tuple[str, ...]] = ()

    def discover(self, root: Path, split: str) -> Discovery:
        """List the split's images with all their questions."""
        self.check_split(split)
        try:
            base, notes = locate_root(self.name, root, self._holds, set(self.image_folders))
        except UserError:
            # A copy of the Hub is no layout of the source; one that is known says why it is not read.
            locate_mirror(self.name, root)
            raise
        tables = {table: base / f"{self.prefix}_split_{split}_{table}.json" for table in TABLES}
        absent = [path.name for path in tables.values() if not path.is_file()]
        if absent:
            raise layout_error(self.name, base, f"has no {', '.join(absent)}")
        folder = next((base / name for name in self.image_folders if (base / name).is_dir()), None)
        if folder is None:
            raise layout_error(self.name, base, f"has tables but no {' or '.join(self.image_folders)}")

        def read(questions: Path) -> ImageQuestions:
            images, answers = read_bytes(tables["images"]), read_bytes(tables["answers"])
            return parse_rsvqa(images, read_bytes(questions), answers, str(questions))

        found = read_shared(self.name, root, tables["questions"], read)
        files = list_files(folder, base)
        items, problems = items_by_image(found, files, tables["questions"])
        # A question without an answer is no image: what is lost with it is the question alone.
        return Discovery(
            items,
            notes,
            problems,
            details=found.problems,
            shared_problems=files.problems,
            consulted=frozenset(tables.values()),
        )

    def read(self, item: Item) -> Annotations:
        """Questions with their types; counts are the source's numbers, not the bins that its paper scores."""
        return from_payload(item)

    def _holds(self, root: Path) -> bool:
        return any((root / f"{self.prefix}_split_{split}_questions.json").is_file() for split in self.splits)
