"""Which descriptions files of labels and class folders suggest: by the first ones of each kind that can be parsed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from converters.formats.coco import parse_coco, parse_coco_captions
from converters.formats.llava import parse_llava
from converters.formats.text import decode, read_bytes
from converters.formats.voc import parse_voc
from converters.formats.yolo import read_class_names
from converters.own_data.description import SPLIT
from converters.own_data.guess.drawn import GEOJSON_SUFFIX, cvat_kind, drawn_json_kind, geojson_kinds, mask_kinds
from converters.own_data.guess.survey import JSON_FOLDERS, WORDS_OF_SPLITS, FileGroup, groups_by_name
from converters.own_data.guess.tables import guess_csv, guess_row_table
from mmrs.errors import BadItem, UserError
from mmrs.row_tables.suffixes import TABLE_SUFFIXES

_MOST_JSON_BYTES = 2**30
# Of files that each could hold the labels of all images.
_MOST_JSON_FILES = 50
_MOST_IMAGE_FOLDERS, _MOST_OTHERS = 25, 8
_CLASS_FILES = ("data.yaml", "dataset.yaml", "classes.txt", "obj.names", "labels.txt")
_FRACTIONS = {5: "yolo", 9: "yolo-obb"}

Candidate = tuple[dict[str, Any], tuple[str, ...], tuple[str, ...]]
"""A description without its images, the templates of images to try, and what was seen."""


def candidates(root: Path, seen: Mapping[str, Sequence[FileGroup]]) -> Iterator[Candidate]:
    """The descriptions that are worth a trial."""
    folders = _image_folders(seen)
    for group in seen.get(".json", ())[:_MOST_JSON_FILES]:
        if known := _json_kind(root, group):
            yield {**known[0], "annotations": group.template, **_splits(group)}, folders, known[1]
    files = ((JSON_FOLDERS, drawn_json_kind), (".xml", _xml_kind), (".txt", _txt_kind))
    named = [(group, cvat_kind) for folder in seen.get(".xml", ()) for group in groups_by_name(folder)]
    for group, kind in [*((group, kind) for suffix, kind in files for group in seen.get(suffix, ())), *named]:
        if known := kind(root, group):
            yield {**known[0], "annotations": group.template, **_splits(group)}, folders, known[1]
    for keys, evidence in mask_kinds(root, seen.get("image", ()), partial(_class_names, root)):
        yield keys, folders, evidence
    for group in seen.get(GEOJSON_SUFFIX, ()):
        for same in (group, *groups_by_name(group)):
            for keys, evidence in geojson_kinds(root, same):
                yield {**keys, "annotations": same.template, **_splits(same)}, folders, evidence
    for group in seen.get(".csv", ()):
        for table, evidence in guess_csv(root, group):
            yield {"annotations": group.template, **_splits(group), **table}, folders, evidence
    tables = [group for suffix in TABLE_SUFFIXES for group in seen.get(suffix, ())]
    for group in tables:
        others = [other.template for other in tables if other is not group][:_MOST_OTHERS]
        told = (f"other tables, each a description of its own: {', '.join(others)}",) if others else ()
        for table, evidence in guess_row_table(root, group):
            yield {"annotations": group.template, **_splits(group), **table}, folders, (*evidence, *told)
    yield from _class_folders(seen)


def _image_folders(seen: Mapping[str, Sequence[FileGroup]]) -> tuple[str, ...]:
    """Templates of folders with images, and of the folders above these, deepest first."""
    templates: dict[str, None] = {}
    for group in seen.get("image", ()):
        parts = group.template.split("/")
        for depth in range(len(parts), 0, -1):
            templates["/".join(parts[:depth])] = None
    templates["."] = None
    return tuple(templates)[:_MOST_IMAGE_FOLDERS]


def _splits(group: FileGroup) -> dict[str, Any]:
    return {"splits": list(group.splits) or ["train"]}


def _json_kind(root: Path, group: FileGroup) -> tuple[dict[str, Any], tuple[str, ...]] | None:
    path = root / next(iter(group.paths.values()))[0]
    if path.stat().st_size > _MOST_JSON_BYTES:
        return None
    with suppress(BadItem):
        captioned = sum(bool(image.rows) for image in parse_coco_captions(read_bytes(path), str(path)).images)
        return {"format": "coco-captions"}, (f"{path} has the tables of COCO's captions, of {captioned} images",)
    with suppress(BadItem):
        coco = parse_coco(read_bytes(path), str(path))
        labels = sorted({label for label in coco.categories.values() if label})
        return {"format": "coco", "classes": labels}, (f"{path} has the tables of COCO, {len(labels)} categories",)
    with suppress(BadItem):
        parse_llava(read_bytes(path), str(path))
        return {"format": "llava"}, (f"{path} has conversations as LLaVA's training reads them",)
    return None


def _xml_kind(root: Path, group: FileGroup) -> tuple[dict[str, Any], tuple[str, ...]] | None:
    labels: Counter[str] = Counter()
    read = 0
    paths = group.some()
    for path in paths:
        with suppress(BadItem):
            voc = parse_voc(read_bytes(root / path), path)
            labels.update(thing.label for thing in voc.objects)
            read += 1
    if not labels or read * 2 < len(paths):
        return None
    said = f"{read} of {len(paths)} XML files in {group.template} that were looked at are PASCAL VOC's"
    return {"format": "voc", "classes": sorted(labels)}, (said,)


def _txt_kind(root: Path, group: FileGroup) -> tuple[dict[str, Any], tuple[str, ...]] | None:
    kinds: Counter[str] = Counter()
    labels: Counter[str] = Counter()
    for path in group.some():
        with suppress(BadItem):
            for line in decode(read_bytes(root / path), path).splitlines()[:200]:
                if known := line_kind(line):
                    kinds[known[0]] += 1
                    labels[known[1]] += 1
    if not kinds:
        return None
    kind, count = kinds.most_common(1)[0]
    said = f"{count} of {kinds.total()} lines in {group.template} that were looked at have the form of {kind}"
    if kind == "dota":
        return {"format": kind, "classes": sorted(labels)}, (said,)
    names, where = _class_names(root, max((int(label) for label in labels if label.isdecimal()), default=0))
    return {"format": kind, "classes": names}, (said, where)


def line_kind(line: str) -> tuple[str, str] | None:
    """The format that a line of labels has, and its class; None for a line of another kind."""
    words = line.split()
    with suppress(ValueError):
        is_indexed = len(words) in _FRACTIONS and words[0].isdecimal() and len(words[0]) < 6
        if is_indexed and all(-0.01 <= float(word) <= 1.01 for word in words[1:]):
            return _FRACTIONS[len(words)], words[0]
        if len(words) in (9, 10) and not _is_number(words[8]):
            corners = [float(word) for word in words[:8]]
            return ("dota", words[8]) if max(corners) > 1 else None
    return None


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _class_names(root: Path, most: int) -> tuple[list[str], str]:
    for name in _CLASS_FILES:
        for path in (root / name, *sorted(root.glob(f"*/{name}"))):
            with suppress(BadItem, UserError, OSError):
                names = list(read_class_names(path))
                if len(names) > most:
                    return names, f"the names of the classes are those of {path}"
    return [f"class {number}" for number in range(most + 1)], "no file of class names was found: write them yourself"


def _class_folders(seen: Mapping[str, Sequence[FileGroup]]) -> Iterator[Candidate]:
    above: dict[str, list[FileGroup]] = defaultdict(list)
    for group in seen.get("image", ()):
        folder, slash, label = group.template.rpartition("/")
        if label not in (SPLIT, "."):
            above[folder if slash else "."].append(group)
    for folder, groups in above.items():
        if len(groups) > 1:
            splits = [word for word in WORDS_OF_SPLITS if any(word in group.splits for group in groups)]
            labels = [group.template.rpartition("/")[2] for group in groups]
            known = {"format": "folders", "splits": splits or ["train"], "classes": labels}
            yield known, (folder,), (f"{len(groups)} folders with images and no labels lie beside each other",)
