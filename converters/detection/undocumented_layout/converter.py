"""Sources whose folders and label files nobody has described: boxes are found by looking, classes are never guessed.

Images may lie anywhere below the root. Labels are PASCAL VOC XML or YOLO text (horizontal boxes) of the image's name,
in any folder; of several the one in the nearest folder counts. What the labels mean is said by the user's class map
(`converters.formats.class_map`), without which nothing is read. Sizes come from the images; edges of VOC boxes are
taken as written, as 0-based. Splits are those of ``Main/{train,test}.txt`` where there are such lists, else seeded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from converters.boxes import BoxAnnotations, BoxConverter
from converters.detection.undocumented_layout.labels import (
    SUFFIXES,
    Labels,
    RowForm,
    count_classes,
    index_labels,
    read_objects,
    recognised,
    stems,
)
from converters.formats.class_map import ClassMap, read_class_map
from converters.formats.folders import normal_form
from converters.formats.objects import labelled_rows
from converters.formats.rows import rows_apart
from converters.formats.shapes import BoxObject
from converters.formats.shared_file import read_shared
from converters.formats.split_lists import read_ids
from converters.formats.tree import FileTree, list_tree
from converters.layout import Problem, find_below, last_parts, layout_error
from converters.splits import SeededSplit
from mmrs.errors import BadItem, UserError
from mmrs.imaging.suffixes import without_known_suffix
from mmrs.record import Provenance
from mmrs.source import Absent, Discovery, Item, ensure_unique_stems

LABEL_FILES: dict[RowForm, str] = {"voc": "VOC files", "yolo": "YOLO files"}
LOOKED_AT = 300


@dataclass(frozen=True)
class UndocumentedBoxes(BoxConverter, SeededSplit):
    """Boxes of a set whose layout nobody has described."""

    annotations: Literal["auto", "voc", "yolo"] = "auto"
    """Form of the label files; auto takes the one that is there."""

    classes: str = "classes.yaml"
    """File name of the class map below the root: it says what each label means."""

    images: str = ""
    """Only images in folders whose path contains this text, for sets with several pictures of one moment."""

    def discover(self, root: Path, split: str) -> Discovery:
        """List the split's labelled images; notes say what was recognised.

        Raises:
            UserError: no images or labels, both kinds of labels, no class map, or image names used twice.
        """
        self.check_split(split)
        if not root.is_dir():
            raise layout_error(self.name, root, "is not a folder")
        root, below = self._base(root)
        images = self._images(root)
        labels = self._labels(root, images)
        known = self._class_map(root, labels)
        items, unlabelled = self._items(images, labels, known)
        lists = self._lists(root)
        chosen, how = self._part(root, lists, items, split)
        notes = [*below, recognised("images", images), recognised(LABEL_FILES[labels.form], labels.tree), how]
        if unlabelled:
            notes.append(f"{len(unlabelled)} images have no label file and were left out")
        consulted = frozenset((root / self.classes, *lists.values(), *unlabelled))
        problems = self._problems(images, labels)
        return Discovery(tuple(chosen), tuple(notes), shared_problems=problems, consulted=consulted)

    def parse(self, item: Item) -> BoxAnnotations:
        """Objects in file order; the label of a YOLO object is its class number."""
        path, payload = item.annotations[0], item.payload
        classes, ignored = payload["classes"], payload["ignored"]
        raw, unread = read_objects(path, payload["form"], item.file)
        known = {normal_form(label) for label in (*classes, *ignored)}

        def listed(obj: BoxObject) -> BoxObject:
            if normal_form(obj.label) not in known:
                raise BadItem(f"class {obj.label!r} is not in {self.classes}; add a line for it", str(path), obj.line)
            return obj

        own, unlisted = rows_apart(raw, listed)
        boxes, unknown = labelled_rows(own, classes, str(path), ignored)
        return BoxAnnotations(
            boxes,
            unread=unread + unlisted + unknown,
            provenance=Provenance(annotation=last_parts(path, 3), original_id=item.image.name, layout=payload["form"]),
        )

    def naming(self, subpath: str) -> tuple[str, str]:
        """(stem of the item, name of the moment) of an image; images of one moment never fall into both splits."""
        stem = PurePosixPath(subpath).stem
        return stem, stem

    def _base(self, root: Path) -> tuple[Path, tuple[str, ...]]:
        """The folder with the class map: `root`, or the one folder below that has it; `root` where none has."""
        below = (
            () if (root / self.classes).is_file() else find_below(root, lambda path: (path / self.classes).is_file())
        )
        return (below[0], (f"the class map was found in {below[0]}",)) if len(below) == 1 else (root, ())

    def _images(self, root: Path) -> FileTree:
        tree = list_tree(root, root)
        wanted = normal_form(self.images)
        kept = {path: file for path, file in tree.by_path.items() if wanted in normal_form(path.rpartition("/")[0])}
        if not kept:
            where = f" in a folder named like images={self.images!r}" if self.images else ""
            raise layout_error(self.name, root, f"holds no image{where}")
        return FileTree(kept, {}, tree.problems)

    def _labels(self, root: Path, images: FileTree) -> Labels:
        """The label files. A text file counts where an image has its name; lists and read-me files are none."""
        names = stems(images)
        found: list[Labels] = []
        for form, suffixes in SUFFIXES.items():
            tree = list_tree(root, root, suffixes)
            named = {path: file for path, file in tree.by_path.items() if PurePosixPath(path).stem in names}
            if named and self.annotations in ("auto", form):
                found.append(index_labels(form, tree if form == "voc" else FileTree(named, {})))
        if len(found) == 1:
            return found[0]
        if found:
            raise layout_error(self.name, root, "has VOC XML and YOLO text; choose annotations=voc or annotations=yolo")
        counted = f"has {len(images.by_path)} images and no label file (*.xml, *.txt) of their names"
        raise layout_error(self.name, root, counted)

    def _class_map(self, root: Path, labels: Labels) -> ClassMap:
        path = root / self.classes
        if path.is_file():
            return read_shared(self.name, root, path, read_class_map, remedy="mend it")
        paths = list(labels.tree.by_path.values())[:LOOKED_AT]
        lines = [f"  {label}:    # {count} objects" for label, count in count_classes(paths, labels.form).items()]
        raise UserError(
            f"{self.name}: {root} has no class map {self.classes}, and classes are not guessed.\n"
            f"  found:    {recognised(LABEL_FILES[labels.form], labels.tree)}; classes of {len(paths)} of them below\n"
            f"  next:     write {path} with a category behind each class (recalled for this source, not confirmed:\n"
            f"            {', '.join(self.facts.categories)}):\n" + "\n".join(lines)
        )

    def _items(self, images: FileTree, labels: Labels, known: ClassMap) -> tuple[list[Item], list[Path]]:
        payload = {"form": labels.form, "classes": known.classes, "ignored": list(known.ignored)}
        found: list[Item] = []
        folders: dict[str, str] = {}
        unlabelled: list[Path] = []
        for subpath, image in images.by_path.items():
            label = labels.nearest(subpath)
            stem, moment = self.naming(subpath)
            folder = subpath.rpartition("/")[0]
            if label is None:
                unlabelled.append(image)
            elif folders.setdefault(stem, folder) != folder:
                raise self._repeated(images, PurePosixPath(subpath).stem)
            else:
                found.append(Item(stem, image, (label,), payload, moment if moment != stem else None))
        return list(ensure_unique_stems(found)[0]), unlabelled

    def _lists(self, root: Path) -> dict[str, Path]:
        """The list file of each split; empty where one has none, or several."""
        texts = list_tree(root, root, {".txt"}).by_path
        lists = {part: [texts[path] for path in texts if path.endswith(f"Main/{part}.txt")] for part in self.splits}
        return {part: found[0] for part, found in lists.items()} if all(len(x) == 1 for x in lists.values()) else {}

    def _part(self, root: Path, lists: Mapping[str, Path], items: list[Item], split: str) -> tuple[list[Item], str]:
        if lists:
            source = lists[split]
            named = {
                without_known_suffix(word.rpartition("/")[2])
                for _, word in read_shared(self.name, root, source, read_ids)
            }
            return [item for item in items if item.image.stem in named], f"split taken from {source}"
        chosen = set(self.part(sorted({_moment(item) for item in items}), str, split))
        how = f"there are no lists of splits: {self.train_share:g} of the images are train, by seed {self.seed}"
        return [item for item in items if _moment(item) in chosen], how

    def _problems(self, images: FileTree, labels: Labels) -> tuple[Problem, ...]:
        problems: list[Problem] = [*images.problems, *labels.tree.problems]
        if not self.images:
            names = stems(images)
            problems += [
                Absent(str(path), "label file without an image")
                for stem, places in labels.by_stem.items()
                if stem not in names
                for _, path in places
            ]
        return tuple(problems)

    def _repeated(self, images: FileTree, name: str) -> UserError:
        folders = sorted(
            {path.rpartition("/")[0] or "." for path in images.by_path if PurePosixPath(path).stem == name}
        )
        return UserError(
            f"{self.name}: images named {name} lie in several folders ({', '.join(folders)}); "
            f"choose one with the option images, for instance images={folders[0].rpartition('/')[2]}."
        )


def _moment(item: Item) -> str:
    return item.scene or item.stem
