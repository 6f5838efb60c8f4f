"""What a folder of a stranger's data is: its format, splits and classes, as a description that has been tried.

File names and the first label files suggest a few descriptions; each is then read by the converter that would build it,
and the one under which most images are understood is told, with what was seen. Nothing is written and no image is
opened. What a file cannot say (the sensor, the licence) is said to be assumed.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from converters import catalog
from converters.formats.text import decode, listed_names, read_bytes
from converters.mirrors.cells import table_schema
from converters.own_data.converter import Generic
from converters.own_data.description import DESCRIPTION_NAME, DescribedSet, Description
from converters.own_data.guess.candidates import candidates
from converters.own_data.guess.survey import JSON_FOLDERS, FileGroup, survey_files
from mmrs.errors import BadItem, UserError
from mmrs.row_tables.suffixes import TABLE_SUFFIXES
from mmrs.source import Absent
from mmrs.storage.plain_files import reading_below

_TRIED = 25


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
        seen = survey_files(root)
        tried = [guess for candidate in candidates(root, seen) if (guess := _try(root, *candidate)) is not None]
        if not tried:
            raise UserError(f"{root}: nothing that a description can read was recognised. {_seen_text(root, seen)}")
    return max(tried, key=_worth)


def _try(root: Path, known: dict[str, Any], folders: Sequence[str], evidence: tuple[str, ...]) -> Guess | None:
    """The best of the folders of images, None where none of them is read."""
    best: Guess | None = None
    for folder in folders:
        content = {"name": _name(root), "format": known["format"], "sensor": "optical", "images": folder, **known}
        content = {key: value for key, value in content.items() if value != {}}
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
        images[split] = sum(len(item.images) for item in found.items)
        own = {str(image) for item in found.items for image in item.images}
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


def _seen_text(root: Path, seen: Mapping[str, Sequence[FileGroup]]) -> str:
    """What lies there, for a person; tables are named with their columns, which a description can give a meaning."""
    counts = {
        kind: sum(len(paths) for group in groups for paths in group.paths.values())
        for kind, groups in seen.items()
        if kind != JSON_FOLDERS
    }
    listed = ", ".join(f"{count} {kind or 'other'} files" for kind, count in sorted(counts.items())) or "nothing"
    said = [f"Seen: {listed}."]
    if "image" not in seen:
        said.append("There is no image, and labels alone are not read.")
    for kind in (*TABLE_SUFFIXES, ".csv"):
        for group in seen.get(kind, ())[:3]:
            path = root / next(iter(group.paths.values()))[0]
            columns = listed_names(_columns(path)) or "columns that cannot be read"
            said.append(f"{path} is a table of {columns}; which of them hold images and labels is not known.")
    return " ".join(said)


def _columns(path: Path) -> list[str]:
    if path.suffix.lower() == ".csv":
        with suppress(BadItem):
            return decode(read_bytes(path)[: 2**16], str(path)).partition("\n")[0].split(",")
        return []
    with suppress(BadItem):
        return list(table_schema(path).names)
    return []
