"""Places behind a URL that are written to, through fsspec: object stores, and whatever else it knows.

An object store shows an upload when it is complete, so a shard is made in a local folder and uploaded whole. Other
storages get it under a temporary name that is then moved. Failed requests are tried again by the protocol's own client
(for S3 as ``AWS_MAX_ATTEMPTS`` says): only it knows which writes may be sent twice.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrs.errors import UserError
from mmrs.storage.atomic import TEMPORARY_MARK, is_temporary, temporary_name
from mmrs.storage.lease import Lease
from mmrs.storage.place import LOCK_NAME, MOST_BYTES, not_ours, too_large
from mmrs.storage.urls import describe_error, file_system, scheme_of


def open_remote(url: str) -> RemotePlace:
    """The place behind a checked URL.

    Raises:
        UserError: a protocol that is not installed, or that nothing can be written to.
    """
    if refusal := scheme_of(url).refusal:
        raise UserError(f"{url}: {refusal}")
    place = RemotePlace(url)
    place.file_system()
    return place


@dataclass(frozen=True, slots=True)
class RemotePlace:
    """A URL that fsspec can write to; see `mmrs.storage.place.Place`."""

    url: str

    def __str__(self) -> str:
        return self.url

    def file_system(self) -> Any:
        """The fsspec file system, one per process. Raises `UserError` where there is none."""
        # Listings are never kept: other builds write there too.
        return file_system(self.url, use_listings_cache=False)

    def read(self, name: str, most_bytes: int = MOST_BYTES) -> bytes:
        with self._as_os_errors():
            content = self.file_system().cat_file(self._path(name))
        if len(content) > most_bytes:
            raise too_large(f"{self.url}/{name}", most_bytes)
        return content

    def read_many(self, names: Sequence[str]) -> dict[str, bytes]:
        paths = {self._path(name): name for name in names}
        if not paths:
            return {}
        with self._as_os_errors():
            found = self.file_system().cat(list(paths), on_error="return")
            contents: Mapping[str, bytes | Exception] = found if isinstance(found, dict) else {next(iter(paths)): found}
            for content in contents.values():
                if isinstance(content, Exception) and not isinstance(content, FileNotFoundError):
                    raise content
        return {paths[path]: content for path, content in contents.items() if isinstance(content, bytes)}

    def write(self, name: str, data: bytes) -> None:
        with self._as_os_errors(), self._upload(name) as target:
            self.file_system().pipe_file(target, data)

    def write_parts(self, name: str, parts: Iterable[bytes]) -> None:
        with self.staging() as folder:
            file_name = name.rpartition("/")[2]
            with (folder / file_name).open("wb") as file:
                file.writelines(parts)
            with self._as_os_errors(), self._upload(name) as target:
                self.file_system().put_file(str(folder / file_name), target)

    def sizes(self) -> dict[str, int]:
        with self._as_os_errors():
            found = self.file_system().find(self._path(""), detail=True)
        return {path.removeprefix(self._path("")): int(info["size"]) for path, info in found.items()}

    def remove(self, names: Iterable[str]) -> None:
        filesystem = self.file_system()
        for name in names:
            try:
                with self._as_os_errors():
                    filesystem.rm_file(self._path(name))
            except FileNotFoundError:
                continue

    @contextmanager
    def staging(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(dir=self._scratch()) as folder:
            yield Path(folder)

    def publish(self, folder: Path, names: Sequence[str]) -> None:
        for name in names:
            with self._as_os_errors(), self._upload(name) as target:
                self.file_system().put_file(str(folder / name), target)

    def remove_leftovers(self) -> tuple[str, ...]:
        shutil.rmtree(self._scratch())
        if scheme_of(self.url).shows_whole_files:
            return ()
        marked = [name for name in self.sizes() if TEMPORARY_MARK in name]
        ours = [name for name in marked if is_temporary(name.rpartition("/")[2])]
        self.remove(ours)
        return tuple(sorted(set(marked) - set(ours)))

    @contextmanager
    def lock(self, say: Callable[[str], None]) -> Iterator[str]:
        with self._lease().held(str(self), say) as token:
            yield token

    def check(self, token: str) -> None:
        if self._lease().token() != token:
            raise not_ours(self)

    def _lease(self) -> Lease:
        return Lease(self, LOCK_NAME)

    def create(self, name: str, data: bytes) -> None:
        """Write a file that is not there. Raises FileExistsError where it is, also when two try at once."""
        with self._as_os_errors():
            self.file_system().pipe_file(self._path(name), data, mode="create")

    def _path(self, name: str) -> str:
        return f"{self.file_system()._strip_protocol(self.url).rstrip('/')}/{name}"

    @contextmanager
    def _upload(self, name: str) -> Iterator[str]:
        """The path to upload to so that `name` changes at once."""
        final = self._path(name)
        if scheme_of(self.url).shows_whole_files:
            yield final
            return
        filesystem = self.file_system()
        folder, _, file_name = final.rpartition("/")
        filesystem.makedirs(folder, exist_ok=True)
        temporary = f"{folder}/{temporary_name(file_name)}"
        yield temporary
        filesystem.mv(temporary, final)

    def _scratch(self) -> Path:
        """A local folder that only builds to this URL use, so that the next one can clear what a killed one left."""
        name = f"mmrs-{os.getuid()}-{hashlib.sha256(self.url.encode()).hexdigest()[:16]}"
        folder = Path(tempfile.gettempdir()) / name
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            raise UserError(f"{folder} belongs to somebody else; set TMPDIR to a folder of your own.")
        return folder

    @contextmanager
    def _as_os_errors(self) -> Iterator[None]:
        # Clients raise types of their own beside OSError (botocore: no credentials, no connection), unknown here.
        try:
            yield
        except (OSError, UserError):
            raise
        except Exception as error:
            raise OSError(f"{self.url}: {describe_error(error)}") from error
