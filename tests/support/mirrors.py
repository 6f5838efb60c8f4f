"""Fakes of known copies on the Hub, in the schemas that their pages state, with the features that `datasets` writes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import converters
from mmrs.record import Annotations
from mmrs.source import Item
from tests.support.tables import IMAGE

ROOT_FILES = {
    "README.md": "---\nlicense: other\n---\n",
    ".gitattributes": "*.parquet filter=lfs diff=lfs merge=lfs -text\n",
    "dataset_infos.json": "{}",
}


def value(dtype: str) -> dict[str, Any]:
    """A plain column, as `datasets` states it."""
    return {"dtype": dtype, "_type": "Value"}


def listed(feature: Any) -> dict[str, Any]:
    """A column of lists."""
    return {"feature": feature, "_type": "List"}


PICTURE: dict[str, Any] = {"_type": "Image"}
TEXT, TEXTS = value("string"), listed(value("string"))
CAPTION_FEATURES: dict[str, dict[str, Any]] = {
    "arampacha/rsicd": {"filename": TEXT, "captions": TEXTS, "image": PICTURE},
    "danielz01/rsicd": {
        "image": PICTURE,
        "path": TEXT,
        "img_id": value("int64"),
        "land_cover": TEXT,
        "captions": TEXTS,
        "caption_ids": listed(value("int64")),
    },
}
EARTHDIAL_FEATURES = {"jpg": PICTURE, "question": TEXT, **{f"groundtruth{number}": TEXT for number in range(5)}}
QUESTION_FEATURES = {"image": PICTURE, "question": TEXT, "answer": TEXT}
RSVG_FEATURES: dict[str, Any] = {
    "image": PICTURE,
    "path": TEXT,
    "objects": {
        "bbox": listed(listed(value("int32"))),
        "captions": TEXTS,
        "categories": TEXTS,
        "categories_normalized": TEXTS,
    },
}


def arrow_type(feature: Mapping[str, Any]) -> pa.DataType:
    """The type in which `datasets` stores a feature."""
    kind = feature.get("_type")
    if kind == "Image":
        return IMAGE
    if kind == "ClassLabel":
        return pa.int64()
    if kind == "List":
        return pa.list_(arrow_type(feature["feature"]))
    if kind == "Value":
        return pa.type_for_alias(feature["dtype"])
    return pa.struct([(name, arrow_type(inner)) for name, inner in feature.items()])


def read_source(name: str, root: Path, split: str, **options: Any) -> dict[str, tuple[Item, Annotations]]:
    """Stem -> item and annotations, as a source reads a split."""
    source = converters.get(name, **options)
    return {item.stem: (item, source.read(item)) for item in source.discover(root, split).items}


def write_copy(root: Path, features: Mapping[str, Any], rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> Path:
    """A repository: ``data/<word>-00000-of-00001.parquet`` for the rows of each word, and the files beside them."""
    (root / "data").mkdir(parents=True)
    for name, text in ROOT_FILES.items():
        (root / name).write_text(text)
    schema = pa.schema(
        [(name, arrow_type(feature)) for name, feature in features.items()],
        {"huggingface": json.dumps({"info": {"features": features}})},
    )
    for word, same in rows.items():
        table = pa.Table.from_pylist(list(same), schema)
        pq.write_table(table, root / f"data/{word}-00000-of-00001.parquet", row_group_size=100)
    return root


def captions_copy(repo: str, source: Path, root: Path, words: Mapping[str, str]) -> Path:
    """RSICD below `source` as the copy `repo` holds it; `words` are the beginnings of its tables by split."""
    features = CAPTION_FEATURES[repo]
    rows: dict[str, list[dict[str, Any]]] = {}
    for split, word in words.items():
        found = converters.get("rsicd").discover(source, split).items
        rows[word] = [{name: _caption_cell(name, item) for name in features} for item in reversed(found)]
    return write_copy(root, features, rows)


def _caption_cell(column: str, item: Item) -> Any:
    cells = {
        "image": lambda: {"bytes": item.file.read_bytes(), "path": None},
        "filename": lambda: f"rsicd_images/{item.file.name}",
        "path": lambda: item.file.name,
        "captions": lambda: item.payload["raw"],
        "img_id": lambda: int(item.payload["image_id"]),
        "land_cover": lambda: item.file.name.partition("_")[0],
        "caption_ids": lambda: [],
    }
    return cells[column]()


def rsvg_copy(source: Path, root: Path) -> Path:
    """DIOR-RSVG below `source` as danielz01/DIOR-RSVG would hold it, had it kept the official splits."""
    rows = {}
    for split in ("train", "val", "test"):
        known = read_source("dior-rsvg", source, split)
        rows[split] = [_rsvg_row(item, read) for item, read in reversed(known.values())]
    return write_copy(root, RSVG_FEATURES, rows)


def _rsvg_row(item: Item, known: Annotations) -> dict[str, Any]:
    boxes = [[*map(round, (obj.hbb[0] + 1, obj.hbb[1] + 1, obj.hbb[2], obj.hbb[3]))] for obj in known.objects]
    labels = [obj.label for obj in known.objects]
    objects = {
        "bbox": boxes,
        "captions": [expression.text for expression in known.expressions],
        "categories": labels,
        "categories_normalized": [label.title() for label in labels],
    }
    return {"image": {"bytes": item.file.read_bytes(), "path": None}, "path": item.file.name, "objects": objects}


def classes_copy(
    source: str,
    folders: Path,
    root: Path,
    words: Sequence[str],
    names: Sequence[str],
    named: bool,
) -> Path:
    """Class folders as a copy of ``image`` and ``label``, and ``image_id`` without suffix where it is `named`.

    `names` are the classes as its card spells them; the scenes of each class are dealt to the `words` in turn.
    """
    converter = converters.get(source)
    features: dict[str, Any] = {"image": PICTURE, "label": {"names": list(names), "_type": "ClassLabel"}}
    if named:
        features["image_id"] = TEXT
    rows: dict[str, list[dict[str, Any]]] = {word: [] for word in words}
    numbers = {converter.form(name): number for number, name in enumerate(names)}
    items = [item for split in converter.splits for item in converter.discover(folders, split).items]
    for place, item in enumerate(sorted(items, key=lambda item: item.stem)):
        row = {
            "image": {"bytes": item.file.read_bytes(), "path": None},
            "label": numbers[converter.form(item.payload["label"])],
        }
        rows[words[place % len(words)]].append(row | ({"image_id": item.file.stem} if named else {}))
    return write_copy(root, features, rows)
