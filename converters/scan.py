"""Scan: what of a source is on disk, what is missing, how it compares with the published counts, what to do next."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

import converters
from converters.base import LayoutComparer
from converters.layout import Problem, packed
from converters.wrong_folder import explain, reads, reads_as
from mmrs.builder.survey.unread_files import Unread, find_unread
from mmrs.engines.garbage import rare_collections
from mmrs.errors import BadItem, UserError
from mmrs.progress import Progress
from mmrs.record import Annotations
from mmrs.source import Discovery, Item, read_block, without_strange_names
from mmrs.storage.plain_files import folders_stay, reading_below
from mmrs.text import table

_SHOWN_PROBLEMS = 5
_ITEMS_TOGETHER = 64
_OF_SCENES = (
    "images and objects are those of whole scenes; a build counts the tiles that it cuts, and the objects of each"
)


@dataclass(frozen=True, slots=True)
class SplitScan:
    """One split on disk. `published_*` is None where nothing was published; `problems` are (path, reason).

    `images`, `objects` (those that are not ignored) and `captions` are what a build of the split will count. Published
    numbers of objects have the ignored ones too.
    The first split that is there has the findings about the whole set too.
    """

    split: str
    images: int
    objects: int
    ignored_objects: int
    captions: int
    questions: int
    categories: dict[str, int]
    published_images: int | None
    published_objects: int | None
    published_captions: int | None
    published_questions: int | None
    problems: tuple[tuple[str, str], ...]

    @property
    def is_whole(self) -> bool:
        """Whether nothing is known to be missing: no problem, and no count below the published one."""
        counts = (
            (self.images, self.published_images),
            (self.objects + self.ignored_objects, self.published_objects),
            (self.captions, self.published_captions),
            (self.questions, self.published_questions),
        )
        return not self.problems and all(published is None or found >= published for found, published in counts)


@dataclass(frozen=True, slots=True)
class Scan:
    """A scanned source, read with `options`; `recipe` is the name that `mmrs build` takes for it.

    `absent` splits have the reason why they could not be read; `packed` are commands that unpack archives beside the
    data, where anything is missing; `unread` is what no split looked at.
    """

    source: str
    recipe: str
    root: str
    options: dict[str, Any]
    splits: tuple[SplitScan, ...]
    absent: dict[str, str]
    notes: tuple[str, ...]
    packed: tuple[str, ...] = ()
    evaluation_only: bool = False
    unread: Unread = field(default_factory=Unread)

    def render(self, as_json: bool) -> str:
        """Text for a person, or JSON with everything."""
        if as_json:
            # orjson refuses names that are no UTF-8; here they stay as they are until they are printed.
            return json.dumps(asdict(self), ensure_ascii=False, indent=2, sort_keys=True, allow_nan=False)
        rows = [
            (
                part.split,
                _against(part.images, part.published_images),
                _objects(part),
                part.ignored_objects,
                _against(part.captions, part.published_captions),
                _against(part.questions, part.published_questions),
                len(part.problems),
            )
            for part in self.splits
        ]
        lines = [f"{self.source} in {self.root}"]
        lines.append(table(("split", "images", "objects", "ignored", "captions", "questions", "problems"), rows))
        categories: Counter[str] = Counter()
        for part in self.splits:
            categories.update(part.categories)
        if categories:
            lines.append("classes: " + ", ".join(f"{name} {count}" for name, count in sorted(categories.items())))
        lines += [f"note: {note}" for note in self.notes]
        if self.evaluation_only:
            lines.append("note: the source is for evaluation only; no build has a split train of it")
        lines += self.unread.lines()
        lines += [f"missing: {split}: {reason}" for split, reason in self.absent.items()]
        lines += [f"packed: {command}" for command in self.packed]
        for part in self.splits:
            lines += [f"problem: {path}: {reason}" for path, reason in part.problems[:_SHOWN_PROBLEMS]]
            if len(part.problems) > _SHOWN_PROBLEMS:
                lines.append(f"         ... and {len(part.problems) - _SHOWN_PROBLEMS} more in {part.split} (--json)")
        lines.append(f"next: {self._next()}")
        return "\n".join(lines)

    def _next(self) -> str:
        """The build of what is there: the options of this scan, and the splits that are not absent."""
        words = ["mmrs", "build", self.recipe, "--root", shlex.quote(f"{self.recipe}={self.root}")]
        for name, value in self.options.items():
            words += ["--option", shlex.quote(f"{name}={value}")]
        if self.absent:
            present = [part.split for part in self.splits if part.split != "train" or not self.evaluation_only]
            if not present:
                return f"get {', '.join(self.absent)}, without which there is nothing to build"
            words += ["--set", shlex.quote(f"sources.0.splits=[{', '.join(present)}]")]
        return f"`{' '.join([*words, '--out', 'DIR'])}`"


def _objects(part: SplitScan) -> str:
    """Objects that count, as a build has them. What is published has those that are ignored too."""
    if part.published_objects is None or not part.ignored_objects:
        return _against(part.objects, part.published_objects)
    with_ignored = part.objects + part.ignored_objects
    share = "as published" if with_ignored == part.published_objects else f"{with_ignored} of {part.published_objects}"
    return f"{part.objects} ({share} with ignored)"


def _against(found: int, published: int | None) -> str:
    if published is None:
        return str(found)
    return f"{found} of {published}" if found != published else f"{found} (as published)"


def scan_source(
    name: str, root: Path, options: Mapping[str, Any], progress: Progress, follow_links: bool = False
) -> Scan:
    """Discover every split and parse every annotation; no image is opened.

    Links may lead out of `root` with `follow_links` alone.

    Raises:
        UserError: unknown source or option, or no split of the source is under `root`.
    """
    with reading_below(root, follow_links), folders_stay(), rare_collections():
        return _scan_source(name, root, options, progress)


def _scan_source(name: str, root: Path, options: Mapping[str, Any], progress: Progress) -> Scan:
    source = converters.get(name, **options)
    splits: list[SplitScan] = []
    notes: list[str] = []
    absent: dict[str, UserError] = {}
    looked_at: list[str] = []
    for split in source.splits_in(root):
        try:
            found = without_strange_names(source.discover(root, split), root)
        except UserError as error:
            absent[split] = error
            continue
        notes += [note for note in found.notes if note not in notes]
        looked_at += found.looked_at()
        shared = () if splits else found.shared_problems
        splits.append(_scan_split(source, split, found, shared, progress))
    if not splits:
        raise explain(next(iter(absent.values())), source, root, source.splits)
    if source.tiling is not None:
        notes.append(_OF_SCENES)
    notes += _other_source(source, root, splits)
    whole = not absent and all(part.is_whole for part in splits)
    archives = () if whole else packed(root)
    return Scan(
        source=source.name,
        recipe=name,
        root=str(root),
        options=dict(options),
        splits=tuple(splits),
        absent={split: str(error) for split, error in absent.items()},
        notes=tuple(notes),
        packed=archives,
        evaluation_only=source.facts.evaluation_only,
        unread=find_unread(root, looked_at),
    )


def _other_source(source: converters.Converter, root: Path, splits: Sequence[SplitScan]) -> list[str]:
    """A note where another source understands what this one does not."""
    found = [part.split for part in splits]
    few = sum(part.images for part in splits) < sum(len(part.problems) for part in splits)
    if not few or reads(source, root, found) or not (others := reads_as(root, source.key)):
        return []
    return [f"this is no {source.name}; `mmrs scan {others[0]} {shlex.quote(str(root))}` reads it"]


def _scan_split(
    source: converters.Converter, split: str, found: Discovery, shared: Sequence[Problem], progress: Progress
) -> SplitScan:
    problems = [*found.problems, *found.unread_rows, *found.details, *shared]
    counts: Counter[str] = Counter()
    categories: Counter[str] = Counter()
    with progress.stage(f"scan {source.name}/{split}", len(found.items)) as advance:
        for item, annotations in _read(source, found.items):
            advance(1)
            if isinstance(annotations, BadItem):
                place = annotations.path or str(item.image)
                problems.append((f"{place}:{annotations.line}" if annotations.line else place, annotations.reason))
                continue
            own = str(item.annotations[0] if item.annotations else item.image)
            for row in annotations.unread:
                place = row.path or own
                problems.append((f"{place}:{row.line}" if row.line else place, f"{item.stem}: {row.reason}"))
            counted = [thing.category for thing in annotations.objects if not thing.ignore]
            counts["images"] += 1
            counts["ignored"] += len(annotations.objects) - len(counted)
            counts["objects"] += len(counted)
            counts["captions"] += len(annotations.captions)
            counts["questions"] += len(annotations.questions)
            categories.update(counted)
            if annotations.label is not None:
                categories[annotations.label] += 1
    published = source.published_found(split, found)
    return SplitScan(
        split=split,
        images=counts["images"],
        objects=counts["objects"],
        ignored_objects=counts["ignored"],
        captions=counts["captions"],
        questions=counts["questions"],
        categories=dict(sorted(categories.items())),
        published_images=published.images,
        published_objects=published.objects,
        published_captions=published.captions,
        published_questions=published.questions,
        problems=tuple((path, reason) for path, reason in problems),
    )


def _read(source: converters.Converter, items: Sequence[Item]) -> Iterator[tuple[Item, Annotations | BadItem]]:
    for start in range(0, len(items), _ITEMS_TOGETHER):
        block = items[start : start + _ITEMS_TOGETHER]
        yield from zip(block, read_block(source, block), strict=True)


def compare_source_layouts(name: str, root: Path, as_json: bool) -> str:
    """Compare the layouts of a source that has several, object by object, for every split; list every disagreement.

    Raises:
        UserError: the source has one layout only, or a layout to compare with is missing.
    """
    source = converters.get(name)
    if not isinstance(source, LayoutComparer):
        raise UserError(
            f"{name} has no layouts to compare: each of its objects stands in one file only. See what is there with "
            f"`mmrs scan {name} {shlex.quote(str(root))}`."
        )
    reports = source.compare_layouts(root)
    if as_json:
        content = [report.to_dict() for report in reports]
        return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode()
    return "\n".join(report.render(_SHOWN_PROBLEMS) for report in reports)
