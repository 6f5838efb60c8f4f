"""Supervisely: ``img/<name>`` and ``ann/<name>.json`` of each data set of a project."""

from __future__ import annotations

from pathlib import Path

from converters.formats.supervisely import parse_supervisely
from converters.formats.text import read_bytes
from converters.formats.tree import list_tree
from converters.layout import Problem
from converters.own_data.box_rows import BoxRows, boxes_of_classes, class_of_tags
from converters.own_data.description import DescribedSet, Description
from converters.own_data.items import FoundItems, OwnFormat, ReadImage, images_folder, label_folder
from mmrs.source import Absent, Item

_SUFFIX = ".json"


def _find(described: DescribedSet, root: Path, split: str) -> FoundItems:
    own = described.content
    images = list_tree(images_folder(own, root, split), root)
    labels = list_tree(label_folder(own, root, split, _SUFFIX), root, {_SUFFIX})
    names = {path: name for name, path in images.by_path.items()}
    items: list[Item] = []
    problems: list[Problem] = [*images.problems, *labels.problems]
    used = set()
    for stem, image in images.by_stem.items():
        # The whole name of the image goes before the suffix; old exports have its stem.
        label = labels.by_path.get(names[image] + _SUFFIX) or labels.by_path.get(stem + _SUFFIX)
        if label is None:
            problems.append(Absent(str(image), "image without a label file"))
        else:
            used.add(label)
            items.append(Item(stem, image, (label,)))
    rest = (path for path in labels.by_path.values() if path not in used)
    problems += [Absent(str(path), "label file without an image") for path in rest]
    return FoundItems(tuple(items), problems=tuple(problems))


def _read(own: Description, item: Item) -> ReadImage:
    path = str(item.annotations[0])
    parsed = parse_supervisely(read_bytes(item.annotations[0]), path)
    if own.options.task == "classification":
        return class_of_tags(own, item, parsed.tags)
    return boxes_of_classes(own, item, BoxRows(parsed.objects, parsed.unread, parsed.size))


SUPERVISELY_FORMAT = OwnFormat(_find, _read)
