"""What DIOR and MAR20 share: lists of ids, and one folder of XML files for each of two independent kinds of boxes.

Layout: ``Annotations/{Horizontal,Oriented} Bounding Boxes/*.xml``, ``ImageSets/Main/<split>.txt`` and folders
``JPEGImages*`` of images. The two kinds were drawn separately and list objects in different orders: they are never
paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from converters.boxes import BoxConverter
from converters.formats.folders import normal_form
from converters.formats.rows import rows_apart
from converters.formats.shapes import BoxObject
from converters.formats.split_lists import list_folders, listed_split
from converters.formats.voc import VocFile
from converters.layout import layout_error, list_files, locate_root, subfolders
from mmrs.errors import BadItem
from mmrs.record import TaskName, UnreadRow
from mmrs.source import Discovery

_IMAGE_FOLDERS = ("jpegimages", "imagestrainval", "imagestest")


@dataclass(frozen=True)
class BoxFolders(BoxConverter):
    """A source with a folder of label files for each kind of boxes."""

    boxes: Literal["horizontal", "oriented"] = "horizontal"
    """The kind of boxes to read; the two kinds are never mixed."""

    @property
    def tasks(self) -> Sequence[TaskName]:
        """Horizontal boxes only, or both: an oriented box has a horizontal extent."""
        return ("detection-hbb",) if self.boxes == "horizontal" else ("detection-hbb", "detection-obb")

    def discover(self, root: Path, split: str) -> Discovery:
        """List the ids of ``ImageSets/Main/<split>.txt`` that have an image and a label file."""
        self.check_split(split)
        base, notes = locate_root(
            self.name,
            root,
            lambda folder: (folder / "Annotations").is_dir() and (folder / "ImageSets").is_dir(),
            {"Annotations", "ImageSets", "JPEGImages"},
        )
        folder, label_notes = self._label_folder(base)
        labels = list_files(folder, base, {".xml"})
        images = list_folders(base, _IMAGE_FOLDERS)
        found = listed_split(self.name, base, base / "ImageSets" / "Main", split, self.splits, images, labels)
        return replace(found, notes=notes + label_notes + found.notes)

    def boxes_of(self, voc: VocFile, path: str) -> tuple[tuple[BoxObject, ...], tuple[UnreadRow, ...]]:
        """The file's objects that have the kind of box that the option asks for, and the rows of the others.

        Raises:
            BadItem: no object has it: the file is one of the other kind.
        """
        is_horizontal = self.boxes == "horizontal"

        def of_kind(obj: BoxObject) -> BoxObject:
            is_turned = obj.corners is not None or obj.rotated is not None
            if (obj.box is None) if is_horizontal else not is_turned:
                found = "oriented" if is_horizontal else "horizontal"
                raise BadItem(f"object {obj.label!r} has a box of the kind {found}, not {self.boxes}", path, obj.line)
            return replace(obj, corners=None, rotated=None) if is_horizontal and is_turned else obj

        own, others = rows_apart(voc.objects, of_kind)
        if others and not own:
            raise BadItem(others[0].reason, path, others[0].line)
        return own, others

    def _label_folder(self, base: Path) -> tuple[Path, tuple[str, ...]]:
        annotations = base / "Annotations"
        named = [child for child in subfolders(annotations) if normal_form(child.name).startswith(self.boxes)]
        if named:
            return named[0], ()
        if any(path.suffix.lower() == ".xml" for path in annotations.iterdir()):
            return annotations, (f"{annotations} names no kind of boxes; its files are read as {self.boxes}",)
        present = ", ".join(child.name for child in subfolders(annotations)) or "none"
        raise layout_error(self.name, base, f"has no folder of {self.boxes} boxes; folders in Annotations: {present}")
