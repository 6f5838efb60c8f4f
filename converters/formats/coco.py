"""COCO detection JSON and its dialects: ``annotation`` for ``annotations``, ``filename`` for ``file_name``.

Rows are joined by image id inside one file only: ids restart or collide between the split files of many sources.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from converters.formats.box_order import check_box_order
from converters.formats.polygons import coco_points
from converters.formats.shapes import BoxObject, check_box
from converters.formats.text import Id, finite, flag, id_of, integer, kind, parse_json, plain_numbers, read_bytes, shown
from converters.formats.turned import MODE_KEYS, ROTATION, UNKNOWN_TURNS, box_object
from mmrs.errors import BadItem

TURNING_KEYS = frozenset({ROTATION, *UNKNOWN_TURNS, *MODE_KEYS})


@dataclass(frozen=True, slots=True)
class CocoImage:
    """One image row with its own annotation rows in file order.

    `row` is the image row as written; each of `rows` is an annotation row as written, with ``label`` (category name, or
    None where the file's category table lacks the id) added.
    """

    file_name: str
    size: tuple[int, int] | None
    row: dict[str, Any]
    rows: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class CocoFile:
    """One COCO file: images in file order and `categories` id -> name.

    `problems` are (path, reason) of image and category rows left out, `unread_rows` of annotation rows of no image.
    """

    images: tuple[CocoImage, ...]
    categories: dict[Id, str]
    problems: tuple[tuple[str, str], ...]
    unread_rows: tuple[tuple[str, str], ...] = ()


def read_coco(path: Path, box_order: str | None = None) -> CocoFile:
    """Read one COCO file. Raises `BadItem` when the file as a whole cannot be used."""
    return parse_coco(read_bytes(path), str(path), box_order)


def parse_coco(data: bytes, path: str, box_order: str | None = None) -> CocoFile:
    """Parse the bytes of one COCO file; `path` names it in errors.

    `box_order` (``xywh``, ``xyxy``) is that of the rows that state none; without it, a file of corners is refused.

    Rows are joined by image id, a number or a text. Ids of annotations are no keys: many files count them from the
    start again in every image. Image rows of one file name are one image, with the rows of all its ids. An id that
    several files have joins nothing: these images and their annotation rows are left out and named.

    Raises:
        BadItem: not JSON, not the tables of a COCO file, or boxes that are corners and nothing says so.
    """
    tables = parse_json(data, path)
    if not isinstance(tables, dict):
        raise BadItem(f"top level is a {type(tables).__name__}, an object with images and annotations expected", path)
    annotation_key = _annotation_key(tables, path)
    categories, bad_categories = _categories(_table(tables, "categories", path))
    images, bad_images = _image_rows(_table(tables, "images", path), path)
    table = _table(tables, annotation_key, path)
    if box_order is not None:
        table = [_with_order(row, box_order) for row in table]
    rows, unread = _joined(table, annotation_key, images, categories)
    by_name: dict[str, CocoImage] = {}
    for image_id, image in images.items():
        known = by_name.setdefault(image.file_name, image)
        by_name[image.file_name] = replace(known, rows=known.rows + tuple(rows[image_id]))
    if box_order is None:
        check_box_order(((image.size, image.rows) for image in by_name.values()), path)
    problems = tuple((path, reason) for reason in (*bad_categories, *bad_images))
    names = {key: name for key, name in categories.items() if name is not None}
    return CocoFile(tuple(by_name.values()), names, problems, tuple((path, reason) for reason in unread))


def parse_coco_captions(data: bytes, path: str) -> CocoFile:
    """Parse the bytes of one file of COCO captions; `path` names it in errors.

    It has the tables ``images`` and ``annotations`` of a COCO file, each annotation row a ``caption``; a table of
    categories it has not, or nobody asks for it. Rows without a caption are among `unread_rows`.

    Raises:
        BadItem: not JSON, not these tables, or not one row with a caption.
    """
    tables = parse_json(data, path)
    if not isinstance(tables, dict):
        raise BadItem(f"top level is a {type(tables).__name__}, an object with images and annotations expected", path)
    key = _annotation_key(tables, path)
    images, bad_images = _image_rows(_table(tables, "images", path), path)
    rows, unread = _joined(_table(tables, key, path), key, images, {})
    by_name: dict[str, CocoImage] = {}
    for image_id, image in images.items():
        known = by_name.setdefault(image.file_name, image)
        captioned = []
        for row in rows[image_id]:
            if isinstance(row.get("caption"), str) and row["caption"].strip():
                captioned.append(row)
            else:
                found = f"{shown(row.get('caption'))} ({kind(row.get('caption'))})"
                unread.append(f"annotation {shown(row.get('id'))} has the caption {found}; a text is expected")
        by_name[image.file_name] = replace(known, rows=known.rows + tuple(captioned))
    if not any(image.rows for image in by_name.values()):
        raise BadItem("no row of `annotations` has a caption of an image of the file", path)
    problems = tuple((path, reason) for reason in bad_images)
    return CocoFile(tuple(by_name.values()), {}, problems, tuple((path, reason) for reason in unread))


def known_category(row: dict[str, Any], path: str) -> str:
    """The category name of an annotation row. Raises `BadItem` where the file's category table lacks its id."""
    label = row.get("label")
    if label is None:
        found = shown(row.get("category_id"))
        raise BadItem(f"annotation {shown(row.get('id'))} has category id {found}, of which the file has no name", path)
    return str(label)


def is_crowd(row: dict[str, Any], path: str) -> bool:
    """Whether the row marks a region of many objects. Raises `BadItem` for a value that is no yes or no."""
    return flag(row.get("iscrowd"), f"iscrowd of annotation {shown(row.get('id'))}", path)


def row_fields(row: dict[str, Any]) -> dict[str, Any]:
    """The row's own fields over those in its ``attributes``, under lower-case names."""
    attributes = row.get("attributes")
    inner = attributes if isinstance(attributes, dict) else {}
    return {str(key).lower(): value for key, value in (*inner.items(), *row.items())}


def row_object(row: dict[str, Any], path: str) -> BoxObject:
    """The object of an annotation row: its ``bbox`` as its fields turn it; a crowd is an ignore object.

    A row without ``bbox`` has the extent of its polygons.

    Raises:
        BadItem: no category, no box, or a field that changes the box and is not understood.
    """
    label, fields = known_category(row, path), row_fields(row)
    values = row.get("bbox")
    if values is None or values == []:
        points = coco_points(row, path)
        if not len(points):
            raise BadItem(f"annotation {shown(row.get('id'))} has neither bbox nor polygons", path)
        (x1, y1), (x2, y2) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        found = BoxObject(label, check_box((x1, y1, x2, y2), path))
    else:
        length = 5 if isinstance(values, list) and len(values) == 5 else 4
        found = box_object(bbox(row, length, path), fields, label, path)
    crowd = is_crowd(row, path)
    return replace(found, ignore=crowd, flags=found.flags | ({"iscrowd": True} if crowd else {}))


def box_fields(row: dict[str, Any]) -> dict[str, Any]:
    """What of an annotation row `row_object` needs: polygons only where there is no box."""
    kept = ("id", "category_id", "label", "bbox", "iscrowd")
    turning = {key: value for key, value in row_fields(row).items() if key in TURNING_KEYS and value is not None}
    polygons = {} if row.get("bbox") else {"segmentation": row.get("segmentation")}
    return {key: row.get(key) for key in kept} | turning | polygons


def polygon_fields(row: dict[str, Any]) -> dict[str, Any]:
    """As `box_fields`, with the polygons in any case."""
    return box_fields(row) | {"segmentation": row.get("segmentation")}


def bbox(row: dict[str, Any], length: int, path: str) -> tuple[float, ...]:
    """The `length` finite numbers of an annotation row's ``bbox``. Raises `BadItem` naming the annotation."""
    values = row.get("bbox")
    if isinstance(values, list) and len(values) == length and (plain := plain_numbers(values)) is not None:
        return plain
    what = f"bbox of annotation {shown(row.get('id'))}"
    if not isinstance(values, list) or len(values) != length:
        raise BadItem(f"{what} is {shown(values)}, {length} numbers are expected", path)
    return tuple(finite(value, what, path) for value in values)


def _joined(
    table: list[Any], key: str, images: Mapping[Id, CocoImage], categories: Mapping[Id, str | None]
) -> tuple[dict[Id, list[dict[str, Any]]], list[str]]:
    """Annotation rows by image id, and why the others were left out."""
    reasons = []
    joined: dict[Id, list[dict[str, Any]]] = {image_id: [] for image_id in images}
    for number, row in enumerate(table):
        where = f"{key}[{number}]"
        try:
            image_id = id_of(row, "image_id", where)
        except BadItem as error:
            reasons.append(error.reason)
            continue
        if image_id not in images:
            reasons.append(f"{where} (id {shown(row.get('id'))}) names image {image_id}, which the file lacks")
            continue
        try:
            label = categories.get(id_of(row, "category_id", where))
        except BadItem:
            label = None
        joined[image_id].append({**row, "label": label})
    return joined, reasons


def _with_order(row: Any, box_order: str) -> Any:
    """The row with the order of its box, where it states none itself."""
    stated = not isinstance(row, dict) or any(row.get(key) is not None for key in MODE_KEYS)
    return row if stated else {**row, MODE_KEYS[0]: box_order}


def _annotation_key(tables: dict[str, Any], path: str) -> str:
    keys = [key for key in ("annotations", "annotation") if key in tables]
    if len(keys) != 1:
        raise BadItem(f"one table `annotations` or `annotation` expected, found {keys or sorted(tables)[:8]}", path)
    return keys[0]


def _table(tables: dict[str, Any], key: str, path: str) -> list[Any]:
    table = tables.get(key)
    if not isinstance(table, list):
        raise BadItem(f"table `{key}` is missing or no list; top-level keys are {sorted(tables)[:8]}", path)
    return table


def _categories(table: list[Any]) -> tuple[dict[Id, str | None], list[str]]:
    """Names by id; None where an id has two names, so that nobody knows which one its rows mean."""
    categories: dict[Id, str | None] = {}
    reasons = []
    for number, row in enumerate(table):
        where = f"categories[{number}]"
        try:
            key = id_of(row, "id", where)
        except BadItem as error:
            reasons.append(error.reason)
            continue
        name = row.get("name")
        if isinstance(name, bool) or not isinstance(name, str | int) or not str(name).strip():
            reasons.append(f"{where} has the name {shown(name)} ({kind(name)}); a text is expected")
        elif categories.setdefault(key, str(name)) != str(name):
            reasons.append(f"{where} names id {key} {name!r}, which another row names otherwise; its rows are left out")
            categories[key] = None
    return categories, reasons


def _image_rows(table: list[Any], path: str) -> tuple[dict[Id, CocoImage], list[str]]:
    images: dict[Id, CocoImage] = {}
    reasons = []
    shared: set[Id] = set()
    sizes: dict[str, tuple[int, int] | None] = {}
    for number, row in enumerate(table):
        where = f"images[{number}]"
        try:
            key = id_of(row, "id", where)
            image = CocoImage(_file_name(row, where), _size(row, path), row, ())
        except BadItem as error:
            reasons.append(error.reason if error.reason.startswith(where) else f"{where}: {error.reason}")
            continue
        name = image.file_name
        if key in images and images[key].file_name != name:
            reasons.append(f"{where} ({name}) has the id {key} of {images[key].file_name}; rows of it join neither")
            shared.add(key)
        elif sizes.setdefault(name, image.size) != image.size:
            reasons.append(f"{where} gives {name} another size than a row before; the image was left out")
            shared.update(other for other, one in images.items() if one.file_name == name)
        else:
            images.setdefault(key, image)
    lost = sorted(shared & images.keys(), key=str)
    reasons += [f"image {images[key].file_name} (id {key}) is left out: another row contradicts it" for key in lost]
    return {key: image for key, image in images.items() if key not in shared}, reasons


def _file_name(row: dict[str, Any], where: str) -> str:
    name = row.get("file_name") or row.get("filename")
    if isinstance(name, str) and name.strip():
        return name
    if name is None:
        raise BadItem(f"{where} has no file_name")
    raise BadItem(f"{where} has the file_name {shown(name)} ({kind(name)}); a text is expected")


def _size(row: dict[str, Any], path: str) -> tuple[int, int] | None:
    if row.get("width") is None or row.get("height") is None:
        return None
    size = integer(row["width"], "width", path), integer(row["height"], "height", path)
    return size if min(size) > 0 else None
