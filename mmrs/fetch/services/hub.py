"""Files of the Hugging Face Hub: listed by `huggingface_hub` at a pinned revision, with the sums that the Hub states.

Its own download writes to a cache, tells no sum that was compared, and follows redirects anywhere, so the files come by
their public addresses like all others.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import quote

from mmrs.errors import RunFailure, UserError
from mmrs.fetch.catalogue import FileFacts, HubPart
from mmrs.fetch.http_client import is_loopback
from mmrs.fetch.remote_file import GIT_BLOB, RemoteFile, remote_file
from mmrs.fetch.services.endpoints import Endpoints, address_at, odd_answer
from mmrs.storage.urls import describe_error

_ADVICE = "Where the repository asks for a login: `hf auth login`, or HF_TOKEN."


class HubSilent(RunFailure):
    """The Hub does not answer at all, after the library's own tries; asking it for another repository is of no use."""


def hub_files(part: HubPart, endpoints: Endpoints, pinned: str, stall_seconds: float) -> tuple[RemoteFile, ...]:
    """The files of a part.

    Args:
        pinned: the revision of an earlier fetch, for parts that have none of their own; empty: the newest.

    Raises:
        UserError: the repository, its revision or a file is not there, or needs a login.
        HubSilent: the Hub does not answer.
        RunFailure: it answers with a failure, or oddly.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError, HTTPError
    from huggingface_hub.hf_api import RepoFile

    endpoint = endpoints.hub_address()
    token = get_token()
    # A token is for the Hub alone, and for a server of this machine that stands for it.
    is_secret_safe = endpoint.startswith("https://") or is_loopback(endpoint)
    api = HfApi(endpoint=endpoint, token=token if token and is_secret_safe else False, library_name="mmrs")
    try:
        revision = _full_revision(api, part, pinned)
        entries = {
            entry.path: entry
            for entry in api.list_repo_tree(part.repo, recursive=True, repo_type="dataset", revision=revision)
            if isinstance(entry, RepoFile)
        }
    except HfHubHTTPError as error:
        status = error.response.status_code
        kind = UserError if status in (401, 403, 404) else RunFailure
        raise kind(f"{part.repo} on {endpoint}: {describe_error(error)}. {_ADVICE}") from None
    except (HTTPError, OSError) as error:
        raise HubSilent(f"{endpoint} does not answer: {describe_error(error)}.") from None
    secrets = {"Authorization": f"Bearer {token}"} if token and is_secret_safe else {}
    found = []
    for facts in (*part.files, *_matching(part, entries)):
        if facts.name not in entries:
            raise UserError(f"{part.repo} at {revision[:12]} has no file {facts.name!r} any more; see `mmrs sources`.")
        entry = entries[facts.name]
        url = f"{endpoint}/datasets/{part.repo}/resolve/{revision}/{quote(facts.name)}"
        digests = {"sha256": entry.lfs.sha256} if entry.lfs else {GIT_BLOB: entry.blob_id}
        address = address_at(url, endpoints.hub_hosts, secrets)
        found.append(remote_file(facts, address, size=entry.size, digests=digests, revision=revision, advice=_ADVICE))
    return tuple(found)


def _full_revision(api: Any, part: HubPart, pinned: str) -> str:
    asked = part.revision or pinned
    if len(asked) == 40:
        return asked
    revision = str(api.dataset_info(part.repo, revision=asked or None).sha)
    if not revision.startswith(asked):
        raise RunFailure(f"{part.repo}: the Hub answers with revision {revision[:12]} where {asked} was asked for.")
    return revision


def _matching(part: HubPart, entries: dict[str, Any]) -> Iterator[FileFacts]:
    """The files that the part's patterns mean, and that it does not list by name."""
    listed = {file.name for file in part.files}
    matched = [
        name
        for name in sorted(entries)
        if name not in listed and any(fnmatchcase(name, pattern) for pattern in part.patterns)
    ]
    if part.patterns and not matched:
        raise UserError(f"{part.repo} has no file like {' or '.join(part.patterns)}.")
    for name in matched:
        try:
            yield FileFacts(name=name, unpack=part.unpack)
        except ValueError as error:
            raise odd_answer(part.repo, f"the file name {name!r}") from error


@contextmanager
def quiet_library() -> Iterator[None]:
    """Without huggingface_hub's own lines about each try; what fails in the end is said once, by us."""
    from huggingface_hub.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
