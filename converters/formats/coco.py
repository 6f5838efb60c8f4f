"""COCO detection JSON and its dialects: ``annotation`` for ``annotations``, ``filename`` for ``file_name``.

Rows are joined by image id inside one file only: ids restart or collide between the split files of many sources.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from converters.formats.text import finite, integer, parse_json, read_bytes, shown
from mmrs.errors import BadItem


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
    """One COCO file: images in file order, `categories` id -> name, `problems` (path, reason) of rows left out."""

    images: tuple[CocoImage, ...]
    categories: dict[int, str]
    problems: tuple[tuple[str, str], ...]


def read_coco(path: Path) -> CocoFile:
    """Read one COCO file. Raises `BadItem` when the file as a whole cannot be used."""
    return parse_coco(read_bytes(path), str(path))


def parse_coco(data: bytes, path: str) -> CocoFile:
    """Parse the bytes of one COCO file; `path` names it in errors.

    A row that cannot be used (no id, an id or file name used before, an annotation of no image) is left out and listed
    in `problems`; the first row of an id wins.

    Raises:
        BadItem: not JSON, or not the tables of a COCO file.
    """
    tables = parse_json(data, path)
    if not isinstance(tables, dict):
        raise BadItem(f"top level is a {type(tables).__name__}, an object with images and annotations expected", path)
    annotation_key = _annotation_key(tables, path)
    categories, bad_categories = _categories(_table(tables, "categories", path))
    images, bad_images = _image_rows(_table(tables, "images", path), path)
    rows, bad_rows = _joined(_table(tables, annotation_key, path), annotation_key, set(images), categories)
    found = tuple(replace(image, rows=tuple(rows[image_id])) for image_id, image in images.items())
    return CocoFile(found, categories, tuple((path, reason) for reason in (*bad_categories, *bad_images, *bad_rows)))


def known_category(row: dict[str, Any], path: str) -> str:
    """The category name of an annotation row. Raises `BadItem` where the file's category table lacks its id."""
    label = row.get("label")
    if label is None:
        raise BadItem(f"annotation {shown(row.get('id'))} has a category id that the file lacks", path)
    return str(label)


def bbox(row: dict[str, Any], length: int, path: str) -> tuple[float, ...]:
    """The `length` finite numbers of an annotation row's ``bbox``. Raises `BadItem` naming the annotation."""
    values = row.get("bbox")
    what = f"bbox of annotation {shown(row.get('id'))}"
    if not isinstance(values, list) or len(values) != length:
        raise BadItem(f"{what} is {shown(values)}, {length} numbers are expected", path)
    return tuple(finite(value, what, path) for value in values)


def _joined(
    table: list[Any], key: str, images: set[int], categories: dict[int, str]
) -> tuple[dict[int, list[dict[str, Any]]], list[str]]:
    """Annotation rows by image id, and why the others were left out."""
    reasons = []
    joined: dict[int, list[dict[str, Any]]] = {image_id: [] for image_id in images}
    used: set[int] = set()
    for number, row in enumerate(table):
        where = f"{key}[{number}]"
        image_id = _id(row, "image_id")
        if image_id is None or not isinstance(row, dict):
            reasons.append(f"{where} has no image_id")
        elif image_id not in images:
            reasons.append(f"{where} (id {shown(row.get('id'))}) names image {image_id}, which the file lacks")
        elif (own := _id(row, "id")) is not None and own in used:
            reasons.append(f"{where} repeats annotation id {own}; the first one was kept")
        else:
            used.update(() if own is None else (own,))
            category = _id(row, "category_id")
            joined[image_id].append({**row, "label": None if category is None else categories.get(category)})
    return joined, reasons


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


def _id(row: object, key: str) -> int | None:
    value = row.get(key) if isinstance(row, dict) else None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _categories(table: list[Any]) -> tuple[dict[int, str], list[str]]:
    categories: dict[int, str] = {}
    reasons = []
    for number, row in enumerate(table):
        key = _id(row, "id")
        name = row.get("name") if isinstance(row, dict) else None
        if key is None or not isinstance(name, str | int) or key in categories:
            reasons.append(f"categories[{number}] has no id or name of its own")
        else:
            categories[key] = str(name)
    return categories, reasons


def _image_rows(table: list[Any], path: str) -> tuple[dict[int, CocoImage], list[str]]:
    images: dict[int, CocoImage] = {}
    reasons = []
    names: set[str] = set()
    for number, row in enumerate(table):
        key = _id(row, "id")
        name = (row.get("file_name") or row.get("filename")) if isinstance(row, dict) else None
        if key is None or not isinstance(name, str):
            reasons.append(f"images[{number}] has no id or no file name")
        elif key in images:
            reasons.append(f"images[{number}] ({name}) repeats image id {key} of {images[key].file_name}")
        elif name in names:
            reasons.append(f"images[{number}] repeats file name {name}")
        else:
            try:
                images[key] = CocoImage(name, _size(row, path), row, ())
                names.add(name)
            except BadItem as error:
                reasons.append(f"images[{number}] ({name}): {error.reason}")
    return images, reasons


def _size(row: dict[str, Any], path: str) -> tuple[int, int] | None:
    if row.get("width") is None or row.get("height") is None:
        return None
    size = integer(row["width"], "width", path), integer(row["height"], "height", path)
    return size if min(size) > 0 else None
