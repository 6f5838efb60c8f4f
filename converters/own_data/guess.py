"""What a folder of a stranger's data is: its format, splits and classes, as a description that has been tried.

File names and the first label files suggest a few descriptions; each is then read by the converter that would build it,
and the one under which most images are understood is told, with what was seen. Nothing is written and no image is
opened. What a file cannot say (the sensor, the licence) is said to be assumed.
"""

from __future__ import annotations

import os
import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from converters import catalog
from converters.formats.coco import parse_coco
from converters.formats.folders import SPLIT_WORDS
from converters.formats.llava import parse_llava
from converters.formats.text import decode, read_bytes
from converters.formats.voc import parse_voc
from converters.formats.yolo import read_class_names
from converters.own_data.converter import Generic
from converters.own_data.description import DESCRIPTION_NAME, SPLIT, DescribedSet, Description
from mmrs.errors import BadItem, UserError
from mmrs.imaging.suffixes import SOURCE_SUFFIXES
from mmrs.source import JUNK_FOLDERS, Absent
from mmrs.storage.plain_files import reading_below

_WORDS_OF_SPLITS = tuple(word for words in SPLIT_WORDS.values() for word in words)
_IN_NAME = re.compile(r"(?<![a-z])(train|val|valid|validation|test)(?![a-z])")
_MOST_FILES, _MOST_LOOKED_AT, _TRIED = 2_000_000, 300, 25
_MOST_JSON_BYTES = 2**30
_CLASS_FILES = ("data.yaml", "dataset.yaml", "classes.txt", "obj.names", "labels.txt")
_FRACTIONS = {5: "yolo", 9: "yolo-obb"}


@dataclass(frozen=True, slots=True)
class Guess:
    """A description that was tried, and the images that it finds by split.

    `understood` is the share of the labels tried that could be read, `paired` that of labels and images which belong
    together; `evidence` is what suggested it, in sentences.
    """

    description: Mapping[str, Any]
    images: Mapping[str, int]
    understood: float
    paired: float
    evidence: tuple[str, ...]

    def render(self, root: Path) -> str:
        """The description file, the evidence, and the commands that work once the file is there."""
        path = root / DESCRIPTION_NAME
        option = shlex.quote(f"description={path}")
        text = yaml.safe_dump(dict(self.description), sort_keys=False, allow_unicode=True)
        found = ", ".join(f"{split} {count:,}" for split, count in self.images.items())
        lines = [f"# {path}", text.rstrip(), ""]
        lines += [f"evidence: {sentence}" for sentence in self.evidence]
        lines.append(f"evidence: images {found}; {self.understood:.0%} of those tried were understood")
        lines.append("assumed: the sensor (optical); the licence is unknown: write what you know of both")
        lines.append(f"next: write the description to {path}, then")
        lines.append(f"next: `{shlex.join(['mmrs', 'scan', 'generic', str(root), '--option'])} {option}`")
        build = shlex.join(["mmrs", "build", "generic", "--root", f"generic={root}", "--option"])
        lines.append(f"next: `{build} {option} --out DIR`")
        return "\n".join(lines)


def guess_description(root: Path) -> Guess:
    """The description under which most of what is under `root` is understood.

    Raises:
        UserError: none is; says what was seen.
    """
    with reading_below(root):
        seen = _survey(root)
        tried = [guess for candidate in _candidates(root, seen) if (guess := _try(root, *candidate)) is not None]
    if not tried:
        raise UserError(f"{root}: nothing that a description can read was recognised. {_seen_text(root, seen)}")
    return max(tried, key=_worth)


@dataclass(frozen=True, slots=True)
class _Group:
    """Files of one kind in folders that differ in the word of a split only: split (or "") -> its paths."""

    template: str
    paths: Mapping[str, tuple[str, ...]]

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(word for word in _WORDS_OF_SPLITS if word in self.paths)

    def some(self) -> list[str]:
        """A few paths of every split."""
        share = _MOST_LOOKED_AT // len(self.paths)
        return [path for paths in self.paths.values() for path in paths[:share]]


def _survey(root: Path) -> dict[str, tuple[_Group, ...]]:
    """Suffix (``image`` for all images) -> groups of the files below the root, by folder; JSON files by name."""
    found: dict[str, dict[str, dict[str, list[str]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for path in _files(root):
        folder, _, name = path.rpartition("/")
        suffix = os.path.splitext(name)[1].lower()
        kind = "image" if suffix in SOURCE_SUFFIXES else suffix
        template, split = _templated(path) if kind == ".json" else _templated_folder(folder)
        found[kind][template][split].append(path)
    return {
        kind: tuple(
            _Group(template, {split: tuple(paths) for split, paths in sorted(by_split.items())})
            for template, by_split in sorted(groups.items())
        )
        for kind, groups in found.items()
    }


def _files(root: Path) -> Iterator[str]:
    count = 0
    for place, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name.lower() not in JUNK_FOLDERS)
        for name in sorted(names):
            if not name.startswith("."):
                count += 1
                if count > _MOST_FILES:
                    return
                yield Path(place, name).relative_to(root).as_posix()


def _templated_folder(folder: str) -> tuple[str, str]:
    parts = folder.split("/") if folder else ["."]
    for position, part in enumerate(parts):
        if part in _WORDS_OF_SPLITS:
            return "/".join([*parts[:position], SPLIT, *parts[position + 1 :]]), part
    return "/".join(parts), ""


def _templated(path: str) -> tuple[str, str]:
    """A JSON file's path with the word of a split, in a folder or in its name, replaced."""
    folder, _, name = path.rpartition("/")
    template, split = _templated_folder(folder) if folder else ("", "")
    if split:
        return f"{template}/{name}", split
    if match := _IN_NAME.search(name):
        name = name[: match.start()] + SPLIT + name[match.end() :]
        split = match[1]
    return f"{folder}/{name}" if folder else name, split


Candidate = tuple[dict[str, Any], tuple[str, ...], tuple[str, ...]]
"""A description without its images, the templates of images to try, and what was seen."""


def _candidates(root: Path, seen: Mapping[str, Sequence[_Group]]) -> Iterator[Candidate]:
    folders = _image_folders(seen)
    for group in seen.get(".json", ()):
        if known := _json_kind(root, group):
            yield {**known[0], "annotations": group.template, **_splits(group)}, folders, known[1]
    for suffix, kind in ((".xml", _xml_kind), (".txt", _txt_kind)):
        for group in seen.get(suffix, ()):
            if known := kind(root, group):
                yield {**known[0], "annotations": group.template, **_splits(group)}, folders, known[1]
    yield from _class_folders(seen)


def _image_folders(seen: Mapping[str, Sequence[_Group]]) -> tuple[str, ...]:
    """Templates of folders with images, and of the folders above these, deepest first."""
    templates: dict[str, None] = {}
    for group in seen.get("image", ()):
        parts = group.template.split("/")
        for depth in range(len(parts), 0, -1):
            templates["/".join(parts[:depth])] = None
    templates["."] = None
    return tuple(templates)[:_TRIED]


def _splits(group: _Group) -> dict[str, Any]:
    return {"splits": list(group.splits) or ["train"]}


def _json_kind(root: Path, group: _Group) -> tuple[dict[str, Any], tuple[str, ...]] | None:
    path = root / next(iter(group.paths.values()))[0]
    if path.stat().st_size > _MOST_JSON_BYTES:
        return None
    with suppress(BadItem):
        coco = parse_coco(read_bytes(path), str(path))
        labels = sorted({label for label in coco.categories.values() if label})
        return {"format": "coco", "classes": labels}, (f"{path} has the tables of COCO, {len(labels)} categories",)
    with suppress(BadItem):
        parse_llava(read_bytes(path), str(path))
        return {"format": "llava"}, (f"{path} has conversations as LLaVA's training reads them",)
    return None


def _xml_kind(root: Path, group: _Group) -> tuple[dict[str, Any], tuple[str, ...]] | None:
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


def _txt_kind(root: Path, group: _Group) -> tuple[dict[str, Any], tuple[str, ...]] | None:
    kinds: Counter[str] = Counter()
    labels: Counter[str] = Counter()
    for path in group.some():
        with suppress(BadItem):
            for line in decode(read_bytes(root / path), path).splitlines()[:200]:
                if known := _line_kind(line):
                    kinds[known[0]] += 1
                    labels[known[1]] += 1
    if not kinds:
        return None
    kind, count = kinds.most_common(1)[0]
    said = f"{count} of {kinds.total()} lines in {group.template} that were looked at have the form of {kind}"
    if kind == "dota":
        return {"format": kind, "classes": sorted(labels)}, (said,)
    names, where = _yolo_names(root, max((int(label) for label in labels if label.isdecimal()), default=0))
    return {"format": kind, "classes": names}, (said, where)


def _line_kind(line: str) -> tuple[str, str] | None:
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


def _yolo_names(root: Path, most: int) -> tuple[list[str], str]:
    for name in _CLASS_FILES:
        for path in (root / name, *sorted(root.glob(f"*/{name}"))):
            with suppress(BadItem, UserError, OSError):
                names = list(read_class_names(path))
                if len(names) > most:
                    return names, f"the names of the classes are those of {path}"
    return [f"class {number}" for number in range(most + 1)], "no file of class names was found: write them yourself"


def _class_folders(seen: Mapping[str, Sequence[_Group]]) -> Iterator[Candidate]:
    above: dict[str, list[_Group]] = defaultdict(list)
    for group in seen.get("image", ()):
        folder, slash, label = group.template.rpartition("/")
        if label not in (SPLIT, "."):
            above[folder if slash else "."].append(group)
    for folder, groups in above.items():
        if len(groups) > 1:
            splits = [word for word in _WORDS_OF_SPLITS if any(word in group.splits for group in groups)]
            labels = [group.template.rpartition("/")[2] for group in groups]
            known = {"format": "folders", "splits": splits or ["train"], "classes": labels}
            yield known, (folder,), (f"{len(groups)} folders with images and no labels lie beside each other",)


def _try(root: Path, known: dict[str, Any], folders: Sequence[str], evidence: tuple[str, ...]) -> Guess | None:
    """The best of the folders of images, None where none of them is read."""
    best: Guess | None = None
    for folder in folders:
        content = {"name": _name(root), "format": known["format"], "sensor": "optical", "images": folder, **known}
        guess = _read_with(root, content, evidence)
        if guess is not None and (best is None or _worth(guess) > _worth(best)):
            best = guess
    return best


def _worth(guess: Guess) -> float:
    return sum(guess.images.values()) * guess.understood * guess.paired


def _read_with(root: Path, content: dict[str, Any], evidence: tuple[str, ...]) -> Guess | None:
    try:
        description = Description.model_validate(content)
    except ValidationError:
        return None
    path = root / DESCRIPTION_NAME
    described = DescribedSet(path, description, description.facts(catalog.facts("generic")), path)
    source = replace(Generic(), description=described)
    images: dict[str, int] = {}
    good = tried = bad = labelled = 0
    placed: set[str] = set()
    for split in description.splits:
        try:
            found = source.discover(root, split)
        except UserError:
            return None
        bad += sum(not isinstance(problem, Absent) for problem in (*found.problems, *found.shared_problems))
        images[split] = len(found.items)
        own = {str(item.image) for item in found.items}
        if own & placed:
            # The folder of all splits, not that of each.
            return None
        placed |= own
        labelled += sum(bool(item.annotations or item.payload) for item in found.items)
        for item in found.items[:_TRIED]:
            tried += 1
            with suppress(BadItem):
                known = source.read(item)
                good += not known.unread
    if not good or not labelled:
        return None
    return Guess(content, images, good / tried, labelled / (labelled + bad), evidence)


def _name(root: Path) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", root.resolve().name.lower()).strip("-") or "my-data"
    return f"my-{name}" if name in catalog.names() else name


def _seen_text(root: Path, seen: Mapping[str, Sequence[_Group]]) -> str:
    """What lies there, for a person; tables are named with their columns, since no description reads them."""
    counts = {
        kind: sum(len(paths) for group in groups for paths in group.paths.values()) for kind, groups in seen.items()
    }
    listed = ", ".join(f"{count} {kind or 'other'} files" for kind, count in sorted(counts.items())) or "nothing"
    said = [f"Seen: {listed}."]
    if "image" not in seen:
        said.append("There is no image, and labels alone are not read.")
    for kind in (".parquet", ".csv"):
        for group in seen.get(kind, ())[:3]:
            path = root / next(iter(group.paths.values()))[0]
            columns = ", ".join(_columns(path)[:12]) or "columns that cannot be read"
            said.append(f"{path} is a table of {columns}; no description reads tables.")
    return " ".join(said)


def _columns(path: Path) -> list[str]:
    if path.suffix.lower() == ".csv":
        with suppress(BadItem):
            return decode(read_bytes(path)[: 2**16], str(path)).partition("\n")[0].split(",")
        return []
    import pyarrow
    import pyarrow.parquet

    try:
        return list(pyarrow.parquet.read_schema(path).names)
    except (OSError, pyarrow.ArrowException):
        return []
