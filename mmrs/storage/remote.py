"""Places behind a URL, through fsspec: object stores, and whatever else it knows that can be written to.

An object store shows an upload when it is complete, so a shard is made in a local folder and uploaded whole. Other
storages get it under a temporary name that is then moved. Credentials and endpoints come from the environment
variables and files that the protocol's own tools use (for S3 ``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL``, ...).
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrs.errors import UserError
from mmrs.storage.atomic import TEMPORARY_MARK
from mmrs.storage.lease import Lease
from mmrs.storage.place import LOCK_NAME, not_ours

# A PUT of these shows the whole object or nothing, and a move would be a copy.
_OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oci", "oss", "tos"})
_EXTRAS = {"s3": "mmrs[s3]", "s3a": "mmrs[s3]"}
_PASSWORD = re.compile(r"://[^/@]*:[^/@]*@")


def open_remote(url: str) -> RemotePlace:
    """The place behind `url`.

    Raises:
        UserError: a protocol that is unknown, not installed, or cannot hold a data set; a URL with a password.
    """
    protocol = url.partition("://")[0]
    if _PASSWORD.search(url):
        raise UserError(
            f"{_PASSWORD.sub('://...@', url)} carried a password, which would end up in logs; give credentials in the "
            f"environment variables or the configuration file that tools for {protocol} use."
        )
    if protocol == "hf":
        raise UserError(f"{url}: build into a folder and publish it with `mmrs push FOLDER ORG/NAME`.")
    if protocol == "memory":
        raise UserError(f"{url} would vanish with this process; give a folder or another URL.")
    place = RemotePlace(url)
    place.filesystem()
    return place


@dataclass(frozen=True, slots=True)
class RemotePlace:
    """A URL that fsspec can write to; see `mmrs.storage.place.Place`."""

    url: str

    def __str__(self) -> str:
        return self.url

    @property
    def protocol(self) -> str:
        return self.url.partition("://")[0]

    def filesystem(self) -> Any:
        """The fsspec file system, one per process. Raises `UserError` where there is none."""
        import fsspec

        try:
            # Listings are never kept: other builds write there too.
            return fsspec.filesystem(self.protocol, use_listings_cache=False)
        except ImportError as error:
            package = _EXTRAS.get(self.protocol, f"fsspec[{self.protocol}]")
            raise UserError(f"{self.url} needs a package that is missing ({error}): pip install '{package}'") from error
        except ValueError as error:
            raise UserError(f"{self.url}: {error}. Give a folder, or a URL such as s3://BUCKET/FOLDER.") from error

    def read(self, name: str) -> bytes:
        with self._as_os_errors():
            return self.filesystem().cat_file(self._path(name))

    def read_many(self, names: Sequence[str]) -> dict[str, bytes]:
        paths = {self._path(name): name for name in names}
        if not paths:
            return {}
        with self._as_os_errors():
            found = self.filesystem().cat(list(paths), on_error="return")
            contents: Mapping[str, bytes | Exception] = found if isinstance(found, dict) else {next(iter(paths)): found}
            for content in contents.values():
                if isinstance(content, Exception) and not isinstance(content, FileNotFoundError):
                    raise content
        return {paths[path]: content for path, content in contents.items() if isinstance(content, bytes)}

    def write(self, name: str, data: bytes) -> None:
        with self._as_os_errors(), self._upload(name) as target:
            self.filesystem().pipe_file(target, data)

    def sizes(self) -> dict[str, int]:
        with self._as_os_errors():
            found = self.filesystem().find(self._path(""), detail=True)
        return {path.removeprefix(self._path("")): int(info["size"]) for path, info in found.items()}

    def remove(self, names: Iterable[str]) -> None:
        filesystem = self.filesystem()
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
                self.filesystem().put_file(str(folder / name), target)

    def remove_leftovers(self) -> None:
        shutil.rmtree(self._scratch())
        if self.protocol not in _OBJECT_STORES:
            self.remove([name for name in self.sizes() if TEMPORARY_MARK in name])

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
            self.filesystem().pipe_file(self._path(name), data, mode="create")

    def _path(self, name: str) -> str:
        return f"{self.filesystem()._strip_protocol(self.url).rstrip('/')}/{name}"

    @contextmanager
    def _upload(self, name: str) -> Iterator[str]:
        """The path to upload to so that `name` changes at once."""
        final = self._path(name)
        if self.protocol in _OBJECT_STORES:
            yield final
            return
        filesystem = self.filesystem()
        filesystem.makedirs(final.rpartition("/")[0], exist_ok=True)
        temporary = f"{final}{TEMPORARY_MARK}{secrets.token_hex(4)}"
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
            raise OSError(f"{self.url}: {type(error).__name__}: {error}") from error
