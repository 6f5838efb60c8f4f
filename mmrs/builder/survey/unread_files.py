"""What lies below a source's root and is read by nothing: folders, files, and splits that a recipe leaves out.

A layout is read from the places that its converter knows, so a ``validation/`` beside ``train/``, or a list of
somebody else's, would vanish without a word. Here the names below the root are compared with what the converter says
it looked at (`mmrs.source.Discovery.looked_at`); a converter that forgets to say so makes noise, never silence. No file
is opened, and nothing of a data set depends on it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from mmrs.shards.manifest import MANIFEST_NAME
from mmrs.shards.quarantine import QUARANTINE_NAME
from mmrs.source import JUNK_FILES, JUNK_FOLDERS, unpacked_name

MOST_NAMES = 2_000_000
_SHOWN, _SHOWN_SUFFIXES = 8, 4
_DONE = ".done.json"


class FolderNames(NamedTuple):
    """Visible names of one folder: `folder` below the root with forward slashes (``""`` is the root)."""

    folder: str
    files: tuple[str, ...]
    subfolders: tuple[str, ...] = ()
    is_listed: bool = True


@dataclass(frozen=True, slots=True)
class UnreadFiles:
    """Files that nothing reads. `place` is a folder (``val/``), one suffix in a folder (``images/*.txt``), or one file.

    `suffixes` counts them; a folder that cannot be listed has none.
    """

    place: str
    files: int
    suffixes: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        if not self.files:
            return f"{self.place} (cannot be listed)"
        if not self.place.endswith("/"):
            return self.place if self.files == 1 else f"{self.place} ({self.files} files)"
        kinds = [f"{count} {suffix or 'without suffix'}" for suffix, count in self.suffixes.items()]
        rest = sum(list(self.suffixes.values())[_SHOWN_SUFFIXES:])
        shown = ", ".join(kinds[:_SHOWN_SUFFIXES]) + (f", {rest} others" if rest else "")
        return f"{self.place} ({self.files} file{'s' * (self.files > 1)}: {shown})"


@dataclass(frozen=True, slots=True)
class Unread:
    """What of a source is read by nothing: `files`, most first, and `splits` that are there and are not asked for.

    `splits` has the number of images of each. `is_whole` is false where there are more names than `MOST_NAMES`.
    """

    files: tuple[UnreadFiles, ...] = ()
    splits: Mapping[str, int] = field(default_factory=dict)
    is_whole: bool = True

    def lines(self) -> list[str]:
        """One fact a line, for a person."""
        lines = [f"not asked for: split {split}: {images} images" for split, images in self.splits.items()]
        lines += [f"not looked at: {entry}" for entry in self.files[:_SHOWN]]
        if len(self.files) > _SHOWN:
            files = sum(entry.files for entry in self.files[_SHOWN:])
            lines.append(f"               and {len(self.files) - _SHOWN} more places with {files} files (--json)")
        if not self.is_whole:
            lines.append(f"               and what lies behind the first {MOST_NAMES} names")
        return lines


def find_unread(
    root: Path,
    looked_at: Iterable[str],
    splits: Mapping[str, int] | None = None,
    skipped: Collection[Path] = (),
    most_names: int = MOST_NAMES,
) -> Unread:
    """Compare the names below `root` with the paths that were looked at, wherever these lie.

    `splits` are handed on; folders of `skipped` are passed over (a data set that is written below its own source).
    """
    read = names_by_folder(root, looked_at)
    walk = walk_names(root, {os.path.realpath(folder) for folder in skipped})
    seen = 0

    def first_names() -> Iterator[FolderNames]:
        nonlocal seen
        for names in walk:
            seen += len(names.files)
            if seen > most_names:
                return
            yield names

    found = group_unread(first_names(), read)
    return Unread(found, splits or {}, is_whole=seen <= most_names)


def names_by_folder(root: Path, paths: Iterable[str]) -> dict[str, set[str]]:
    """Folder below `root` -> names in it, of all paths that lie there; a root may be reached by a link."""
    found: dict[str, set[str]] = {}
    for path in paths:
        folder, _, name = path.rpartition(os.sep)
        names = found.get(folder)
        if names is None:
            names = found[folder] = set()
        names.add(name)
    below: dict[str, set[str]] = {}
    for folder, names in found.items():
        for form in (os.path.abspath, os.path.realpath):
            place = _below(form(root), form(folder))
            if place is not None:
                below.setdefault(place, set()).update(names)
    return below


def _below(root: str, folder: str) -> str | None:
    if folder == root:
        return ""
    prefix = root.rstrip(os.sep) + os.sep
    return folder[len(prefix) :].replace(os.sep, "/") if folder.startswith(prefix) else None


def walk_names(root: Path, skipped: Set[str] = frozenset()) -> Iterator[FolderNames]:
    """The names of `root` and of every folder below it, a folder before what it holds; hidden ones are junk.

    Links to folders are not followed and count as files. Data sets of ours are no part of a source.
    """
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        path = os.path.join(root, folder)
        files: list[str] = []
        below: list[str] = []
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if not entry.name.startswith("."):
                        (below if entry.is_dir(follow_symlinks=False) else files).append(entry.name)
        except OSError:
            yield FolderNames(folder, (), is_listed=False)
            continue
        if os.path.realpath(path) in skipped or _is_data_set(files):
            continue
        yield FolderNames(folder, tuple(name for name in files if name.lower() not in JUNK_FILES), tuple(below))
        prefix = folder + "/" if folder else ""
        waiting += [prefix + name for name in sorted(below, reverse=True) if name.lower() not in JUNK_FOLDERS]


def _is_data_set(files: Collection[str]) -> bool:
    return {MANIFEST_NAME, QUARANTINE_NAME} <= set(files) or any(name.endswith(_DONE) for name in files)


def group_unread(folders: Iterable[FolderNames], read: Mapping[str, Set[str]]) -> tuple[UnreadFiles, ...]:
    """The files that are not in `read`, by the topmost folder that holds none of it, else by folder and suffix.

    Args:
        folders: in the order of `walk_names`.
        read: folder -> names that were looked at.
    """
    touched = {""}
    for folder in read:
        while folder not in touched:
            touched.add(folder)
            folder = folder.rpartition("/")[0]
    counts: dict[str, Counter[str]] = {}
    unlisted: list[str] = []
    top = None
    for folder, files, subfolders, is_listed in folders:
        prefix = folder + "/" if folder else ""
        if top is not None and prefix.startswith(top):
            counts[top].update(map(_suffix, files))
            unlisted += [] if is_listed else [prefix]
        elif folder not in touched:
            top = prefix
            counts[top] = Counter(map(_suffix, files))
            unlisted += [] if is_listed else [prefix]
        else:
            known = read.get(folder, frozenset())
            loose = [name for name in files if name not in known and prefix + name not in touched]
            # What a packed folder holds is read where it lies unpacked beside it.
            unpacked = {name.casefold() for name in subfolders if prefix + name in touched}
            loose = [name for name in loose if unpacked_name(name) not in unpacked]
            for place, suffixes in _by_suffix(prefix, loose):
                counts[place] = suffixes
    found = [
        UnreadFiles(place, suffixes.total(), dict(sorted(suffixes.items(), key=lambda kind: (-kind[1], kind[0]))))
        for place, suffixes in counts.items()
        if suffixes
    ]
    found += [UnreadFiles(place, 0) for place in unlisted]
    return tuple(sorted(found, key=lambda entry: (-entry.files, entry.place)))


def _by_suffix(prefix: str, names: Iterable[str]) -> Iterator[tuple[str, Counter[str]]]:
    kinds: dict[str, list[str]] = {}
    for name in names:
        kinds.setdefault(_suffix(name), []).append(name)
    for suffix, same in kinds.items():
        place = same[0] if len(same) == 1 else f"*{suffix or ' without suffix'}"
        yield prefix + place, Counter({suffix: len(same)})


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()
