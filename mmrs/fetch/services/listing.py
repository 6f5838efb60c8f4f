"""The parts of a source as files, each part asked of its service."""

from __future__ import annotations

from collections.abc import Mapping

from mmrs.errors import RunFailure
from mmrs.fetch.catalogue import (
    DownloadPart,
    DrivePart,
    GithubLfsPart,
    GithubReleasePart,
    GithubTreePart,
    HubPart,
    ZenodoPart,
)
from mmrs.fetch.http_client import RefusedAddress, pause_as_asked
from mmrs.fetch.remote_file import RemoteFile
from mmrs.fetch.services.drive import drive_files
from mmrs.fetch.services.endpoints import Endpoints
from mmrs.fetch.services.github import attached_files, lfs_files, tree_files
from mmrs.fetch.services.hub import hub_files
from mmrs.fetch.services.web import web_files
from mmrs.fetch.services.zenodo import zenodo_files
from mmrs.storage.download import PASSING_CLIENT_ERRORS
from mmrs.storage.retry import Patience, retried
from mmrs.storage.urls import describe_error


def part_name(part: DownloadPart) -> str:
    """What a part is called in messages and in the lock file: its service and what it is asked for."""
    place = getattr(part, "repo", None) or getattr(part, "record", None)
    return f"{part.service}:{place}" if place else part.service


def list_part(
    part: DownloadPart, endpoints: Endpoints, pinned: Mapping[str, str], patience: Patience
) -> tuple[RemoteFile, ...]:
    """The files of a part of the catalogue.

    Args:
        pinned: `part_name` -> revision of an earlier fetch.

    Raises:
        UserError: what the catalogue names is not there any more, or a package is missing.
        RunFailure: the service does not answer after several tries, or answers oddly.
    """
    revision = pinned.get(part_name(part), "")
    stall_seconds = patience.stall_seconds

    def ask() -> tuple[RemoteFile, ...]:
        if isinstance(part, HubPart):
            return hub_files(part, endpoints, revision, stall_seconds)
        if isinstance(part, ZenodoPart):
            return zenodo_files(part, endpoints, stall_seconds)
        if isinstance(part, GithubTreePart):
            return tree_files(part, endpoints, stall_seconds)
        if isinstance(part, GithubReleasePart):
            return attached_files(part, endpoints, stall_seconds)
        if isinstance(part, GithubLfsPart):
            return lfs_files(part, endpoints, revision, stall_seconds)
        return drive_files(part, endpoints) if isinstance(part, DrivePart) else web_files(part)

    def failure(error: Exception, tried: int, is_last: bool) -> Exception | None:
        status = getattr(error, "status", 0)
        is_final = isinstance(error, RefusedAddress) or (400 <= status < 500 and status not in PASSING_CLIENT_ERRORS)
        if not is_last and not is_final:
            return None
        limit = " GITHUB_TOKEN raises GitHub's limit of requests." if status in (403, 429) else ""
        return RunFailure(f"{part_name(part)} cannot be listed: {describe_error(error)}.{limit}")

    return retried(ask, (OSError, EOFError), patience.waits(part_name(part)), failure, pause_as_asked)
