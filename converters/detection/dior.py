"""DIOR and DIOR-R: 23,463 aerial images of 800 x 800 with horizontal boxes, and with oriented ones.

Horizontal edges are 1-based and include their last pixel. Oriented corners are plain pixels and may lie outside the
image; the files' ``angle`` carries rounding noise and is not used.

Torchgeo repackages the horizontal boxes of train and val: ``Images/{trainval,test}``, ``Annotations/trainval`` and a
table ``sample_df.csv`` that says the split; it has no labels of test.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from converters.base import register
from converters.boxes import BoxAnnotations
from converters.detection.box_folders import BoxFolders
from converters.formats.objects import from_inclusive, labelled_rows
from converters.formats.sample_tables import read_sample_table, table_items
from converters.formats.shared_file import read_shared
from converters.formats.tree import list_tree
from converters.formats.voc import check_names_image, read_voc
from converters.layout import build_command, find_below, last_parts, layout_error
from mmrs.record import Provenance
from mmrs.source import Discovery, Item

SAMPLE_TABLE = "sample_df.csv"


@register("dior")
@dataclass(frozen=True)
class Dior(BoxFolders):
    """Horizontal boxes are DIOR, oriented ones DIOR-R."""

    def discover(self, root: Path, split: str) -> Discovery:
        """List the ids of the split's list, or the rows of torchgeo's table, that have an image and a label file."""
        self.check_split(split)
        packages = (root,) if _is_torchgeo(root) else find_below(root, _is_torchgeo)
        return self._discover_table(root, packages[0], split) if packages else super().discover(root, split)

    def _discover_table(self, root: Path, base: Path, split: str) -> Discovery:
        rows = read_shared(self.name, root, base / SAMPLE_TABLE, read_sample_table)
        labelled = {row.split for row in rows if row.label}
        if self.boxes == "oriented":
            command = build_command(self.name, root, {}, [one for one in self.splits if one in labelled])
            reason = "is torchgeo's package, which has no oriented boxes"
            line = f"get `Oriented Bounding Boxes` of the official archive, or build the horizontal ones: `{command}`"
            raise layout_error(self.name, base, reason, next_lines=[line])
        own = [row for row in rows if row.split == split]
        if split not in labelled:
            command = build_command(self.name, root, {}, [one for one in self.splits if one in labelled])
            reason = f"is torchgeo's package, which has {len(own)} images of {split} and no labels of them"
            line = f"get the official Annotations and ImageSets, or build what has labels: `{command}`"
            raise layout_error(self.name, base, reason, next_lines=[line])
        images, labels = list_tree(base, base), list_tree(base, base, {".xml"})
        items, problems = table_items(base / SAMPLE_TABLE, own, images, labels)
        notes = (f"the split was taken from {base / SAMPLE_TABLE}",)
        shared = (*images.problems, *labels.problems)
        return Discovery(items, notes, problems, shared_problems=shared, consulted=frozenset((base / SAMPLE_TABLE,)))

    def parse(self, item: Item) -> BoxAnnotations:
        """Objects in file order. The size in an oriented file is no check of the image: 33 files state another one."""
        path = item.annotations[0]
        voc = read_voc(path)
        check_names_image(voc, item.stem, str(path))
        own, other_kind = self.boxes_of(voc, str(path))
        boxes, unknown = labelled_rows([from_inclusive(obj) for obj in own], self.facts.classes, str(path))
        oriented = self.boxes == "oriented"
        return BoxAnnotations(
            boxes,
            metadata={"stated_size": list(voc.size)} if oriented and voc.size else {},
            unread=voc.unread + other_kind + unknown,
            provenance=Provenance(annotation=last_parts(path, 3), original_id=item.stem, layout=self.boxes),
            declared_size=None if oriented else voc.size,
        )


def _is_torchgeo(folder: Path) -> bool:
    """The official lists go before the table where both are there."""
    has_parts = (folder / "Images").is_dir() and (folder / "Annotations").is_dir()
    return (folder / SAMPLE_TABLE).is_file() and has_parts and not (folder / "ImageSets").is_dir()
