"""Finding a source's layout on disk: roots, folder listings, errors a user can act on, and names that stay inside.

File names that come from a list file, XML or JSON are looked up in a folder listing and never joined to a path, so they
cannot lead out of the root.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from converters.catalog import facts
from mmrs.errors import BadItem, UserError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp"})
SHOWN_ENTRIES = 8
UNPACKING = {
    (".zip",): "{file} is still packed: `cd {folder} && unzip {file}`",
    (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"): "{file} is still packed: `cd {folder} && tar -xf {file}`",
    (".rar",): "{file} is still packed: `cd {folder} && unrar x {file}`",
    (".7z",): "{file} is still packed: `cd {folder} && 7z x {file}`",
}

Problem = tuple[str, str]


@dataclass(frozen=True, slots=True)
class FileList:
    """Files of one folder: `by_name` and `by_stem` (first of each stem), `ignored` names, `problems` (path, reason).

    Names and stems are in Unicode's composed form (NFC); paths are as on disk.
    """

    by_name: dict[str, Path]
    by_stem: dict[str, Path]
    ignored: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()

    def find(self, name: str) -> Path | None:
        """The file of that name, or of that stem with another suffix (suffixes in annotation files often lie).

        Raises:
            BadItem: the name is a path, not a plain file name.
        """
        check_plain_name(name)
        name = unicodedata.normalize("NFC", name)
        return self.by_name.get(name) or self.by_stem.get(PurePosixPath(name).stem)


def check_plain_name(name: str) -> None:
    """Raise `BadItem` unless `name` is a plain file name: no folder, no drive, no ``..``, no NUL."""
    if not name or name in {".", ".."} or any(mark in name for mark in ("/", "\\", "\0")) or name[1:2] == ":":
        raise BadItem(f"file name {name!r} is not a plain name; names that lead to another folder are never followed")


def list_files(folder: Path, root: Path, suffixes: Collection[str] = IMAGE_SUFFIXES) -> FileList:
    """Sorted files of `folder` whose suffix, in any case, is one of `suffixes`; an absent folder is empty.

    Hidden files (``.DS_Store``, ``._x.jpg``) are junk. A symbolic link that leads out of `root` is a problem.

    Raises:
        UserError: the folder itself leads out of `root` through a symbolic link.
    """
    if not folder.is_dir():
        return FileList({}, {})
    if not _inside(folder, root):
        raise UserError(
            f"{folder} leads to {folder.resolve()}, outside the root {root}; such links are not followed. "
            "Put the folder itself there, or name a root that holds both."
        )
    by_name: dict[str, Path] = {}
    by_stem: dict[str, Path] = {}
    ignored, problems = [], []
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        if entry.is_dir():
            continue
        path = Path(entry.path)
        if entry.name.startswith(".") or path.suffix.lower() not in suffixes:
            ignored.append(entry.name)
        elif entry.is_symlink() and not _inside(path, root):
            problems.append((entry.path, f"symbolic link to {path.resolve()}, outside the root {root}"))
        else:
            # Some systems decompose accents in file names; annotation files are compared in the composed form.
            name = unicodedata.normalize("NFC", entry.name)
            stem = PurePosixPath(name).stem
            by_name[name] = path
            if by_stem.setdefault(stem, path) is not path:
                problems.append((entry.path, f"stem {stem!r} is already used by {by_stem[stem].name}"))
    return FileList(by_name, by_stem, tuple(ignored), tuple(problems))


def list_subfolders(folder: Path, root: Path, suffixes: Collection[str] = IMAGE_SUFFIXES) -> FileList:
    """Files of all visible child folders as one listing; a name that two of them have is a problem, the first one wins.

    Raises:
        UserError: a folder leads out of `root` through a symbolic link.
    """
    parts = [(child, list_files(child, root, suffixes)) for child in subfolders(folder)]
    return merge_files(
        replace(part, ignored=tuple(f"{child.name}/{name}" for name in part.ignored)) for child, part in parts
    )


def merge_files(parts: Iterable[FileList]) -> FileList:
    """Several listings as one; a name that stands in two of them is a problem, the first one wins."""
    by_name: dict[str, Path] = {}
    by_stem: dict[str, Path] = {}
    ignored: list[str] = []
    problems: list[Problem] = []
    for part in parts:
        ignored += part.ignored
        problems += part.problems
        for name, path in part.by_name.items():
            if by_name.setdefault(name, path) is not path:
                problems.append((str(path), f"file name {name} is already used by {by_name[name]}"))
        for stem, path in part.by_stem.items():
            by_stem.setdefault(stem, path)
    return FileList(by_name, by_stem, tuple(ignored), tuple(problems))


def _inside(path: Path, root: Path) -> bool:
    return path.resolve().is_relative_to(root.resolve())


def subfolders(folder: Path) -> list[Path]:
    """Visible child folders, sorted by name; an absent folder has none."""
    if not folder.is_dir():
        return []
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def locate_root(
    name: str, root: Path, holds: Callable[[Path], bool], top_folders: Collection[str] = ()
) -> tuple[Path, tuple[str, ...]]:
    """The folder that holds the layout of source `name`: `root`, its one child that does, or its parent.

    The parent is looked at only where `root` itself is named like one of the layout's own `top_folders`.

    Returns:
        The folder, and a note where it is not `root`.

    Raises:
        UserError: none or several of these hold the layout.
    """
    if not root.is_dir():
        raise layout_error(name, root, "is not a folder")
    if holds(root):
        return root, ()
    children = [child for child in subfolders(root) if holds(child)]
    if len(children) == 1:
        return children[0], (f"the layout was found one folder down, in {children[0]}",)
    if children:
        listed = ", ".join(child.name for child in children)
        raise layout_error(name, root, f"has several folders with the layout ({listed}); name one of them")
    parent = root.resolve().parent
    if root.resolve().name in top_folders and holds(parent):
        return parent, (f"the layout was found one folder up, in {parent}",)
    raise layout_error(name, root, "does not hold the source's layout")


def layout_error(name: str, root: Path, reason: str, expected: Sequence[str] = ()) -> UserError:
    """An error that says what was found in `root`, what was expected, and what to type next."""
    lines = [f"{name}: {root} {reason}.", f"  found:    {found_entries(root)}"]
    for text in expected or facts(name).layouts.values():
        lines.append(f"  expected: {text}")
    lines += [f"  packed:   {command}" for command in _unpacking(root)]
    lines.append(f"  next:     `mmrs sample {name} --out DIR` writes a small example of the layout;")
    lines.append(f"            `mmrs scan {name} DIR` checks a folder.")
    return UserError("\n".join(lines))


def _unpacking(root: Path) -> list[str]:
    """How to unpack each archive that lies in `root` or one folder down: the source may still be in it."""
    if not root.is_dir():
        return []
    folders = [root, *subfolders(root)]
    files = sorted(path for folder in folders for path in folder.iterdir() if path.is_file())
    commands = [
        f"{command.format(file=path.name, folder=path.parent)}"
        for path in files
        for endings, command in UNPACKING.items()
        if path.name.lower().endswith(endings)
    ]
    rest = len(commands) - SHOWN_ENTRIES
    return commands[:SHOWN_ENTRIES] + ([f"and {rest} more archives"] if rest > 0 else [])


def found_entries(folder: Path) -> str:
    """A few entries of a folder for a message, folders with a slash."""
    if not folder.exists():
        return "nothing, the path does not exist"
    if not folder.is_dir():
        return "a file, not a folder"
    entries = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    if not entries:
        return "an empty folder"
    rest = len(entries) - SHOWN_ENTRIES
    return ", ".join(entries[:SHOWN_ENTRIES]) + (f" and {rest} more" if rest > 0 else "")


def tail(path: Path, parts: int) -> str:
    """The last `parts` parts of a path with forward slashes: how provenance names an annotation file."""
    return "/".join(path.parts[-parts:])


def ignored_note(folder: Path, ignored: Iterable[str]) -> tuple[str, ...]:
    """A note on the files of a folder that are no images, or nothing."""
    names = sorted(ignored)
    if not names:
        return ()
    shown = ", ".join(names[:SHOWN_ENTRIES]) + (", ..." if len(names) > SHOWN_ENTRIES else "")
    return (f"{len(names)} files under {folder} are no images and were ignored: {shown}",)
