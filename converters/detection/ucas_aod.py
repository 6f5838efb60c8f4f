"""UCAS-AOD: cars and planes with oriented and horizontal boxes, and images without either.

``CAR/P0001.png`` and ``.txt``, ``PLANE/P0001.png`` and ``.txt``, ``Neg/N0001.png``. A label line has 13 numbers: four
corners, the angle of the vector from tail to head in degrees, then x, y, width, height of a horizontal box that was
drawn separately. The class is the folder; because stems repeat, an item's stem begins with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from converters.base import register
from converters.boxes import BoxAnnotations, BoxConverter
from converters.catalog import Counts
from converters.formats.folders import normal_form
from converters.formats.objects import LabelledBoxes, labelled
from converters.formats.rows import lines_apart
from converters.formats.shapes import BoxObject, check_box
from converters.formats.text import finite, numbered_lines, read_bytes, shown
from converters.layout import FileList, Problem, last_parts, list_files, locate_root, subfolders
from converters.splits import SeededSplit
from mmrs.errors import BadItem
from mmrs.record import Provenance
from mmrs.source import Absent, Discovery, Item

_NEGATIVE = "neg"
_NUMBERS = 13


@register("ucas-aod")
@dataclass(frozen=True)
class UcasAod(BoxConverter, SeededSplit):
    """Cars and planes, split within each folder."""

    negatives: bool = True
    """Whether the images without objects are kept."""

    def published(self, split: str) -> Counts:
        """Size of a split with negatives; nothing is known without them."""
        return super().published(split) if self.negatives else Counts()

    def discover(self, root: Path, split: str) -> Discovery:
        """List the split's images of every folder; only ``P*.txt`` are labels."""
        self.check_split(split)
        names = {normal_form(label): label for label in self.facts.classes}
        base, notes = locate_root(
            self.name, root, lambda folder: bool(_folders(folder, tuple(names))), ("CAR", "PLANE")
        )
        folders = _folders(base, (*names, _NEGATIVE))
        items: list[Item] = []
        problems: list[Problem] = [
            Absent(str(base / label), "class folder is missing") for name, label in names.items() if name not in folders
        ]
        if self.negatives and _NEGATIVE not in folders:
            notes += ("there is no folder Neg of images without objects",)
        for name, folder in folders.items():
            if name == _NEGATIVE and not self.negatives:
                continue
            group, found = _items(name, names.get(name), list_files(folder, base), list_files(folder, base, {".txt"}))
            items += self.part(group, lambda item: item.stem, split)
            problems += found
        ordered = tuple(sorted(items, key=lambda item: item.stem))
        return Discovery(ordered, notes, shared_problems=tuple(problems))

    def parse(self, item: Item) -> BoxAnnotations:
        """Objects in file order with both kinds of boxes and ``angle_deg`` as written; a negative image has none."""
        if not item.annotations:
            nothing = LabelledBoxes((), (), {})
            return BoxAnnotations(nothing, provenance=Provenance(original_id=item.image.name, layout="Neg"))
        path = item.annotations[0]
        label = item.payload["label"]
        raw, unread = lines_apart(read_bytes(path), lambda data: parse_ucas_aod(data, str(path), label))
        return BoxAnnotations(
            labelled(raw, self.facts.classes, str(path)),
            unread=unread,
            provenance=Provenance(annotation=last_parts(path, 2), original_id=last_parts(item.file, 2)),
        )


def parse_ucas_aod(data: bytes, path: str, label: str) -> list[BoxObject]:
    """Objects of one label file, all of the class `label`. Raises `BadItem` with the line."""
    objects = []
    for number, line in numbered_lines(data, path):
        words = line.split()
        if len(words) != _NUMBERS:
            expected = "8 corners, an angle and x, y, width, height"
            raise BadItem(f"{len(words)} words in {shown(line)}; {expected} are expected", path, number)
        values = [finite(word, "number", path, number) for word in words]
        x, y, width, height = values[9:]
        box = check_box((x, y, x + width, y + height), path, number)
        objects.append(
            BoxObject(label, box, corners=tuple(values[:8]), line=number, flags={"angle_deg": round(values[8], 4)})
        )
    return objects


def _folders(base: Path, names: tuple[str, ...]) -> dict[str, Path]:
    return {normal_form(child.name): child for child in subfolders(base) if normal_form(child.name) in names}


def _items(name: str, label: str | None, images: FileList, labels: FileList) -> tuple[list[Item], list[Problem]]:
    items = []
    problems = [*images.problems]
    for stem, image in images.by_stem.items():
        label_file = labels.partner(stem, image)
        if label is None:
            items.append(Item(f"{name}-{stem}", image))
        elif label_file is not None:
            items.append(Item(f"{name}-{stem}", image, (label_file,), {"label": label}))
        else:
            problems.append(Absent(str(image), "image without a label file"))
    if label is not None:
        problems += [
            Absent(str(path), "label file without an image")
            for stem, path in labels.by_stem.items()
            if not images.has(stem) and stem.upper().startswith("P")
        ]
    return items, problems
