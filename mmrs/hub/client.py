"""The calls of `huggingface_hub` that a push needs, with retries, and with errors that show no secret."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import orjson
from pydantic import ValidationError

from mmrs.errors import RunFailure, UserError
from mmrs.shards.manifest import MANIFEST_NAME, Manifest, done_path
from mmrs.storage import urls
from mmrs.storage.atomic import file_sha256
from mmrs.storage.retry import retried

if TYPE_CHECKING:
    from huggingface_hub import HfApi

# Statuses that a second try cannot change.
_HOPELESS_STATUS = {400, 401, 403, 404, 405, 411, 413, 415, 422}

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a publication: on disk (`path`), or bytes made for it (`data`). Size in bytes."""

    name: str
    size: int
    sha256: str
    path: Path | None = None
    data: bytes | None = None
    git_sha1: str | None = None


def made_file(name: str, data: bytes) -> HubFile:
    """A file of the publication from its bytes."""
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    return HubFile(name, len(data), hashlib.sha256(data).hexdigest(), data=data, git_sha1=blob)


def missing(files: Sequence[HubFile], held: Mapping[str, str]) -> list[HubFile]:
    """The files that a repository with these digests (sha256 of large files, else git sha1) lacks or has otherwise."""
    return [file for file in files if held.get(file.name) not in (file.sha256, file.git_sha1 or file.sha256)]


def without_token(text: str, token: str | None) -> str:
    """`text` without the token, anything that looks like one, and the queries of URLs, which may be signed."""
    return urls.redacted(text.replace(token, "***") if token else text)


def _check_endpoint(endpoint: str | None, token: str | None) -> None:
    """No credentials in the address, and no token to a host that anybody on the way can listen to."""
    if endpoint is None:
        return
    urls.refuse_credentials(endpoint)
    address = urlsplit(endpoint)
    loopback = address.hostname in ("localhost", "127.0.0.1", "::1")
    if token and address.scheme != "https" and not loopback:
        raise UserError(f"--endpoint {endpoint}: a token is sent to https or to this machine alone; use https.")


class HubClient:
    """One dataset repository.

    Args:
        repo: ``ORG/NAME``.
        endpoint: of the Hub; default the library's (``HF_ENDPOINT``).
        token: default the one that ``hf auth login`` or ``HF_TOKEN`` gave.
        waits_s: seconds to wait before each new try after a failed request.

    Raises:
        UserError: `repo` is no name of a repository.
    """

    def __init__(self, repo: str, endpoint: str | None, token: str | None, waits_s: Sequence[float]):
        from huggingface_hub import HfApi, get_token
        from huggingface_hub.errors import HFValidationError
        from huggingface_hub.utils import validate_repo_id

        try:
            validate_repo_id(repo)
        except HFValidationError as error:
            raise UserError(f"{repo!r} is no name for a repository (ORG/NAME): {error}") from error
        if repo.count("/") != 1:
            raise UserError(f"{repo!r} must be ORG/NAME or USER/NAME, as in `mmrs push DIR my-lab/remote-sensing`.")
        self.repo = repo
        self._token = token or get_token()
        self._waits_s = tuple(waits_s)
        _check_endpoint(endpoint, self._token)
        self._api: HfApi = HfApi(endpoint=endpoint, token=self._token or False, library_name="mmrs")
        self._listed: dict[str, str] | None = None

    @property
    def url(self) -> str:
        return f"{self._api.endpoint}/datasets/{self.repo}"

    @property
    def logged_in(self) -> bool:
        return self._token is not None

    @cached_property
    def private(self) -> bool | None:
        """Whether the repository is private; None when there is no such repository, or this token may not see it."""
        return self._tried("read the repository", self._private)

    def held(self, again: bool = False) -> dict[str, str]:
        """Path -> digest of what the repository holds (see `missing`); listed once, and again after a failure."""
        if again:
            self._listed = None
        return self._tried("list the repository", self._list)

    def create(self, private: bool) -> None:
        """Make the repository."""
        self._tried(
            "create the repository",
            lambda: self._api.create_repo(self.repo, repo_type="dataset", private=private, exist_ok=True),
        )

    def commit(self, files: Sequence[HubFile], deleted: Sequence[str], message: str) -> None:
        """Upload the files that are not there and commit them, with the removal of the `deleted` paths.

        Raises:
            RunFailure: a file on disk has not the digest that the manifest states.
        """
        self._tried(f"upload {files[0].name}" if files else "remove old files", self._commit, files, deleted, message)

    def older_files(self) -> set[str]:
        """The files of shards that the repository's own manifest names; empty where it has no such manifest."""
        return self._tried("read the old manifest", self._older_files)

    def content(self, name: str) -> bytes:
        """A small file of the repository; nothing where there is none."""
        return self._tried(f"read {name}", self._content, name)

    def _tried(self, what: str, function: Callable[..., Value], *arguments) -> Value:
        """``function(*arguments)``, again after each wait while the failure may pass."""
        from huggingface_hub.errors import HfHubHTTPError, HTTPError

        def request() -> Value:
            with _quiet_bars():
                return function(*arguments)

        def failure(error: Exception, tried: int, is_last: bool) -> Exception | None:
            self._listed = None
            status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
            message = without_token(str(error), self._token)
            if status in (401, 403):
                return UserError(self._no_right(what, message))
            if status in _HOPELESS_STATUS or is_last:
                return RunFailure(
                    f"{self.repo}: could not {what}: {message}\nWhat is uploaded stays; run the same `mmrs push` again "
                    "to continue."
                )
            return None

        return retried(request, (HTTPError, OSError, RuntimeError, ValueError), self._waits_s, failure)

    def _no_right(self, what: str, message: str) -> str:
        if not self.logged_in:
            return f"{self.repo}: could not {what}: not logged in. Type `hf auth login`, or set HF_TOKEN."
        return f"{self.repo}: could not {what}: {message}\nThe token must have the right to write to this name."

    def _private(self) -> bool | None:
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            return bool(self._api.dataset_info(self.repo, expand=["private"]).private)
        except RepositoryNotFoundError as error:
            if error.response.status_code == 401 and self._token:
                # The Hub hides what a token may not see; only whoami tells a bad token from a missing repository.
                self._api.whoami(token=self._token)
            return None

    def _list(self) -> dict[str, str]:
        from huggingface_hub.errors import RepositoryNotFoundError
        from huggingface_hub.hf_api import RepoFile

        if self._listed is None:
            try:
                entries = list(self._api.list_repo_tree(self.repo, recursive=True, repo_type="dataset"))
            except RepositoryNotFoundError:
                entries = []
            files = [entry for entry in entries if isinstance(entry, RepoFile)]
            self._listed = {file.path: file.lfs.sha256 if file.lfs else file.blob_id for file in files}
        return self._listed

    def _commit(self, files: Sequence[HubFile], deleted: Sequence[str], message: str) -> None:
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        held = self._list()
        operations: list = []
        for file in missing(files, held):
            if file.path is not None and (actual := file_sha256(file.path)) != file.sha256:
                raise RunFailure(
                    f"{file.path} has sha256 {actual[:12]}, the manifest says {file.sha256[:12]}: it was changed after "
                    "the build. Delete it and run the same `mmrs build` again."
                )
            operation = CommitOperationAdd(file.name, str(file.path) if file.path is not None else file.data or b"")
            # The library would read the file once more to compute it.
            operation.upload_info.sha256 = bytes.fromhex(file.sha256)
            operations.append(operation)
        operations += [CommitOperationDelete(name) for name in deleted if name in held]
        if operations:
            self._api.create_commit(self.repo, operations, commit_message=message, repo_type="dataset")
            self._listed = {name: digest for name, digest in held.items() if name not in deleted}
            self._listed |= {file.name: file.sha256 for file in files}

    def _older_files(self) -> set[str]:
        try:
            manifest = Manifest.model_validate(orjson.loads(self._content(MANIFEST_NAME)))
        except (ValidationError, orjson.JSONDecodeError):
            return set()
        return {name for shard in manifest.shards for name in (shard.path, shard.index_path, done_path(shard.path))}

    def _content(self, name: str) -> bytes:
        from huggingface_hub.errors import RemoteEntryNotFoundError, RepositoryNotFoundError

        with tempfile.TemporaryDirectory(prefix="mmrs-push-") as folder:
            try:
                path = self._api.hf_hub_download(
                    self.repo, name, repo_type="dataset", local_dir=folder, force_download=True
                )
            except (RemoteEntryNotFoundError, RepositoryNotFoundError):
                return b""
            return Path(path).read_bytes()


@contextmanager
def _quiet_bars() -> Iterator[None]:
    # The library's bars and ours would overwrite each other.
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
