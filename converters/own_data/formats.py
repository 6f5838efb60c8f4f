"""Images and annotations of a described data set, format by format, over the shared readers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from converters.formats.coco import box_fields, read_coco, row_object
from converters.formats.dota import parse_dota
from converters.formats.folders import read_class_folders
from converters.formats.llava import read_llava
from converters.formats.objects import annotated, from_inclusive, known_label, labelled_rows
from converters.formats.rows import lines_apart, rows_apart
from converters.formats.shapes import BoxObject
from converters.formats.shared_file import read_shared
from converters.formats.text import read_bytes
from converters.formats.tree import FileTree, list_tree
from converters.formats.turned import states_rotation
from converters.formats.voc import parse_voc
from converters.formats.yolo import YoloObject, parse_yolo, yolo_boxes, yolo_quads
from converters.layout import Problem, last_parts
from converters.own_data.description import DescribedSet, Description, own_layout_error
from mmrs.errors import BadItem
from mmrs.imaging.limits import SCENE
from mmrs.imaging.probe import probe
from mmrs.instructions import prompts
from mmrs.record import Annotations, AnsweredQuestion, Provenance, TaskName, UnreadRow
from mmrs.source import Absent, Item, ensure_unique_stems

TURNED_BOX_TASKS: tuple[TaskName, ...] = ("detection-obb",)
# Label files that are looked into for the kind of their boxes before they are read.
LOOKED_AT_FOR_BOXES = 200
_LABEL_SUFFIX = {"voc": ".xml", "dota": ".txt", "yolo": ".txt", "yolo-obb": ".txt"}


@dataclass(frozen=True, slots=True)
class FoundItems:
    """Items of one place (before any cut into splits), notes and problems; `tasks` that its labels allow besides.

    `consulted` are the annotation file of all images, and the images that a note counts and leaves out.
    """

    items: tuple[Item, ...]
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    unread_rows: tuple[Problem, ...] = ()
    details: tuple[Problem, ...] = ()
    tasks: tuple[TaskName, ...] = ()
    consulted: frozenset[Path] = frozenset()


def find_items(described: DescribedSet, root: Path, split: str) -> FoundItems:
    """Everything at the paths of the description for one split, sorted by stem.

    Raises:
        UserError: a path of the description is not there, or an annotation file that all depends on is broken.
    """
    own = described.content
    folder = root / own.path(own.images, split)
    if not folder.is_dir():
        raise own_layout_error(root, f"has no folder {own.path(own.images, split)}", [f"{folder}/ with images"])
    if own.format == "folders":
        return _class_folders(own, root, folder)
    images = list_tree(folder, root)
    source = root / own.path(own.annotations or "", split)
    if own.format in _LABEL_SUFFIX:
        found = _label_files(own, root, images, source)
    else:
        if not source.is_file():
            raise own_layout_error(root, f"has no file {source.relative_to(root)}", [str(source)])
        found = (_coco if own.format == "coco" else _llava)(described, root, images, source)
    return replace(found, problems=images.problems + found.problems)


def read_item(own: Description, item: Item) -> Annotations:
    """Parse one image's annotation. Raises `BadItem`."""
    if own.format == "folders":
        label = item.payload["label"]
        return Annotations(
            label=own.classes[label],
            source_label=label,
            provenance=Provenance(annotation=last_parts(item.file.parent, 1), original_id=item.image.name),
        )
    if own.format == "llava":
        return _read_llava(own, item)
    path = str(item.annotations[0]) if item.annotations else str(item.image)
    rows = _box_rows(own, item, path)
    boxes, unknown = labelled_rows(rows.objects, own.classes, path, own.options.ignored)
    return Annotations(
        objects=annotated([boxes])[0],
        provenance=Provenance(
            annotation=last_parts(item.annotations[0], 1) if item.annotations else None, original_id=item.image.name
        ),
        declared_size=rows.size,
        unread=rows.unread + unknown,
    )


@dataclass(frozen=True, slots=True)
class _BoxRows:
    """Objects of one image, the rows that are none, and the size that the file states."""

    objects: tuple[BoxObject, ...]
    unread: tuple[UnreadRow, ...] = ()
    size: tuple[int, int] | None = None


def _box_rows(own: Description, item: Item, path: str) -> _BoxRows:
    if own.format == "coco":
        objects, unread = rows_apart(item.payload["rows"], lambda row: row_object(row, path))
        width_height = item.payload["size"]
        return _BoxRows(objects, unread, tuple(width_height) if width_height else None)
    if not item.annotations:
        return _BoxRows(())
    data = read_bytes(item.annotations[0])
    if own.format == "voc":
        voc = parse_voc(data, path)
        objects = tuple(map(from_inclusive, voc.objects)) if own.options.one_based else voc.objects
        return _BoxRows(objects, voc.unread, voc.size)
    if own.format == "dota":
        labels = (*own.classes, *own.options.ignored)
        dota, unread = lines_apart(data, lambda lines: parse_dota(lines, path, labels))
        return _BoxRows(tuple(dota.boxes), unread)
    form: Literal["hbb", "obb"] = "obb" if own.format == "yolo-obb" else "hbb"
    parsed, unread = lines_apart(data, lambda lines: parse_yolo(lines, path, form, len(own.classes)))
    return _BoxRows(_yolo_boxes(own, item, parsed), unread)


def _class_folders(own: Description, root: Path, folder: Path) -> FoundItems:
    found = read_class_folders([folder], root, tuple(own.classes))
    items = [
        # Folders often share file names, so the stem has its folder.
        Item(f"{path.parent.name}/{path.stem}", path, (), {"label": label})
        for label, paths in found.images.items()
        for path in paths
    ]
    unique, repeats = ensure_unique_stems(items)
    return FoundItems(unique, problems=found.problems + repeats)


def _label_files(own: Description, root: Path, images: FileTree, folder: Path) -> FoundItems:
    if not folder.is_dir():
        expected = [f"{folder}/ with {_LABEL_SUFFIX[own.format]} files"]
        raise own_layout_error(root, f"has no folder {folder.relative_to(root)}", expected)
    labels = list_tree(folder, root, {_LABEL_SUFFIX[own.format]})
    items, problems = [], list(labels.problems)
    without = 0
    for stem, image in images.by_stem.items():
        label = labels.partner(stem, image)
        if label is not None:
            items.append(Item(stem, image, (label,)))
        elif own.format.startswith("yolo"):
            # The rule of YOLO data sets: an image without a label file shows nothing.
            items.append(Item(stem, image))
            without += 1
        else:
            problems.append(Absent(str(image), "image without a label file"))
    problems += [
        Absent(str(path), "label file without an image")
        for stem, path in labels.by_stem.items()
        if not images.has(stem) and path.name != "classes.txt"
    ]
    notes = (f"{without} images have no label file and count as images without objects",) if without else ()
    turned = own.format == "voc" and any(map(_states_turns, items[:LOOKED_AT_FOR_BOXES]))
    return FoundItems(tuple(items), notes, tuple(problems), tasks=TURNED_BOX_TASKS if turned else ())


def _states_turns(item: Item) -> bool:
    """Whether the XML file says how its boxes are turned, be it by nothing."""
    try:
        data = read_bytes(item.annotations[0])
    except BadItem:
        return False
    return b"<robndbox" in data or b"<rotation>" in data or b">rotation<" in data


def _coco(described: DescribedSet, root: Path, images: FileTree, source: Path) -> FoundItems:
    order = described.content.options.box_order
    parsed = read_shared(
        "generic", root, source, lambda path: read_coco(path, order), "mend it", described.command_options
    )
    rows = ((row.file_name, {"size": row.size, "rows": [box_fields(one) for one in row.rows]}) for row in parsed.images)
    found = _named(images, source, rows, parsed.problems)
    turned = any(states_rotation(row) for item in found.items for row in item.payload["rows"])
    return replace(found, unread_rows=parsed.unread_rows, tasks=TURNED_BOX_TASKS if turned else ())


def _llava(described: DescribedSet, root: Path, images: FileTree, source: Path) -> FoundItems:
    parsed = read_shared("generic", root, source, read_llava, "mend it", described.command_options)
    rows = (
        (row.name, {"ids": list(row.ids), "conversations": [[list(pair) for pair in one] for one in row.conversations]})
        for row in parsed.images
    )
    found = _named(images, source, rows, parsed.problems)
    note = f"{parsed.repeats} conversations of {source.name} repeat another one of their image and were left out"
    notes = (*found.notes, note) if parsed.repeats else found.notes
    return replace(found, notes=notes, details=parsed.details)


def _named(
    images: FileTree, source: Path, rows: Iterable[tuple[str, Mapping[str, Any]]], problems: tuple[Problem, ...]
) -> FoundItems:
    """Items of the images that an annotation file names."""
    stems = {path: stem for stem, path in images.by_stem.items()}
    items: dict[str, Item] = {}
    missing: list[Problem] = []
    for name, payload in rows:
        try:
            image = images.find(name)
        except BadItem as error:
            missing.append((str(source), error.reason))
            continue
        stem = stems.get(image) if image else None
        if image is None or stem is None:
            missing.append(Absent(str(source), f"image {name} is named but is not there"))
        elif stem not in items:
            items[stem] = Item(stem, image, (source,), payload)
        elif (joined := _joined(items[stem].payload, payload)) is not None:
            # Two spellings of one file: what is said under both is known of the one image.
            items[stem] = replace(items[stem], payload=joined)
        else:
            missing.append((str(source), f"image {name} is {items[stem].image.name}, which has another size before"))
    rest = frozenset(path for stem, path in images.by_stem.items() if stem not in items)
    notes = (f"{len(rest)} images are not named by {source.name} and were left out",) if rest else ()
    known = tuple(items[stem] for stem in sorted(items))
    return FoundItems(known, notes, problems + tuple(missing), consulted=rest | {source})


def _joined(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any] | None:
    """Lists one after the other; None where the two say different things of anything else."""
    if any(first[key] != second[key] for key in first if not isinstance(first[key], list)):
        return None
    return {key: value + second[key] if isinstance(value, list) else value for key, value in first.items()}


def _yolo_boxes(own: Description, item: Item, parsed: Sequence[YoloObject]) -> tuple[BoxObject, ...]:
    if not parsed:
        return ()
    labels = tuple(own.classes)
    width, height = probe(item.file, SCENE).upright_size
    if own.format == "yolo-obb":
        quads = yolo_quads(parsed, width, height).reshape(-1, 8).tolist()
        return tuple(
            BoxObject(labels[obj.index], corners=tuple(quad), line=obj.line)
            for obj, quad in zip(parsed, quads, strict=True)
        )
    boxes = yolo_boxes(parsed, width, height).round(4).tolist()
    return tuple(
        BoxObject(labels[obj.index], (x1, y1, x2, y2), line=obj.line)
        for obj, (x1, y1, x2, y2) in zip(parsed, boxes, strict=True)
    )


def _read_llava(own: Description, item: Item) -> Annotations:
    exchanges = [(question, answer) for one in item.payload["conversations"] for question, answer in one]
    provenance = Provenance(annotation=item.annotations[0].name, original_id=", ".join(item.payload["ids"]))
    read: dict[str, Callable[[], Annotations]] = {
        # The questions are whole prompts already: nothing may be added to them.
        "vqa": lambda: Annotations(
            questions=tuple(AnsweredQuestion(question=q, answer=a, type=prompts.VERBATIM) for q, a in exchanges),
            provenance=provenance,
        ),
        "captioning": lambda: Annotations(
            captions=tuple(dict.fromkeys(answer.strip() for _, answer in exchanges)), provenance=provenance
        ),
        "classification": lambda: _one_label(own, item, [answer for _, answer in exchanges], provenance),
    }
    return read[own.options.task]()


def _one_label(own: Description, item: Item, answers: list[str], provenance: Provenance) -> Annotations:
    path = str(item.annotations[0])
    labels = {known_label(answer.strip().rstrip("."), tuple(own.classes), path) for answer in answers}
    if len(labels) > 1:
        raise BadItem(f"{item.image.name} has several labels: {', '.join(sorted(labels))}", path)
    (label,) = labels
    return Annotations(label=own.classes[label], source_label=label, provenance=provenance)
