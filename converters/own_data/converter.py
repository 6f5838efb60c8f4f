"""A user's own data, described by a small YAML file, in one of the formats of `converters.own_data.formats`.

The description (`converters.own_data.description.Description`) takes the place of a source's facts, so that name,
sensor, licence, splits and classes are those of the described data set.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, WithJsonSchema

from converters.base import Converter, register
from converters.boxes import BoxAnnotations, finished_boxes
from converters.catalog import SourceFacts
from converters.formats.shared_file import read_shared
from converters.formats.text import numbered_lines, read_bytes
from converters.layout import Problem, plain_stem
from converters.own_data.description import DESCRIPTION_NAME, EXAMPLE, DescribedSet, Description, own_layout_error
from converters.own_data.formats.registry import OWN_FORMATS, TURNABLE_FORMATS
from converters.own_data.items import TURNED_BOX_TASKS, ReadImage
from mmrs.errors import BadItem, UserError
from mmrs.imaging.suffixes import without_known_suffix
from mmrs.record import Annotations, TaskName, canonical_json
from mmrs.seeding import seeded_shares
from mmrs.source import Absent, Discovery, Item, Tiling, read_or_fault


def _loaded(value: Any) -> Any:
    return DescribedSet.load(Path(value)) if value and isinstance(value, str | Path) else value or None


@register("generic")
@dataclass(frozen=True)
class Generic(Converter):
    """Data that no module knows; read as its description says."""

    revision: ClassVar[int] = 2
    description: Annotated[
        DescribedSet | None, BeforeValidator(_loaded), WithJsonSchema({"type": "string", "format": "path"})
    ] = None
    """The YAML file that describes the data set (docs/your-own-data.md); without it there is nothing to read."""

    @property
    def facts(self) -> SourceFacts:
        """The described data set as facts; the catalogue's row where there is no description."""
        return self.description.facts if self.description else super().facts

    @property
    def name(self) -> str:
        """The name that the description gives."""
        return self.facts.name

    @property
    def tiling(self) -> Tiling | None:
        """As the description's options say."""
        return self.description.content.options.tiling if self.description else None

    @property
    def optional_tasks(self) -> tuple[TaskName, ...]:
        """Oriented boxes, where the files turn their boxes or have outlines."""
        turnable = self.description is not None and self.description.content.format in TURNABLE_FORMATS
        return TURNED_BOX_TASKS if turnable else ()

    def options(self) -> dict[str, Any]:
        """The description's content as canonical JSON: where the file lies changes nothing."""
        if self.description is None:
            return {"description": ""}
        content = self.description.content.model_dump(mode="json")
        if content["sequence"] is None:
            # So that the shards of a description without it are those of before there was one.
            del content["sequence"]
        return {"description": canonical_json(content).decode()}

    def discover(self, root: Path, split: str) -> Discovery:
        """List the split's items as the description says."""
        described = self._described(root)
        own = described.content
        self.check_split(split)
        if not root.is_dir():
            raise own_layout_error(root, "is not a folder", tuple(self.facts.layouts.values()))
        found = OWN_FORMATS[own.format].find(described, root, split)
        items, notes = list(found.items), found.notes
        consulted = found.consulted | {described.path, described.class_file}
        of_split, shared = (found.problems, ()) if own.is_templated else ((), found.problems)
        if isinstance(own.splits, dict):
            value = own.splits[split]
            if isinstance(value, str):
                items, unlisted = _listed(described, root, value, items)
                consulted |= {root / value}
                of_split += unlisted
            else:
                items = _share(own, items, split)
        if not items and not of_split and not shared:
            raise own_layout_error(root, f"has no image of split {split}", [own.images])
        # Where all splits are cut from one file, its rows of no image are counted with the first of them.
        counted = own.is_templated or split == self.splits[0]
        rows, details = (found.unread_rows, found.details) if counted else ((), ())
        several = Counter(len(item.images) for item in items if item.further)
        notes += tuple(f"{count} samples have {images} images each" for images, count in sorted(several.items()))
        known = Discovery(tuple(items), notes, of_split, rows, details, shared_problems=shared)
        return replace(known, tasks=found.tasks, consulted=consulted)

    def read(self, item: Item) -> Annotations:
        """Parse one image's annotation in the described format."""
        (known,) = _finished([self._parse(item)])
        return known

    def read_block(self, items: Sequence[Item]) -> list[Annotations | BadItem]:
        """As `read`, for several items: the geometry of all boxes is computed at once."""
        parsed = [read_or_fault(self._parse, item) for item in items]
        finished = iter(_finished([one for one in parsed if not isinstance(one, BadItem)]))
        return [one if isinstance(one, BadItem) else next(finished) for one in parsed]

    def _parse(self, item: Item) -> ReadImage:
        own = self._described().content
        return OWN_FORMATS[own.format].read(own, item)

    def _described(self, root: Path | None = None) -> DescribedSet:
        if self.description is None:
            there = root is not None and (root / DESCRIPTION_NAME).is_file()
            option = shlex.quote(f"description={root / DESCRIPTION_NAME if root and there else 'FILE'}")
            raise UserError(
                f"generic: no description of the data. Name its YAML file with `--option {option}` (recipe: "
                f"`options: {{description: FILE}}`). {EXAMPLE}"
            )
        return self.description


def _finished(parsed: Sequence[ReadImage]) -> list[Annotations]:
    boxes = iter(finished_boxes([one for one in parsed if isinstance(one, BoxAnnotations)]))
    return [next(boxes) if isinstance(one, BoxAnnotations) else one for one in parsed]


def _listed(
    described: DescribedSet, root: Path, name: str, items: Sequence[Item]
) -> tuple[list[Item], tuple[Problem, ...]]:
    """The items that a list file names: by stem, file name, or a path that ends with one of them.

    A line is a name of its own, or the first word where no image has the whole line as its name.
    """
    source = root / name
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or not source.is_file():
        raise own_layout_error(root, f"has no list file {name}", [f"{source}, one image name a line"])

    def read(path: Path) -> list[tuple[int, str]]:
        return numbered_lines(read_bytes(path), str(path))

    lines = read_shared("generic", root, source, read, remedy="mend it", options=described.command_options)
    known = _by_name(items)
    chosen: dict[str, Item] = {}
    problems: list[Problem] = []
    for number, line in lines:
        named = next((found for word in (line, line.split()[0]) if (found := _lookup(known, word))), ())
        if not named:
            problems.append(Absent(str(source), f"line {number}: no annotated image is named {line[:80]!r}"))
        for item in named:
            if item.stem in chosen:
                problems.append((str(source), f"line {number}: {line[:80]!r} is listed twice"))
            chosen.setdefault(item.stem, item)
    return [chosen[stem] for stem in sorted(chosen)], tuple(problems)


def _by_name(items: Iterable[Item]) -> dict[str, tuple[Item, ...]]:
    """Items by every name that they have: stem, plain stem, and what is left of these without leading folders."""
    known: dict[str, tuple[Item, ...]] = {}
    for item in items:
        for stem in dict.fromkeys((item.stem, plain_stem(item.stem, item.image))):
            parts = stem.split("/")
            for start in range(len(parts)):
                name = "/".join(parts[start:])
                known[name] = (*known.get(name, ()), item)
    return known


def _lookup(known: dict[str, tuple[Item, ...]], word: str) -> tuple[Item, ...]:
    """The item of that name, or the items that differ in their suffix alone; none where it could be other ones."""
    parts = word.replace("\\", "/").split("/")
    for start in range(len(parts)):
        name = "/".join(parts[start:])
        for candidate in (name, without_known_suffix(name)):
            items = known.get(candidate, ())
            if items and len({plain_stem(item.stem, item.image) for item in items}) == 1:
                return items
    return ()


def _share(own: Description, items: Sequence[Item], split: str) -> list[Item]:
    """The split's share of the items, of each class on its own where images have one label."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        label = item.payload["label"] if own.format == "folders" else ""
        groups.setdefault(label, []).append(item)
    part = list(own.shares).index(split)
    chosen = []
    for members in groups.values():
        parts = seeded_shares([item.stem for item in members], own.options.seed, list(own.shares.values()))
        chosen += [members[position] for position in parts[part]]
    return sorted(chosen, key=lambda item: item.stem)
