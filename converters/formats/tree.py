"""A folder with all that is below it, as one listing: for sources whose annotation files name images by subpath."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from converters.layout import Problem, list_files, plain_stem, subfolders, told_apart
from mmrs.errors import BadItem
from mmrs.imaging.suffixes import SOURCE_SUFFIXES, without_known_suffix
from mmrs.storage.plain_files import follows_links


@dataclass(frozen=True, slots=True)
class FileTree:
    """Files by subpath (forward slashes, NFC) and by subpath without suffix; `problems` as in a listing.

    Nothing is ever joined to a path: a name that is not in the listing is not there.
    """

    by_path: dict[str, Path]
    by_stem: dict[str, Path]
    problems: tuple[Problem, ...] = ()

    def find(self, name: str) -> Path | None:
        """The file of that subpath, or of that subpath with another suffix.

        Raises:
            BadItem: the name leads out of the folder.
        """
        checked_subpath(name)
        for written in dict.fromkeys((name, name.strip(), unquote(name), unquote(name).strip())):
            path = checked_subpath(written)
            if found := self.by_path.get(path) or self.by_stem.get(without_known_suffix(path)):
                return found
        return None

    def partner(self, stem: str, image: Path) -> Path | None:
        """The label file here of an image with that stem in its own tree."""
        return self.by_stem.get(stem) or self.by_stem.get(plain_stem(stem, image))

    def has(self, stem: str) -> bool:
        """Whether a file has that stem, told apart by its suffix or not."""
        return stem in self.by_stem or bool(told_apart(self.by_stem, stem))


def checked_subpath(name: str) -> str:
    """A subpath as listings have it: forward slashes, no ``./``, NFC. Raises `BadItem` when it leads out."""
    parts = [part for part in unicodedata.normalize("NFC", name).replace("\\", "/").split("/") if part != "."]
    if not parts or any(part in {"", ".."} or "\0" in part for part in parts) or parts[0][1:2] == ":":
        raise BadItem(f"file name {name!r} leads to another folder or is none; such names are never followed")
    return "/".join(parts)


def list_tree(folder: Path, root: Path, suffixes: Collection[str] = SOURCE_SUFFIXES) -> FileTree:
    """Files of `folder` and of every visible folder below it, each once; an absent folder is empty.

    A folder that is a link is passed over, unless the user allowed links.

    Raises:
        UserError: a folder leads out of `root` through a symbolic link.
    """
    by_path: dict[str, Path] = {}
    by_stem: dict[str, Path] = {}
    problems: list[Problem] = []
    waiting = [("", folder)]
    seen = {folder.resolve()}
    while waiting:
        prefix, current = waiting.pop()
        files = list_files(current, root, suffixes)
        by_path.update((prefix + name, path) for name, path in files.by_name.items())
        by_stem.update((prefix + stem, path) for stem, path in files.by_stem.items())
        problems += files.problems
        for child in subfolders(current):
            # A folder that is a link could be its own ancestor.
            real = child.resolve()
            if real not in seen and (follows_links() or not child.is_symlink()):
                seen.add(real)
                waiting.append((f"{prefix}{child.name}/", child))
    return FileTree(dict(sorted(by_path.items())), dict(sorted(by_stem.items())), tuple(problems))
