"""RSOD: four folders, one for each class, labelled for that class alone.

``<class>/JPEGImages/<class>_N.jpg`` with ``<class>/Annotation/xml/*.xml`` (PASCAL VOC) and ``Annotation/labels/*.txt``
(image name, class, xmin, ymin, xmax, ymax). Images of ``playground`` without a label file are unlabelled, not empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from converters.base import register
from converters.boxes import BoxAnnotations, BoxConverter
from converters.formats.folders import normal_form
from converters.formats.objects import labelled_rows
from converters.formats.rows import lines_apart
from converters.formats.shapes import BoxObject, check_box
from converters.formats.text import finite, numbered_lines, read_bytes, shown
from converters.formats.voc import check_names_image, read_voc
from converters.layout import Problem, last_parts, list_files, locate_root, subfolders
from converters.splits import SeededSplit
from mmrs.errors import BadItem
from mmrs.imaging.suffixes import without_known_suffix
from mmrs.record import Provenance
from mmrs.source import Absent, Discovery, Item, ensure_unique_stems

# The one class whose published images are not all labelled.
PARTLY_LABELLED = "playground"


@register("rsod")
@dataclass(frozen=True)
class Rsod(BoxConverter, SeededSplit):
    """A folder for each class, split within each."""

    labels: Literal["xml", "txt"] = "xml"
    """The form of the label files to read; both hold the same boxes."""

    def discover(self, root: Path, split: str) -> Discovery:
        """List the split's labelled images; the split is cut within each class."""
        self.check_split(split)
        names = {normal_form(label): label for label in self.facts.classes}
        base, notes = locate_root(self.name, root, lambda folder: bool(_class_folders(folder, names)), tuple(names))
        items: list[Item] = []
        problems: list[Problem] = []
        noted: set[Path] = set()
        folders = _class_folders(base, names)
        for label in names.values():
            if label not in folders:
                problems.append(Absent(str(base / label), "class folder is missing"))
                continue
            labelled, unlabelled, found = self._images(folders[label], base, label)
            items += self.part(labelled, lambda item: item.stem, split)
            problems += found
            if unlabelled and label == PARTLY_LABELLED:
                notes += (f"{len(unlabelled)} images of {label} have no label file: unlabelled, left out",)
                noted |= {*unlabelled}
            else:
                problems += [Absent(str(path), "image without a label file") for path in unlabelled]
        unique, repeats = ensure_unique_stems(sorted(items, key=lambda item: item.stem))
        return Discovery(unique, notes, repeats, shared_problems=tuple(problems), consulted=frozenset(noted))

    def parse(self, item: Item) -> BoxAnnotations:
        """Objects in file order; ``labelled_classes`` says that other classes in the image are not labelled."""
        path = item.annotations[0]
        if self.labels == "xml":
            voc = read_voc(path)
            check_names_image(voc, item.stem, str(path))
            raw, unread, size = list(voc.objects), voc.unread, voc.size
        else:
            raw, unread = lines_apart(read_bytes(path), lambda data: parse_rsod(data, str(path), item.stem))
            size = None
        own = item.payload["label"]
        boxes, unknown = labelled_rows(raw, self.facts.classes, str(path))
        return BoxAnnotations(
            boxes,
            unread=unread + unknown,
            metadata={"labelled_classes": [self.facts.classes[own]]},
            provenance=Provenance(annotation=last_parts(path, 4), original_id=item.stem, layout=self.labels),
            declared_size=size,
        )

    def _images(self, folder: Path, base: Path, label: str) -> tuple[list[Item], list[Path], list[Problem]]:
        images = list_files(folder / "JPEGImages", base)
        annotation = next((x for x in subfolders(folder) if normal_form(x.name).startswith("annotation")), folder)
        inner = annotation / ("xml" if self.labels == "xml" else "labels")
        labels = list_files(inner, base, {f".{self.labels}"})
        problems = [*images.problems, *labels.problems]
        problems += [
            Absent(str(path), "label file without an image")
            for stem, path in labels.by_stem.items()
            if not images.has(stem)
        ]
        pairs = [(stem, image, labels.partner(stem, image)) for stem, image in images.by_stem.items()]
        items = [Item(stem, image, (path,), {"label": label}) for stem, image, path in pairs if path is not None]
        return items, [image for _, image, path in pairs if path is None], problems


def parse_rsod(data: bytes, path: str, stem: str) -> list[BoxObject]:
    """Objects of one text label file of the image `stem`.

    Raises:
        BadItem: with the line that is no object of the image; without one where all lines name another image.
    """
    objects = []
    rows = [(number, line, line.split()) for number, line in numbered_lines(data, path)]
    others = [words[0] for *_, words in rows if stem not in (words[0], without_known_suffix(words[0]))]
    if others and len(others) == len(rows):
        raise BadItem(f"label file of another image: its lines are of {others[0]!r}, not {stem!r}", path)
    for number, line, words in rows:
        if len(words) != 6:
            expected = "image name, class, xmin, ymin, xmax and ymax"
            raise BadItem(f"{len(words)} words in {shown(line)}; {expected} are expected", path, number)
        if stem not in (words[0], without_known_suffix(words[0])):
            raise BadItem(f"line is of image {words[0]!r}, not {stem!r}", path, number)
        x1, y1, x2, y2 = (finite(word, "edge", path, number) for word in words[2:])
        objects.append(BoxObject(words[1], check_box((x1, y1, x2, y2), path, number), line=number))
    return objects


def _class_folders(base: Path, names: dict[str, str]) -> dict[str, Path]:
    """Label -> the folder that holds its JPEGImages: the class folder, or its child where an archive nested it."""
    found: dict[str, Path] = {}
    for child in subfolders(base):
        label = names.get(normal_form(child.name))
        if label is not None:
            places = [place for place in (child, *subfolders(child)) if (place / "JPEGImages").is_dir()]
            found.update({label: places[0]} if places else {})
    return found
