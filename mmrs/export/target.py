"""Where an export is written: a folder of this machine, or a URL that takes objects.

Both keep the parts that are whole, so that what was stopped goes on. A folder is whole once it is renamed from
``OUT.partial`` to ``OUT``; at a URL, where a move would be a copy, once `export.json` is there, which comes last. A
part for a URL is made in a folder of the machine that writes it and goes up whole.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mmrs.errors import RunFailure, UserError
from mmrs.export.format import PARTS_FOLDER
from mmrs.storage.atomic import write_atomic
from mmrs.storage.download import CONNECTIONS, fetch_all
from mmrs.storage.locks import whole_file_lock
from mmrs.storage.place import LOCK_NAME
from mmrs.storage.remote import RemotePlace, open_remote
from mmrs.text import not_empty, removal

EXPORT_STATE_NAME = "export.json"
_PARTIAL, _LOCK_NAME = ".partial", ".lock"
_DONE = ".done.json"
# One part of a split is at most the texts of a shard.
_MOST_PIECE_BYTES = 2**33


class ExportTarget(Protocol):
    """A place for one export. Instances are picklable: parts are written by other processes."""

    def held(self, state: bytes, say: Callable[[str], None]) -> object:
        """A context that keeps other writers out; inside it lies what was stopped, or nothing.

        Raises:
            UserError: something of others lies there, or another export, or somebody else is writing.
        """
        ...

    def done(self, names: Sequence[str]) -> dict[str, bytes]:
        """What `keep` was given, of those of these parts that are whole."""
        ...

    def writing(self) -> object:
        """A context whose value is a folder to write one part into."""
        ...

    def keep(self, folder: Path, name: str, counts: bytes) -> None:
        """The part of that name in a folder of `writing` is whole."""
        ...

    def joining(self) -> object:
        """A context whose value is a folder with the pieces of all parts, to write what all share into."""
        ...

    def finish(self, folder: Path, state: bytes) -> None:
        """The export is whole, with what lies in a folder of `joining`."""
        ...


@dataclass(frozen=True, slots=True)
class FolderTarget:
    """A folder of this machine, or of a file system that all machines of a cluster share."""

    out: Path

    @property
    def partial(self) -> Path:
        """Where the export lies until it is whole."""
        return self.out.with_name(self.out.name + _PARTIAL)

    @contextmanager
    def held(self, state: bytes, say: Callable[[str], None]) -> Iterator[None]:
        if os.path.lexists(self.out) and (self.out.is_symlink() or not self.out.is_dir() or any(self.out.iterdir())):
            raise UserError(not_empty(self.out))
        path = self.partial / EXPORT_STATE_NAME
        if self.partial.exists():
            try:
                found = path.read_bytes()
            except OSError:
                found = b""
            if found != state:
                raise UserError(_other_export(self.partial, removal(self.partial)))
            (self.partial / PARTS_FOLDER).mkdir(exist_ok=True)
        else:
            (self.partial / PARTS_FOLDER).mkdir(parents=True)
            write_atomic(path, state)
        try:
            with whole_file_lock(self.partial / _LOCK_NAME):
                yield
        except BlockingIOError as error:
            raise UserError(f"{self.partial} is being written to by another `mmrs export`.") from error

    def done(self, names: Sequence[str]) -> dict[str, bytes]:
        paths = {name: self.partial / PARTS_FOLDER / f"{name}{_DONE}" for name in names}
        return {name: path.read_bytes() for name, path in paths.items() if path.exists()}

    @contextmanager
    def writing(self) -> Iterator[Path]:
        if not (self.partial / EXPORT_STATE_NAME).exists():
            raise RunFailure(
                f"{os.uname().nodename}: {self.partial} is not there. All machines of a cluster need one shared folder "
                "under one path, or give --out a URL such as s3://BUCKET/FOLDER."
            )
        yield self.partial

    def keep(self, folder: Path, name: str, counts: bytes) -> None:
        write_atomic(folder / PARTS_FOLDER / f"{name}{_DONE}", counts)

    @contextmanager
    def joining(self) -> Iterator[Path]:
        yield self.partial

    def finish(self, folder: Path, state: bytes) -> None:
        # First what says that parts are whole: stopped amid this, an export must not take what is left for all.
        for path in (folder / PARTS_FOLDER).glob(f"*{_DONE}"):
            path.unlink()
        shutil.rmtree(folder / PARTS_FOLDER)
        (folder / _LOCK_NAME).unlink()
        os.replace(folder, self.out)


@dataclass(frozen=True, slots=True)
class UrlTarget:
    """A URL that takes objects, such as ``s3://BUCKET/FOLDER``. Files of a part go up several at a time."""

    place: RemotePlace

    @contextmanager
    def held(self, state: bytes, say: Callable[[str], None]) -> Iterator[None]:
        stopped = f"{PARTS_FOLDER}/{EXPORT_STATE_NAME}"
        with self.place.lock(say):
            found = self.place.read_many([stopped]).get(stopped)
            if found is None:
                if set(self.place.sizes()) - {LOCK_NAME}:
                    raise UserError(f"{self.place} is not empty. Choose another URL, or remove what lies there.")
                self.place.write(stopped, state)
            elif found != state:
                raise UserError(_other_export(self.place, f"all that lies under {self.place}"))
            yield

    def done(self, names: Sequence[str]) -> dict[str, bytes]:
        paths = {f"{PARTS_FOLDER}/{name}{_DONE}": name for name in names}
        return {paths[path]: content for path, content in self.place.read_many(list(paths)).items()}

    @contextmanager
    def writing(self) -> Iterator[Path]:
        with self.place.staging() as folder:
            (folder / PARTS_FOLDER).mkdir()
            yield folder

    def keep(self, folder: Path, name: str, counts: bytes) -> None:
        self._publish(folder)
        self.place.write(f"{PARTS_FOLDER}/{name}{_DONE}", counts)

    @contextmanager
    def joining(self) -> Iterator[Path]:
        with self.writing() as folder:
            fetch_all(lambda name: self._bring(folder, name), self._pieces(), CONNECTIONS)
            yield folder

    def finish(self, folder: Path, state: bytes) -> None:
        pieces = self._pieces()
        shutil.rmtree(folder / PARTS_FOLDER)
        self._publish(folder)
        self.place.write(EXPORT_STATE_NAME, state)
        # As in a folder: first what says that parts are whole, last what says that an export was stopped here.
        of_parts = sorted(name for name in self.place.sizes() if name.startswith(f"{PARTS_FOLDER}/"))
        self.place.remove([name for name in of_parts if name.endswith(_DONE)])
        self.place.remove([*pieces, f"{PARTS_FOLDER}/{EXPORT_STATE_NAME}"])

    def _pieces(self) -> list[str]:
        inside = (name for name in self.place.sizes() if name.startswith(f"{PARTS_FOLDER}/"))
        return sorted(name for name in inside if not name.endswith((_DONE, EXPORT_STATE_NAME)))

    def _bring(self, folder: Path, name: str) -> None:
        (folder / name).write_bytes(self.place.read(name, _MOST_PIECE_BYTES))

    def _publish(self, folder: Path) -> None:
        names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        fetch_all(lambda name: self.place.publish(folder, [name]), names, CONNECTIONS)


def export_target(out: Path | str) -> FolderTarget | UrlTarget:
    """Where `--out` leads. Raises `UserError` for a URL that is unknown or can only be read."""
    return FolderTarget(out) if isinstance(out, Path) else UrlTarget(open_remote(out))


def _other_export(where: object, what_to_remove: str) -> str:
    return (
        f"{where} holds another export, which was stopped: give its command again and it goes on, or remove it: "
        f"{what_to_remove}"
    )
