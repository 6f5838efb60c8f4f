"""RSIVQA: questions on the images of HRRSD, DOTA, RSICD, UC Merced (renumbered) and Sydney, in seven label files.

``RSIVQA/<set>/*.txt`` has lines ``image:question?answer``. The images lie with their own sources: in ``images/<set>``,
in that source's own folder beside the root (as `mmrs build mmrs-1m` has them), or in the folder that an option names.
The file under ``AID`` is about RSICD's images; ``UCM`` and ``Sydney`` use the numbers of the caption sets. No split is
shipped, so each set's images are split by a seeded rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from converters.base import register
from converters.formats.text import read_bytes
from converters.formats.vqa import ImageQuestions, QuestionAnswer, parse_question_lines
from converters.layout import FileList, Problem, layout_error, list_files, locate_root, merge_files
from converters.splits import SeededSplit
from converters.vqa.items import from_payload, items_by_image
from mmrs.errors import BadItem
from mmrs.record import Annotations
from mmrs.source import Absent, Discovery, Item

# Option that names the image folder -> label files.
LABELS = {
    "hrrsd": ("HRRSD/opt_val_vqa.txt",),
    "dota": ("DOTA/dota_train_vqa2.txt", "DOTA/dota_val_vqa2.txt"),
    "rsicd": ("AID/rsicd_vqa.txt",),
    "ucm": ("UCM/ucm_vqa.txt", "UCM/ucm_res.txt"),
    "sydney": ("Sydney/sydney_vqa.txt",),
}
# Set -> its usual image folder below the root, and the name of the source whose images they are.
USUAL = {
    "hrrsd": ("images/HRRSD", "hrrsd"),
    "dota": ("images/DOTA", "dota"),
    "rsicd": ("images/RSICD", "rsicd"),
    "ucm": ("images/UCM", "ucm-captions"),
    "sydney": ("images/Sydney", "sydney-captions"),
}
# Where images lie below these folders, each source in its own way; DOTA keeps its two splits apart.
BELOW = ("", "images", "imgs", "train/images", "val/images", "JPEGImages", "OPT2017/JPEGImages", "RSICD_images")
ALL_LABELS = tuple(label for labels in LABELS.values() for label in labels)
MISSING_WORD = "  "
_NUMBER = re.compile(
    r"\d+|(about )?(zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|"
    r"(thir|four|fif|six|seven|eigh|nine)teen|(twen|thir|for|fif|six|seven|eigh|nine)ty)([ -]\w+)?"
)


@register("rsivqa")
@dataclass(frozen=True)
class Rsivqa(SeededSplit):
    """Questions on the images of five other sources; a set without any images is left out with a note."""

    hrrsd: str = ""
    """Folder of HRRSD's images, absolute or relative to the root; else images/HRRSD, or hrrsd beside the root."""

    dota: str = ""
    """Folder of DOTA's images, absolute or relative to the root; else images/DOTA, or dota beside the root."""

    rsicd: str = ""
    """Folder of RSICD's images, absolute or relative to the root; else images/RSICD, or rsicd beside the root."""

    ucm: str = ""
    """Folder of UCM-Captions' images, absolute or relative to the root; else images/UCM, or ucm-captions beside it."""

    sydney: str = ""
    """Folder of Sydney-Captions' images, absolute or relative; else images/Sydney, or sydney-captions beside it."""

    def options(self) -> dict[str, Any]:
        """Options that change the output; where the images lie does not."""
        return {name: value for name, value in super().options().items() if name not in LABELS}

    def discover(self, root: Path, split: str) -> Discovery:
        """List the images of every set whose folder is there, with the questions of all its label files."""
        self.check_split(split)
        base, notes = locate_root(self.name, root, _has_labels, {"RSIVQA", *(Path(x).parts[0] for x in ALL_LABELS)})
        labels = base / "RSIVQA" if (base / "RSIVQA").is_dir() else base
        items: list[Item] = []
        problems: list[Problem] = []
        consulted: set[Path] = set()
        for name, files in LABELS.items():
            folders = self._folders(name, base)
            found = next(((folder, images) for folder in folders if (images := _images(folder))), None)
            if found is None:
                absent = f"no image in {' or '.join(map(str, folders))}"
                notes += (f"{name} left out: {absent}; name its folder with the option {name}",)
                continue
            folder, images = found
            own, own_problems, own_notes = _read_set(name, labels, files, images)
            notes += (*own_notes, *((f"images of {name} were taken from {folder}",) if folder != folders[0] else ()))
            problems += own_problems
            consulted |= {labels / file for file in files}
            items += self.part(own, lambda item: item.stem, split)
        if not items and not problems:
            raise layout_error(self.name, base, "has no images for any label file")
        ordered = tuple(sorted(items, key=lambda item: item.stem))
        return Discovery(ordered, notes, shared_problems=tuple(problems), consulted=frozenset(consulted))

    def read(self, item: Item) -> Annotations:
        """Questions with a type inferred from the answer, ``yes_no``, ``number`` or ``other``: the files state none."""
        return from_payload(item)

    def _folders(self, name: str, base: Path) -> list[Path]:
        """Where the images of a set may lie, best first."""
        if named := getattr(self, name):
            return [base / named]
        usual, source = USUAL[name]
        return [base / usual, base.parent / source]


def _has_labels(root: Path) -> bool:
    return any((root / folder / label).is_file() for folder in ("RSIVQA", "") for label in ALL_LABELS)


def _images(folder: Path) -> FileList | None:
    files = merge_files(list_files(folder / below, folder) for below in BELOW)
    return files if files.by_name else None


def _read_set(
    name: str, labels: Path, files: Iterable[str], images: FileList
) -> tuple[list[Item], list[Problem], tuple[str, ...]]:
    problems: list[Problem] = list(images.problems)
    read: dict[Path, ImageQuestions] = {}
    for path in (labels / file for file in files):
        if not path.is_file():
            problems.append(Absent(str(path), "label file is missing"))
            continue
        try:
            read[path] = parse_question_lines(read_bytes(path), str(path))
        except BadItem as error:
            problems.append((str(path), error.reason))
            continue
        problems += read[path].problems
    answered, notes = _merged(read)
    own, faults = items_by_image(answered, images, labels, f"{name}-")
    items = [
        replace(item, annotations=tuple(path for path in read if item.payload["id"] in read[path].images))
        for item in own
    ]
    return items, [*problems, *faults], notes


def _merged(read: Mapping[Path, ImageQuestions]) -> tuple[ImageQuestions, tuple[str, ...]]:
    """The questions of several label files by image, each with its type, and notes on those left out."""
    questions: dict[str, dict[QuestionAnswer, None]] = {}
    repeats: dict[str, int] = {}
    notes = []
    for path, found in read.items():
        wordless = 0
        for image, own in found.images.items():
            kept = questions.setdefault(image, {})
            repeats[image] = repeats.get(image, 0) + found.repeats.get(image, 0)
            for asked in own:
                if MISSING_WORD in asked.question:
                    wordless += 1
                    continue
                typed = QuestionAnswer(asked.question, asked.answer, _type(asked.answer))
                repeats[image] += typed in kept
                kept[typed] = None
        if wordless:
            notes.append(f"{path.name}: {wordless} questions lack the word that they ask for and were left out")
        if repeated := sum(found.repeats.values()):
            notes.append(f"{path.name}: {repeated} lines repeat another one and were counted, not kept")
    return ImageQuestions({image: tuple(own) for image, own in questions.items()}, repeats, ()), tuple(notes)


def _type(answer: str) -> str:
    if answer.lower() in {"yes", "no"}:
        return "yes_no"
    return "number" if _NUMBER.fullmatch(answer.lower()) else "other"
