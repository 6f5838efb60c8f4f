"""Fetched files to their places below a source's folder: archives unpacked, all others moved.

An archive is unpacked into a folder of our own on the same file system and moved file by file only when it is whole,
so that no part of one is ever taken for a source. What is there already and is not the same is somebody else's, and
ends the placing.
"""

from __future__ import annotations

import filecmp
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mmrs.errors import RunFailure
from mmrs.fetch.archives.limits import ArchiveLimits, Tally
from mmrs.fetch.archives.members import ArchiveMember, NeedsTool, archive_members, explained_damage
from mmrs.fetch.archives.tools import unpack_with_tool
from mmrs.fetch.archives.volumes import ArchiveVolumes, archive_kind
from mmrs.fetch.no_room import NO_ROOM
from mmrs.source import JUNK_FOLDERS
from mmrs.storage.atomic import remove_folder, temporary_name
from mmrs.storage.plain_files import open_no_link, plain_member_path
from mmrs.text import removal

PlacedFile = tuple[str, int]
"""Path below the source's folder, with forward slashes, and size in bytes."""

_JUNK_FILES = (".DS_Store", "Thumbs.db", "desktop.ini")


@dataclass(frozen=True, slots=True)
class Placing:
    """Where files of one source go.

    Args:
        folder: of the source; made where it is not there. It may be a link of the user's; nothing below it may.
        staging: an existing folder of ours on the same file system.
    """

    folder: Path
    staging: Path
    limits: ArchiveLimits = field(default_factory=ArchiveLimits)
    advance: Callable[[int], None] = lambda count: None

    def place(self, path: Path, to: str, name: str) -> tuple[PlacedFile, ...]:
        """Move a file that is no archive to `to`, by default to `name`. Raises as `unpack`."""
        target = to or name
        size = path.stat().st_size
        self._publish(path, target)
        return ((target, size),)

    def unpack(self, archive: ArchiveVolumes, to: str, tree: Mapping[str, str] | None = None) -> tuple[PlacedFile, ...]:
        """Unpack an archive below `to`.

        Args:
            tree: of an archive of a git commit: path -> hash of each file to take out, below the first folder.

        Raises:
            RunFailure: a damaged or hostile archive, a file that lies in the way, a full disk.
            UserError: a program that unpacks it is missing.
        """
        kind = archive_kind(archive)
        if kind is None:
            raise RunFailure(f"{archive.name} is no archive that is known; nothing was unpacked.")
        with self._staged(archive.name) as staged:
            tally = Tally(archive.name, self.limits, archive.size())
            try:
                with explained_damage(archive.name):
                    for member in archive_members(archive, kind, tally, _is_wanted(tree)):
                        self._write(member, staged, tree)
            except NeedsTool:
                if tree:
                    raise
                unpack_with_tool(archive, kind, staged, tally)
            found = sorted(_files(staged))
            if missing := sorted(set(tree or ()) - {path for path, _ in found}):
                raise RunFailure(f"{archive.name} lacks {len(missing)} of the commit's files, {missing[0]} first.")
            placed = [(f"{to}/{path}" if to else path, size) for path, size in found]
            for (path, _), (target, _) in zip(found, placed, strict=True):
                self._publish(staged / path, target)
        return tuple(placed)

    @contextmanager
    def _staged(self, name: str) -> Iterator[Path]:
        folder = self.staging / temporary_name("unpacked")
        folder.mkdir(mode=0o700)
        try:
            yield folder
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            what, remedy = NO_ROOM[error.errno]
            raise RunFailure(
                f"{name}: {what} {self.folder}; nothing of it was unpacked. {remedy}, and the same command goes on."
            ) from error
        finally:
            remove_folder(folder)

    def _write(self, member: ArchiveMember, staged: Path, tree: Mapping[str, str] | None) -> None:
        path = _below_first(member.path) if tree else member.path
        target = staged / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            descriptor = open_no_link(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except (FileExistsError, NotADirectoryError) as error:
            raise RunFailure(f"{member.path[:120]!r} stands in the archive as a file and as a folder.") from error
        blob = hashlib.sha1(b"blob %d\0" % member.size, usedforsecurity=False)
        with open(descriptor, "wb") as file:
            for piece in member.pieces():
                file.write(piece)
                if tree:
                    blob.update(piece)
                self.advance(len(piece))
        if tree and blob.hexdigest() != tree[path]:
            raise RunFailure(f"{path} has not the hash that the commit says; fetch it again.")

    def _publish(self, made: Path, target: str) -> None:
        path = self.folder / plain_member_path(target)
        self._make_parents(path)
        if os.path.lexists(path):
            is_same = path.is_file() and not path.is_symlink() and filecmp.cmp(made, path, shallow=False)
            if not is_same:
                raise RunFailure(
                    f"{path} is there already, with another content, and is not replaced. Move it away, or "
                    f"begin again with {removal(self.folder)}"
                )
        os.replace(made, path)

    def _make_parents(self, path: Path) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        between = list(path.relative_to(self.folder).parents)[-2::-1]
        for parent in (self.folder / part for part in between):
            if parent.is_symlink():
                raise RunFailure(f"{parent} is a link; nothing is written through it. Remove it.")
            try:
                parent.mkdir(exist_ok=True)
            except FileExistsError as error:
                raise RunFailure(f"{parent} is a file where a folder is needed. Move it away.") from error


def holds_all(folder: Path, placed: tuple[PlacedFile, ...]) -> bool:
    """Whether every file is where it was placed, with its size."""
    for path, size in placed:
        try:
            if os.lstat(os.path.join(folder, path)).st_size != size:
                return False
        except OSError:
            return False
    return True


def _is_wanted(tree: Mapping[str, str] | None) -> Callable[[str], bool]:
    if tree:
        return lambda path: _below_first(path) in tree
    return lambda path: not _is_junk(path)


def _is_junk(path: str) -> bool:
    *folders, name = path.split("/")
    return name in _JUNK_FILES or name.startswith("._") or any(folder.lower() in JUNK_FOLDERS for folder in folders)


def _below_first(path: str) -> str:
    return path.partition("/")[2]


def _files(folder: Path) -> Iterator[PlacedFile]:
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            relative = path.relative_to(folder).as_posix()
            if not _is_junk(relative):
                yield relative, path.lstat().st_size
