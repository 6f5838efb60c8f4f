"""What the columns of a table mean, by their names and types: candidates for descriptions of CSV and Parquet tables.

A column of numbers is never a class by its looks alone, and the order of a box's numbers is told from many boxes; what
is assumed is said as evidence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from converters.formats.csv_table import CsvTable, read_csv_table
from converters.formats.folders import normal_form, split_of_word
from converters.formats.text import NUMBER, listed_names
from converters.mirrors.cells import column_classes, read_table_cells, table_schema
from converters.mirrors.columns import holds_bytes
from converters.own_data.guess.survey import FileGroup
from mmrs.errors import BadItem

_MOST_CSV_BYTES = 2**28
_MOST_ROWS, _MOST_CLASSES = 5_000, 1_000
_LEAST_BOXES = 3
_IMAGES = (
    *("filename", "file", "imagepath", "imagename", "image", "imageid", "imgname", "img", "imgpath"),
    *("path", "filepath", "name", "id"),
)
_CLASSES = ("class", "label", "classname", "category", "labelname", "categoryname", "categories", "labels", "classes")
_BOXES = ("bbox", "bboxes", "boxes", "box", "boundingbox")
_SPLITS = ("split", "set", "subset", "partition")
_CAPTION = re.compile(r"(captions?|sentences?|comments?|text|raw|description)\d*")
_EDGES = (
    (("xmin", "x1", "left", "minx", "bboxxmin"), ("ymin", "y1", "top", "miny", "bboxymin")),
    (("xmax", "x2", "right", "maxx", "bboxxmax"), ("ymax", "y2", "bottom", "maxy", "bboxymax")),
)
_SIDES = (("bboxx", "x"), ("bboxy", "y"), ("bboxwidth", "bboxw", "w"), ("bboxheight", "bboxh", "h"))

_Meaning = dict[str, Any]
TableGuess = tuple[dict[str, Any], tuple[str, ...]]
"""The keys of a description that a table says, and what was seen."""


def guess_csv(root: Path, group: FileGroup) -> Iterator[TableGuess]:
    """What the CSV files of a group could be, for each column that may name the images."""
    tables: dict[str, CsvTable] = {}
    for paths in group.paths.values():
        path = root / paths[0]
        if path.stat().st_size > _MOST_CSV_BYTES:
            return
        try:
            tables[str(path)] = read_csv_table(path)
        except BadItem:
            return
    header = next(iter(tables.values())).header
    if any(table.header != header for table in tables.values()):
        return
    cells = [row for table in tables.values() for _, row in table.rows if len(row) == len(header)]
    by_form = _by_form(header)

    def values(column: str) -> list[str]:
        place = header.index(column)
        return [row[place] for row in cells]

    columns, options, said = _meaning(by_form, values)
    if not columns:
        return
    known: dict[str, Any] = {"format": "csv", "columns": columns, "options": options}
    if (named := columns.get("category") or columns.get("label")) is not None:
        known["classes"] = _names(values(named))
        if not known["classes"]:
            return
    if not group.splits and (split := _split_column(by_form, values)) is not None:
        columns["split"], known["splits"] = split
    where = f"{next(iter(tables))} is a table of {listed_names(header)}"
    for column in [by_form[form] for form in _IMAGES if form in by_form][:3]:
        yield known | {"columns": {"image": column, **columns}}, (where, *said)


def _by_form(names: Sequence[str]) -> dict[str, str]:
    """Columns by the normal form of their names; the first of those that share one."""
    found: dict[str, str] = {}
    for name in names:
        found.setdefault(normal_form(name), name)
    return found


def _meaning(by_form: Mapping[str, str], values: Any) -> tuple[_Meaning, dict[str, Any], tuple[str, ...]]:
    """Keys of `columns`, of `options`, and what was assumed; empty where nothing is meant."""
    named = next((by_form[form] for form in _CLASSES if form in by_form), None)
    edges = [_first(by_form, ways) for pair in _EDGES for ways in pair]
    sides = [_first(by_form, ways) for ways in _SIDES]
    one = _first(by_form, _BOXES)
    if named is not None and all(edges):
        return {"boxes": edges, "category": named}, {"box_order": "xyxy"}, ()
    if named is not None and all(sides):
        return {"boxes": sides, "category": named}, {"box_order": "xywh"}, ()
    if named is not None and one is not None:
        order, said = _box_order([NUMBER.findall(text) for text in values(one)[:_MOST_ROWS]])
        return {"boxes": one, "category": named}, {"box_order": order}, (said,)
    return _texts_meant(by_form, list(by_form), named), {}, ()


def _texts_meant(by_form: Mapping[str, str], texts: Sequence[str], named: str | None) -> _Meaning:
    """Captions and questions among the columns of `texts`, and the class of the whole image."""
    columns: _Meaning = {}
    if named is not None:
        columns["label"] = named
    captions = [by_form[form] for form in texts if _CAPTION.fullmatch(form)]
    if captions:
        columns["captions"] = captions[0] if len(captions) == 1 else captions
    pairs = (("question", "answer"), ("questions", "answers"))
    for question, answer in pairs:
        if question in texts and answer in texts:
            columns |= {"question": by_form[question], "answer": by_form[answer]}
            if (kind := _first(by_form, ("questiontype", "type"))) is not None:
                columns["question_type"] = kind
            columns.pop("label", None)
            break
    return columns


def _first(by_form: Mapping[str, str], forms: Sequence[str]) -> str | None:
    return next((by_form[form] for form in forms if form in by_form), None)


def _box_order(boxes: Sequence[Sequence[Any]]) -> tuple[str, str]:
    """The order of the numbers of boxes, and how that was told."""
    fours = [[float(number) for number in box] for box in boxes if len(box) == len(_SIDES)]
    corners = [box for box in fours if box[2] > box[0] and box[3] > box[1]]
    if len(fours) >= _LEAST_BOXES and len(corners) == len(fours):
        return "xyxy", f"in all of {len(fours)} boxes the third number is larger than the first: corners"
    return "xywh", f"in {len(fours) - len(corners)} of {len(fours)} boxes the third number is no second corner: sides"


def _names(cells: Sequence[Any]) -> list[str]:
    """The classes that cells name; none where they are too many to be classes."""
    found = {text.strip() for text in cells if text.strip()}
    return sorted(found) if len(found) <= _MOST_CLASSES else []


def _split_column(by_form: Mapping[str, str], values: Any) -> tuple[str, list[str]] | None:
    column = _first(by_form, _SPLITS)
    words = sorted(set(values(column))) if column is not None else []
    order = ("train", "val", "test")
    if column is None or not words or not all(split_of_word(word) for word in words):
        return None
    return column, sorted(map(str.lower, words), key=lambda word: order.index(split_of_word(word) or "test"))


def guess_row_table(root: Path, group: FileGroup) -> Iterator[TableGuess]:
    """What the Parquet or Arrow tables of a group are, by the schema of the first one and its first rows."""
    path = root / next(iter(group.paths.values()))[0]
    try:
        known = _of_schema(path)
    except BadItem:
        return
    if known is not None:
        columns = known["columns"]
        held = ", ".join(
            f"{key} in {name if isinstance(name, str) else ', '.join(name)}" for key, name in columns.items()
        )
        yield known, (f"{path} has {held}",)


def _of_schema(path: Path) -> dict[str, Any] | None:
    schema = table_schema(path)
    by_form = _by_form(schema.names)
    image = _image_column(schema)
    if image is None:
        return None
    columns: _Meaning = {"image": image}
    options: dict[str, Any] = {}
    if (objects := _objects(schema)) is not None:
        columns |= {"boxes": objects[0], "category": objects[1]}
        boxes = [box for row in _some(path, objects[0]) for box in _fours(row)]
        options["box_order"] = _box_order(boxes)[0]
    texts = [form for form, name in by_form.items() if _has_texts(schema.field(name).type)]
    columns |= _texts_meant(by_form, texts, None if objects else _label_column(path, schema))
    if (turns := _turns(schema)) is not None:
        columns["conversations"] = turns
    if len(columns) == 1:
        return None
    known: dict[str, Any] = {"format": "parquet", "columns": columns, "options": options}
    if (named := columns.get("category") or columns.get("label")) is not None:
        known["classes"] = list(column_classes(path, named) or _names(_flat(_some(path, named))))
    return known


def _some(path: Path, column: str) -> list[Any]:
    return [row.cells[0] for row in islice(read_table_cells(path, "", [column]), _MOST_ROWS)]


def _flat(cells: Any) -> list[str]:
    if isinstance(cells, list):
        return [text for cell in cells for text in _flat(cell)]
    return [] if cells is None else [str(cells)]


def _fours(cell: Any) -> list[list[float]]:
    """The boxes of a cell: lists of numbers, one or several."""
    if not isinstance(cell, list) or not cell:
        return []
    return [cell] if not isinstance(cell[0], list) else [box for part in cell for box in _fours(part)]


def _image_column(schema: pa.Schema) -> str | None:
    """The column of images, the first by its usual names where there are several; else one of names of files."""
    found = [field.name for field in schema if _holds_image(field.type)]
    if found:
        return min(found, key=lambda name: name not in ("image", "img", "jpg", "png"))
    by_form = {normal_form(field.name): field.name for field in schema if _is_text(field.type)}
    return _first(by_form, _IMAGES)


def _holds_image(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        place = kind.get_field_index("bytes")
        return place >= 0 and holds_bytes(kind.field(place).type)
    return holds_bytes(kind)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _has_texts(kind: pa.DataType) -> bool:
    return _is_text(kind) or (pa.types.is_list(kind) and _is_text(kind.value_type))


def _label_column(path: Path, schema: pa.Schema) -> str | None:
    """The column of the image's class: one whose numbers have names, else one of texts that is called so."""
    single = [field for field in schema if pa.types.is_integer(field.type) or _is_text(field.type)]
    stated = [field.name for field in single if column_classes(path, field.name)]
    called = [field.name for form in _CLASSES for field in single if normal_form(field.name) == form]
    return next(iter(stated + called), None)


def _objects(schema: pa.Schema) -> tuple[str, str] | None:
    """The columns of boxes and of their classes, in a struct, in a list of structs or beside each other."""
    for field in schema:
        inner = field.type.value_type if pa.types.is_list(field.type) else field.type
        if pa.types.is_struct(inner):
            names = {normal_form(part.name): f"{field.name}.{part.name}" for part in inner}
            boxes, named = _first(names, _BOXES), _first(names, _CLASSES)
            if boxes and named:
                return boxes, named
    names = {normal_form(field.name): field.name for field in schema if pa.types.is_list(field.type)}
    boxes, named = _first(names, _BOXES), _first(names, _CLASSES)
    return (boxes, named) if boxes and named else None


def _turns(schema: pa.Schema) -> str | None:
    for field in schema:
        inner = field.type.value_type if pa.types.is_list(field.type) else None
        if inner is not None and pa.types.is_struct(inner):
            names = {part.name for part in inner}
            if {"from", "value"} <= names or {"role", "content"} <= names:
                return str(field.name)
    return None
