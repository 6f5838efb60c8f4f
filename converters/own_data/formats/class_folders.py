"""Class folders: the folder of an image is its class."""

from __future__ import annotations

from pathlib import Path

from converters.formats.folders import read_class_folders
from converters.layout import last_parts
from converters.own_data.description import DescribedSet, Description
from converters.own_data.items import FoundItems, OwnFormat, images_folder
from mmrs.record import Annotations, Provenance
from mmrs.source import Item, ensure_unique_stems


def _find(described: DescribedSet, root: Path, split: str) -> FoundItems:
    own = described.content
    found = read_class_folders([images_folder(own, root, split)], root, tuple(own.classes))
    items = [
        # Folders often share file names, so the stem has its folder.
        Item(f"{path.parent.name}/{path.stem}", path, (), {"label": label})
        for label, paths in found.images.items()
        for path in paths
    ]
    unique, repeats = ensure_unique_stems(items)
    return FoundItems(unique, problems=found.problems + repeats)


def _read(own: Description, item: Item) -> Annotations:
    label = item.payload["label"]
    return Annotations(
        label=own.classes[label],
        source_label=label,
        provenance=Provenance(annotation=last_parts(item.file.parent, 1), original_id=item.image.name),
    )


FOLDERS_FORMAT = OwnFormat(_find, _read)
