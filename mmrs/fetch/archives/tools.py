"""Archives that no library of ours reads (rar, 7z, zips of several volumes): by `unar` or `7z`, where they are there.

What is in them is listed first and refused as in `mmrs.fetch.archives.members`; then the program writes into an empty
folder of ours, which is measured while it grows and looked through afterwards. rarfile and py7zr were looked at: the
first calls the same programs, the second holds whole files in memory.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mmrs.errors import RunFailure, UserError
from mmrs.fetch.archives.limits import Tally
from mmrs.fetch.archives.volumes import ArchiveVolumes
from mmrs.storage.plain_files import plain_member_path

_SEVEN_ZIP = ("7zz", "7z", "7za")
_LISTING_SECONDS, _LOOK_SECONDS = 600, 0.2
_MOST_LISTING_BYTES = 2**30
_MORE_THAN_LISTED = "{}: more comes out than it lists; it is not unpacked."


@dataclass(frozen=True, slots=True)
class ListedMember:
    """A file as a program lists it; `is_plain` where it is neither a link nor a device."""

    name: str
    size: int
    is_folder: bool
    is_plain: bool


class _Tool(Protocol):
    def members(self, archive: Path) -> Iterator[ListedMember]: ...

    def command(self, archive: Path, folder: Path) -> list[str]: ...


def unpack_with_tool(archive: ArchiveVolumes, kind: str, folder: Path, tally: Tally) -> None:
    """Unpack into an empty folder.

    Raises:
        UserError: no program for it is installed; names what to install.
        RunFailure: a hostile or damaged archive, see `archive_members`.
    """
    tool = _find_tool(kind)
    for member in tool.members(archive.paths[0]):
        tally.count_member(member.name, member.size)
        if not member.is_folder:
            plain_member_path(member.name)
            tally.count_bytes(member.size)
        if not member.is_plain:
            raise RunFailure(f"{archive.name}: {member.name[:120]!r} is a link or a device; it is not unpacked.")
    _run_watched(tool.command(archive.paths[0], folder), archive.name, folder, tally.unpacked_bytes)
    come = 0
    for path in _walk(folder):
        found = path.lstat()
        come += found.st_size
        if not stat.S_ISREG(found.st_mode):
            raise RunFailure(f"{archive.name}: {path.name!r} came out as a link or a device; nothing is kept.")
    if come > tally.unpacked_bytes:
        raise RunFailure(_MORE_THAN_LISTED.format(archive.name))


def _find_tool(kind: str) -> _Tool:
    unar = shutil.which("unar"), shutil.which("lsar")
    seven = next((path for name in _SEVEN_ZIP if (path := shutil.which(name))), None)
    if kind == "rar" and all(unar):
        return _Unar(*map(str, unar))
    if seven is not None:
        return _SevenZip(seven)
    if all(unar):
        return _Unar(*map(str, unar))
    raise UserError(
        f"an archive of kind {kind} needs unar (Debian: `apt install unar`, macOS: `brew install unar`) or 7z; install "
        "one and give the same command again."
    )


def _listing(command: list[str]) -> str:
    try:
        shown = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_LISTING_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise RunFailure(f"{Path(command[0]).name} lists nothing of {command[-1]} in {_LISTING_SECONDS} s.") from error
    text = shown.stdout[:_MOST_LISTING_BYTES].decode(errors="surrogateescape")
    if shown.returncode:
        said = (shown.stderr.decode(errors="replace").strip() or text.strip())[-300:]
        raise RunFailure(f"{Path(command[-1]).name} is damaged, or protected by a password: {said}")
    return text


@dataclass(frozen=True, slots=True)
class _Unar:
    unar: str
    lsar: str

    def members(self, archive: Path) -> Iterator[ListedMember]:
        return parse_lsar(_listing([self.lsar, "-json", "-p", "", str(archive)]))

    def command(self, archive: Path, folder: Path) -> list[str]:
        options = ["-quiet", "-no-directory", "-no-recursion", "-force-overwrite", "-p", ""]
        return [self.unar, *options, "-o", str(folder), str(archive)]


@dataclass(frozen=True, slots=True)
class _SevenZip:
    program: str

    def members(self, archive: Path) -> Iterator[ListedMember]:
        return parse_seven_zip(_listing([self.program, "l", "-slt", "-ba", "-p-", "--", str(archive)]))

    def command(self, archive: Path, folder: Path) -> list[str]:
        return [self.program, "x", "-y", "-p-", "-bd", "-bso0", f"-o{folder}", "--", str(archive)]


def parse_lsar(text: str) -> Iterator[ListedMember]:
    """The members in ``lsar -json``. Raises RunFailure where it is of another form."""
    try:
        rows = json.loads(text)["lsarContents"]
        for row in rows:
            posix = int(row.get("XADPosixPermissions", 0))
            is_link = bool(row.get("XADIsLink") or row.get("XADIsHardLink") or row.get("XADLinkDestination"))
            is_folder = bool(row.get("XADIsDirectory"))
            is_plain = stat.S_IFMT(posix) in (0, stat.S_IFREG, stat.S_IFDIR)
            yield ListedMember(str(row["XADFileName"]), int(row["XADFileSize"]), is_folder, is_plain and not is_link)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise RunFailure(f"lsar lists members in another form than expected ({type(error).__name__}).") from error


def parse_seven_zip(text: str) -> Iterator[ListedMember]:
    """The members in ``7z l -slt -ba``: blocks of lines ``Key = value``. Raises RunFailure for another form."""
    for block in re.split(r"\n\s*\n", text.replace("\r\n", "\n").strip()):
        values = dict(line.split(" = ", 1) for line in block.split("\n") if " = " in line)
        if not values:
            continue
        attributes = values.get("Attributes", "")
        is_folder = values.get("Folder") == "+" or attributes.startswith("D")
        is_link = any(values.get(key) for key in ("Symbolic Link", "Hard Link")) or bool(
            re.search(r"(?:^|\s)[lbcps][rwxsStT-]{9}", attributes)
        )
        size = values.get("Size", "") or "0"
        if "Path" not in values or not (size.isdecimal() and size.isascii() and len(size) < 20):
            raise RunFailure("7z lists members in another form than expected.")
        yield ListedMember(values["Path"], int(size), is_folder, not is_link)


def _run_watched(command: list[str], name: str, folder: Path, most_bytes: int) -> None:
    """Run a program that writes into `folder`; end it where more comes than was listed."""
    allowed = most_bytes + 2**20
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if hasattr(resource, "prlimit"):
        with suppress(ProcessLookupError):
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (allowed, allowed))
    try:
        while process.poll() is None:
            time.sleep(_LOOK_SECONDS)
            if sum(path.lstat().st_size for path in _walk(folder, gone_is_fine=True)) > allowed:
                raise RunFailure(_MORE_THAN_LISTED.format(name))
        said = process.stderr.read(2000).decode(errors="replace").strip() if process.stderr else ""
        if process.returncode:
            raise RunFailure(
                f"{name} cannot be unpacked by {Path(command[0]).name}: {said[-300:] or 'no reason given'}"
            )
    finally:
        process.kill()
        process.wait()
        if process.stderr:
            process.stderr.close()


def _walk(folder: Path, gone_is_fine: bool = False) -> Iterator[Path]:
    ignored: Callable[[OSError], None] | None = None if gone_is_fine else _raise
    for place, folders, files in os.walk(folder, onerror=ignored):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        for name in (*files, *links):
            path = Path(place, name)
            if gone_is_fine and not os.path.lexists(path):
                continue
            yield path


def _raise(error: OSError) -> None:
    raise error
