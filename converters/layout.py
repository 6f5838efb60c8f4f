"""Finding a source's layout on disk: roots, folder listings, errors a user can act on, and names that stay inside.

File names that come from a list file, XML or JSON are looked up in a folder listing and never joined to a path, so they
cannot lead out of the root.
"""

from __future__ import annotations

import os
import re
import shlex
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from converters.catalog import facts
from mmrs.errors import BadItem, UserError
from mmrs.imaging.suffixes import NAMED_SUFFIXES, SOURCE_SUFFIXES, without_known_suffix
from mmrs.source import JUNK_FOLDERS, Absent, RowImage, unpacked_name
from mmrs.storage.plain_files import FOLLOW_OPTION, NO_PLAIN_FILE, follows_links, kept_of_folders, reading_also_beside

SHOWN_ENTRIES = 8
DEEPEST = 2
UNPACKING = {
    (".zip",): "unzip {file}",
    (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"): "tar -xf {file}",
    (".rar",): "unrar x {file}",
    (".7z", ".7z.001", ".zip.001"): "7z x {file}",
}
# Unpacking the first volume of an archive reads the later ones too.
LATER_VOLUME = re.compile(r"\.part0*([2-9]|[1-9]\d+)\.rar$")
_NUMBERS = re.compile(r"\d+")

Problem = tuple[str, str]


class LayoutError(UserError):
    """The layout of a source is not there. `is_explained` where the message says how what is there can be read."""

    def __init__(self, message: str, is_explained: bool = False) -> None:
        super().__init__(message)
        self.is_explained = is_explained


class SeveralPlaces(LayoutError):
    """Several folders look like the layout of a source; those of another source may."""

    def __init__(self, message: str, places: tuple[Path, ...]) -> None:
        super().__init__(message)
        self.places = places


@dataclass(frozen=True, slots=True)
class FileList:
    """Files of one folder: `by_name` and `by_stem` (`unique_stems`), `problems` (path, reason).

    Names and stems are in Unicode's composed form (NFC); paths are as on disk.
    """

    by_name: dict[str, Path]
    by_stem: dict[str, Path]
    problems: tuple[Problem, ...] = ()

    def find(self, name: str) -> Path | None:
        """The file of that name, or of that stem with another suffix (suffixes in annotation files often lie).

        Raises:
            BadItem: the name is a path, not a plain file name.
        """
        check_plain_name(name)
        # Nearly every name is written as it is found.
        if (as_written := self.by_name.get(name)) is not None:
            return as_written
        if "." not in name and (of_stem := self.by_stem.get(name)) is not None:
            return of_stem
        for written in spellings(name):
            if found := self.by_name.get(written) or self.by_stem.get(without_known_suffix(written)):
                return found
        return None

    def find_all(self, name: str) -> tuple[Path, ...]:
        """The file that `find` finds; of a name without suffix that several files have, all of them."""
        found = self.find(name)
        return (found,) if found is not None else told_apart(self.by_stem, unicodedata.normalize("NFC", name))

    def partner(self, stem: str, image: Path) -> Path | None:
        """The label file here of an image with that stem in its own listing."""
        return self.by_stem.get(stem) or self.by_stem.get(plain_stem(stem, image))

    def has(self, stem: str) -> bool:
        """Whether a file has that stem, told apart by `unique_stems` or not."""
        return stem in self.by_stem or bool(told_apart(self.by_stem, stem))


def spellings(name: str) -> tuple[str, ...]:
    """A written name as listings have it (NFC), then without blanks around it and without percent signs of a URL."""
    written = unicodedata.normalize("NFC", name)
    decoded = unquote(written) if "%" in written else written
    ways = dict.fromkeys((written, written.strip(), decoded, decoded.strip()))
    # What was decoded may lead out of the folder now.
    return tuple(way for way in ways if way == written or _is_plain(way))


def plain_stem(stem: str, image: Path | RowImage) -> str:
    """The stem without the suffix by which `unique_stems` told its image from another one."""
    is_told_apart = stem.endswith(unicodedata.normalize("NFC", image.name))
    return stem.removesuffix(image.suffix) if is_told_apart else stem


def told_apart(by_stem: Mapping[str, Path], stem: str) -> tuple[Path, ...]:
    """The files of a stem that several have, and that `unique_stems` therefore told apart by their suffixes."""
    ways = [stem + suffix for known in sorted(NAMED_SUFFIXES) for suffix in (known, known.upper())]
    return tuple(path for way in ways if (path := by_stem.get(way)) is not None and plain_stem(way, path) == stem)


def unique_stems(names: Iterable[str]) -> dict[str, str]:
    """Stem -> file name of each of `names`; ``a.bmp`` beside ``a.png`` keep their suffixes, so both have a stem."""
    stems = {name: _split_suffix(name)[0] for name in names}
    while len(set(stems.values())) < len(stems):
        counts = Counter(stems.values())
        stems = {name: name if counts[stem] > 1 else stem for name, stem in stems.items()}
    return {stem: name for name, stem in stems.items()}


def _split_suffix(name: str) -> tuple[str, str]:
    """Stem and suffix of a file name as `pathlib` tells them apart, in a tenth of its time."""
    point = name.rfind(".")
    return (name[:point], name[point:]) if 0 < point < len(name) - 1 else (name, "")


def found_image(files: FileList, name: str, annotation: Path, fault: str) -> tuple[Path | None, tuple[Problem, ...]]:
    """The image that the file `annotation` names, or None and why: ``image <name> <fault>``, or the name is a path."""
    try:
        image = files.find(name)
    except BadItem as error:
        return None, ((str(annotation), error.reason),)
    return image, () if image is not None else (Absent(str(annotation), f"image {name} {fault}"),)


def check_plain_name(name: str) -> None:
    """Raise `BadItem` unless `name` is a plain file name: no folder, no drive, no ``..``, no NUL."""
    if not _is_plain(name):
        raise BadItem(f"file name {name!r} is not a plain name; names that lead to another folder are never followed")


def _is_plain(name: str) -> bool:
    marked = any(mark in name for mark in ("/", "\\", "\0")) or name[1:2] == ":"
    return bool(name) and name not in {".", ".."} and not marked


def list_files(folder: Path, root: Path, suffixes: Collection[str] = SOURCE_SUFFIXES) -> FileList:
    """Sorted files of `folder` whose suffix, in any case, is one of `suffixes`; an absent folder is empty.

    Hidden files (``.DS_Store``, ``._x.jpg``) are junk. A symbolic link is a problem where it leads to itself, nowhere,
    or out of `root`, unless the user allowed that (`mmrs.storage.plain_files`).

    Raises:
        UserError: the folder itself leads out of `root` through a symbolic link.
    """
    key = ("list_files", folder, root, frozenset(suffixes), follows_links())
    return kept_of_folders(key, lambda: _list_files(folder, root, suffixes))


def _list_files(folder: Path, root: Path, suffixes: Collection[str]) -> FileList:
    if not folder.is_dir():
        return FileList({}, {})
    if not _inside(folder, root):
        raise UserError(
            f"{folder} leads to {folder.resolve()}, outside the root {root}; such links are not followed. "
            f"Put the folder itself there, name a root that holds both, or add {FOLLOW_OPTION}."
        )
    by_name: dict[str, Path] = {}
    problems: list[Problem] = []
    with os.scandir(folder) as entries:
        found = sorted(
            (entry for entry in entries if _split_suffix(entry.name)[1].lower() in suffixes),
            key=lambda entry: entry.name,
        )
    # Paths from a listing are not parsed again.
    paths = {path.name: path for path in folder.iterdir()} if found else {}
    for entry in found:
        path = paths.get(entry.name) or Path(entry.path)
        link = entry.is_symlink()
        if entry.name.startswith(".") or (path.is_dir() if link else entry.is_dir()):
            continue
        elif link and (fault := _link_fault(path, root)):
            problems.append((entry.path, fault))
        elif not entry.is_file():
            # Opening a pipe would wait for ever; archives can hold them.
            problems.append((entry.path, NO_PLAIN_FILE))
        else:
            # Some systems decompose accents in file names; annotation files are compared in the composed form.
            name = entry.name if entry.name.isascii() else unicodedata.normalize("NFC", entry.name)
            if by_name.setdefault(name, path) is not path:
                problems.append((entry.path, f"file name {name} stands there in two forms of Unicode"))
    by_stem = {stem: by_name[name] for stem, name in unique_stems(by_name).items()}
    return FileList(by_name, by_stem, tuple(problems))


def list_subfolders(folder: Path, root: Path, suffixes: Collection[str] = SOURCE_SUFFIXES) -> FileList:
    """Files of all visible child folders as one listing; a name that two of them have is a problem, the first one wins.

    Raises:
        UserError: a folder leads out of `root` through a symbolic link.
    """
    return merge_files(list_files(child, root, suffixes) for child in subfolders(folder))


def merge_files(parts: Iterable[FileList]) -> FileList:
    """Several listings as one; a name that stands in two of them is a problem, the first one wins."""
    by_name: dict[str, Path] = {}
    problems: list[Problem] = []
    for part in parts:
        problems += part.problems
        for name, path in part.by_name.items():
            if by_name.setdefault(name, path) is not path:
                problems.append((str(path), f"file name {name} is already used by {by_name[name]}"))
    by_stem = {stem: by_name[name] for stem, name in unique_stems(by_name).items()}
    return FileList(by_name, by_stem, tuple(problems))


def _link_fault(path: Path, root: Path) -> str | None:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return "symbolic link that leads nowhere or to itself"
    is_allowed = follows_links() or target.is_relative_to(root.resolve())
    return None if is_allowed else f"symbolic link to {target}, outside the root {root}"


def _inside(path: Path, root: Path) -> bool:
    return follows_links() or path.resolve().is_relative_to(root.resolve())


def subfolders(folder: Path) -> list[Path]:
    """Visible child folders without those of archivers, sorted by name; an absent folder has none."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        names = [
            entry.name for entry in entries if (Path(entry.path).is_dir() if entry.is_symlink() else entry.is_dir())
        ]
    visible = (name for name in names if not name.startswith(".") and name.lower() not in JUNK_FOLDERS)
    return [folder / name for name in sorted(visible)]


def locate_root(
    name: str, root: Path, holds: Callable[[Path], bool], top_folders: Collection[str] = ()
) -> tuple[Path, tuple[str, ...]]:
    """The folder that holds the layout of source `name`: `root`, the one below it (`find_below`) that does, its parent.

    The parent is looked at only where `root` itself is named like one of the layout's own `top_folders`.

    Returns:
        The folder, and a note where it is not `root`.

    Raises:
        UserError: none or several of these hold the layout.
    """
    found, notes = locate_parts(name, root, holds, top_folders)
    if len(found) > 1:
        raise several_places(name, root, found)
    return found[0], notes


def locate_parts(
    name: str,
    root: Path,
    holds: Callable[[Path], bool],
    top_folders: Collection[str] = (),
    expected: Sequence[str] = (),
) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """As `locate_root`, but of a source whose archives may lie unpacked beside each other: all its parts.

    Several folders are parts of one set where their names differ in a number only (``AID_part1``, ``AID_part2``).
    `expected` are the layouts that an error names, by default all of the source.
    """
    if not root.is_dir():
        raise layout_error(name, root, "is not a folder", expected)
    if holds(root):
        return (root,), ()
    found = find_below(root, holds)
    if len(found) == 1:
        return found, (f"the layout was found {_distance(root, found[0])}, in {found[0]}",)
    if found:
        if len({_NUMBERS.sub("#", str(folder)) for folder in found}) > 1:
            raise several_places(name, root, found, expected)
        listed = ", ".join(str(folder.relative_to(root)) for folder in found)
        return found, (f"the layout was found in parts, which were read together: {listed}",)
    parent = root.resolve().parent
    if root.resolve().name in top_folders and holds(parent):
        reading_also_beside(parent)
        return (parent,), (f"the layout was found one folder up, in {parent}",)
    raise layout_error(name, root, "does not hold the source's layout", expected)


def several_places(
    name: str, root: Path, places: tuple[Path, ...], expected: Sequence[str] = (), what: str = "folders with the layout"
) -> SeveralPlaces:
    """The error of a root below which several folders could be meant; `what` they are, in a phrase."""
    listed = ", ".join(str(folder.relative_to(root)) for folder in places)
    reason = f"has several {what} ({listed}); name one of them"
    return SeveralPlaces(str(layout_error(name, root, reason, expected)), places)


def locate_archive(
    name: str, root: Path, folder: str, holds: Callable[[Path], bool], top_folders: Collection[str] = ()
) -> tuple[Path, tuple[str, ...]]:
    """As `locate_root`, of a source whose archive wraps its layout into one `folder`; users may have taken it off."""

    def inside(place: Path) -> Path:
        return place / folder if holds(place / folder) else place

    base, notes = locate_root(name, root, lambda place: holds(inside(place)), top_folders)
    return inside(base), notes


def find_below(root: Path, holds: Callable[[Path], bool]) -> tuple[Path, ...]:
    """The folders below `root`, at most `DEEPEST` down, that hold something: all of the first depth that has any."""
    level = [root]
    for _ in range(DEEPEST):
        level = [child for folder in level for child in subfolders(folder)]
        if found := tuple(folder for folder in level if holds(folder)):
            return found
    return ()


def _distance(root: Path, folder: Path) -> str:
    return "one folder down" if folder.parent == root else "two folders down"


def build_command(name: str, root: Path, options: Mapping[str, object], splits: Sequence[str] = ()) -> str:
    """The command that builds a source from `root` with these options, all of its splits or those named."""
    words = ["mmrs", "build", name, "--root", f"{name}={root}"]
    for option, value in options.items():
        words += ["--option", f"{option}={value}"]
    if splits:
        words += ["--set", f"sources.0.splits=[{', '.join(splits)}]"]
    return " ".join(map(shlex.quote, [*words, "--out", "DIR"]))


def layout_error(
    name: str,
    root: Path,
    reason: str,
    expected: Sequence[str] = (),
    example_options: str = "",
    next_lines: Sequence[str] = (),
) -> LayoutError:
    """An error that says what was found in `root`, what was expected, and what to type next.

    `example_options` is what `mmrs scan` needs behind the folder of the example, where it needs anything. `next_lines`
    stand in the place of the example where it is known how what was found can be read.
    """
    lines = [f"{name}: {root} {reason}.", f"  found:    {found_entries(root)}"]
    for text in expected or facts(name).layouts.values():
        lines.append(f"  expected: {text}")
    lines += [f"  packed:   {command}" for command in packed(root)]
    if next_lines:
        return LayoutError("\n".join([*lines, *(f"  next:     {line}" for line in next_lines)]), is_explained=True)
    lines.append(f"  next:     `mmrs sample {name} --out DIR` writes a small example of the layout;")
    lines.append(
        f"            `{' '.join(filter(None, ('mmrs scan', name, 'DIR', example_options)))}` checks a folder."
    )
    return LayoutError("\n".join(lines))


def packed(root: Path) -> tuple[str, ...]:
    """How to unpack each archive in `root`, or at most `DEEPEST` folders down: what is missing may still be in it.

    An archive beside the folder of its name, which is not empty, was unpacked already.
    """
    level = [root] if root.is_dir() else []
    files = [] if root.is_dir() else [root]
    for _ in range(DEEPEST + 1):
        children = {folder: subfolders(folder) for folder in level}
        for folder, below in children.items():
            unpacked = {child.name.casefold() for child in below if any(child.iterdir())}
            archives = (path for path in folder.iterdir() if _archive_command(path) is not None)
            files += sorted(path for path in archives if unpacked_name(path.name) not in unpacked)
        level = [child for below in children.values() for child in below]
    commands = [
        f"{path.name} is still packed: `cd {shlex.quote(str(path.parent))} && "
        f"{command.format(file=shlex.quote(path.name))}`"
        for path in files
        if (command := _archive_command(path)) is not None
    ]
    rest = len(commands) - SHOWN_ENTRIES
    return tuple(commands[:SHOWN_ENTRIES] + ([f"and {rest} more archives"] if rest > 0 else []))


def _archive_command(path: Path) -> str | None:
    name = path.name.lower()
    command = next((command for endings, command in UNPACKING.items() if name.endswith(endings)), None)
    return None if command is None or LATER_VOLUME.search(name) or not path.is_file() else command


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


def last_parts(path: Path, parts: int) -> str:
    """The last `parts` parts of a path with forward slashes: how provenance names an annotation file."""
    return "/".join(path.parts[-parts:])
