"""HRRSD (TGRS-HRRSD): 21,761 aerial images of 13 classes, ``OPT2017/{Annotations,JPEGImages,ImageSets/Main}``.

Edges are 1-based and include their last pixel, as the authors' own COCO file shows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from converters.base import register
from converters.boxes import BoxAnnotations, BoxConverter
from converters.formats.objects import from_inclusive, labelled_rows
from converters.formats.split_lists import list_folders, listed_split
from converters.formats.voc import check_names_image, read_voc
from converters.layout import last_parts, list_files, locate_archive
from mmrs.record import Provenance
from mmrs.source import Discovery, Item

_ARCHIVE_FOLDER = "OPT2017"


@register("hrrsd")
@dataclass(frozen=True)
class Hrrsd(BoxConverter):
    """No options."""

    def discover(self, root: Path, split: str) -> Discovery:
        """List the ids of ``ImageSets/Main/<split>.txt`` that have an image and a label file."""
        self.check_split(split)
        top = {"Annotations", "ImageSets", "JPEGImages"}
        base, notes = locate_archive(self.name, root, _ARCHIVE_FOLDER, _has_layout, top)
        labels = list_files(base / "Annotations", base, {".xml"})
        images = list_folders(base, ("jpegimages",))
        found = listed_split(self.name, base, base / "ImageSets" / "Main", split, self.splits, images, labels)
        return replace(found, notes=notes + found.notes)

    def parse(self, item: Item) -> BoxAnnotations:
        """Objects in file order."""
        path = item.annotations[0]
        voc = read_voc(path)
        check_names_image(voc, item.stem, str(path))
        raw = [from_inclusive(obj) for obj in voc.objects]
        boxes, unknown = labelled_rows(raw, self.facts.classes, str(path))
        return BoxAnnotations(
            boxes,
            unread=voc.unread + unknown,
            provenance=Provenance(annotation=last_parts(path, 2), original_id=item.stem),
            declared_size=voc.size,
        )


def _has_layout(folder: Path) -> bool:
    return (folder / "Annotations").is_dir() and (folder / "ImageSets").is_dir()
