"""Files of GitHub: trees of commits, files attached to releases, large files (Git LFS).

A tree is listed by GitHub's interface and its hash is computed again from the listing, so that what is compared with
each file is what the commit's tree says. Trees of more than `_MOST_SINGLE_FILES` files come as one archive, whose own
bytes GitHub may change at any time and which therefore has no sum: its files have theirs.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from mmrs.errors import RunFailure
from mmrs.fetch.catalogue import FileFacts, GithubLfsPart, GithubReleasePart, GithubTreePart
from mmrs.fetch.http_client import Address, read_small
from mmrs.fetch.remote_file import GIT_BLOB, RemoteFile, remote_file
from mmrs.fetch.services.endpoints import Endpoints, address_at, ask_json, odd_answer
from mmrs.storage.plain_files import plain_member_path

_MOST_SINGLE_FILES = 40
_FOLDER_MODE, _PLAIN_MODES = "040000", ("100644", "100755")
_SHA1 = re.compile(r"[0-9a-f]{40}")
_POINTER = re.compile(rb"version https://git-lfs\S*\noid sha256:([0-9a-f]{64})\nsize (\d{1,15})\n")
_LFS_ADVICE = "Repositories have a quota for large files that may be used up; try again later."


def tree_files(part: GithubTreePart, endpoints: Endpoints, stall_seconds: float) -> tuple[RemoteFile, ...]:
    """The files of a commit below the part's folders.

    Raises:
        RunFailure: the listing is of another form, or does not belong to the commit, or a folder is not in it.
        OSError: GitHub does not answer, or refuses (60 unasked requests an hour; more with GITHUB_TOKEN).
    """
    commit, tree = _commit(part.repo, part.commit, endpoints, stall_seconds)
    blobs = _Listing(part.repo, endpoints, stall_seconds).blobs(tree, "", part.folders)
    for folder in part.folders:
        if not any(_is_below(path, folder) for path in blobs):
            raise odd_answer(f"{part.repo} at {commit[:12]}", f"no {folder}")
    if len(blobs) > _MOST_SINGLE_FILES:
        return (_archive(part, commit, blobs, endpoints),)
    found = []
    for path, blob in sorted(blobs.items()):
        url = f"{endpoints.github_raw}/{part.repo}/{commit}/{quote(path)}"
        facts = FileFacts(name=path, to=f"{part.to}/{path}" if part.to else path, unpack=False)
        known: dict[str, Any] = {"size": blob.size, "digests": {GIT_BLOB: blob.sha}, "revision": commit}
        found.append(remote_file(facts, address_at(url, endpoints.github_hosts), **known))
    return tuple(found)


def attached_files(part: GithubReleasePart, endpoints: Endpoints, stall_seconds: float) -> tuple[RemoteFile, ...]:
    """Files attached to a release; newer ones have a sum at GitHub. Raises as `tree_files`."""
    where = f"{endpoints.github_api}/repos/{part.repo}/releases/tags/{quote(part.tag)}"
    listing = _api(where, endpoints, stall_seconds, part.repo)
    assets = listing.get("assets") if isinstance(listing, dict) else None
    if not isinstance(assets, list):
        raise odd_answer(f"{part.repo} {part.tag}", "no list of assets")
    named = [asset for asset in assets if isinstance(asset, dict) and isinstance(asset.get("name"), str)]
    by_name = {asset["name"]: asset for asset in named}
    found = []
    for facts in part.files:
        asset = by_name.get(facts.name)
        if asset is None:
            raise odd_answer(f"{part.repo} {part.tag}", f"no file {facts.name!r}")
        algorithm, _, value = str(asset.get("digest")).partition(":")
        digests = {"sha256": value} if algorithm == "sha256" and len(value) == 64 else {}
        size = asset.get("size") if isinstance(asset.get("size"), int) else None
        url = f"{endpoints.github}/{part.repo}/releases/download/{quote(part.tag)}/{quote(facts.name)}"
        found.append(remote_file(facts, address_at(url, endpoints.github_hosts), size=size, digests=digests))
    return tuple(found)


def lfs_files(part: GithubLfsPart, endpoints: Endpoints, pinned: str, stall_seconds: float) -> tuple[RemoteFile, ...]:
    """Large files of a commit, with the sums of their pointers. Raises as `tree_files`.

    Args:
        pinned: the commit of an earlier fetch, for parts that name none; empty: the newest.
    """
    commit, _ = _commit(part.repo, part.commit or pinned or "HEAD", endpoints, stall_seconds)
    found = []
    for facts in part.files:
        raw = address_at(f"{endpoints.github_raw}/{part.repo}/{commit}/{quote(facts.name)}", endpoints.github_hosts)
        pointer = _POINTER.match(read_small(raw, stall_seconds, {"Range": "bytes=0-1023"}))
        known: dict[str, Any] = {"revision": commit, "advice": _LFS_ADVICE}
        address: Address = raw
        if pointer is not None:
            url = f"{endpoints.github_media}/{part.repo}/{commit}/{quote(facts.name)}"
            address = address_at(url, endpoints.github_hosts)
            known |= {"size": int(pointer[2]), "digests": {"sha256": pointer[1].decode()}}
        found.append(remote_file(facts, address, **known))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Blob:
    """A file of a tree: its hash, and its size in bytes."""

    sha: str
    size: int


@dataclass(frozen=True, slots=True)
class _Listing:
    """Reads trees of one repository and compares each with its own hash."""

    repo: str
    endpoints: Endpoints
    stall_seconds: float

    def blobs(self, tree: str, folder: str, wanted: tuple[str, ...]) -> dict[str, _Blob]:
        """Path -> plain file of a tree that lies at `folder`, as far as it leads to one of `wanted` (none: all)."""
        where = f"{self.endpoints.github_api}/repos/{self.repo}/git/trees/{tree}"
        listing = _api(where, self.endpoints, self.stall_seconds, self.repo)
        rows = listing.get("tree") if isinstance(listing, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) and _is_entry(row) for row in rows):
            raise odd_answer(f"{self.repo}, tree {tree[:12]}", "no list of entries")
        if listing.get("truncated"):
            raise odd_answer(f"{self.repo}, tree {tree[:12]}", "too many entries for one listing")
        if _tree_hash(rows) != tree:
            raise RunFailure(f"{self.repo}: what GitHub lists as tree {tree[:12]} has another hash; try again later.")
        found: dict[str, _Blob] = {}
        for row in rows:
            path = f"{folder}{plain_member_path(row['path'])}"
            is_near = not wanted or any(_is_below(path, name) or _is_below(name, path) for name in wanted)
            if is_near and row["type"] == "tree":
                found |= self.blobs(row["sha"], f"{path}/", wanted)
            elif row["mode"] in _PLAIN_MODES and (not wanted or any(_is_below(path, name) for name in wanted)):
                found[path] = _Blob(row["sha"], int(row.get("size") or 0))
        return found


def _archive(part: GithubTreePart, commit: str, blobs: Mapping[str, _Blob], endpoints: Endpoints) -> RemoteFile:
    url = f"{endpoints.github_archives}/{part.repo}/tar.gz/{commit}"
    facts = FileFacts(
        name=f"{part.repo.partition('/')[2]}-{commit[:12]}.tar.gz",
        to=part.to,
        about_bytes=sum(blob.size for blob in blobs.values()),
    )
    tree = {path: blob.sha for path, blob in blobs.items()}
    return remote_file(facts, address_at(url, endpoints.github_hosts), revision=commit, tree=tree)


def _commit(repo: str, asked: str, endpoints: Endpoints, stall_seconds: float) -> tuple[str, str]:
    """The full hash of a commit, and that of its tree."""
    answer = _api(f"{endpoints.github_api}/repos/{repo}/commits/{asked}", endpoints, stall_seconds, repo)
    try:
        commit, tree = answer["sha"], answer["commit"]["tree"]["sha"]  # type: ignore[index, call-overload]
    except (KeyError, TypeError) as error:
        raise odd_answer(f"{repo}, commit {asked}", "no hash of a tree") from error
    is_named = asked == "HEAD" or str(commit).startswith(asked)
    if not is_named or not all(_SHA1.fullmatch(str(value)) for value in (commit, tree)):
        raise odd_answer(f"{repo}, commit {asked}", f"commit {str(commit)[:12]}")
    return commit, tree


def _api(url: str, endpoints: Endpoints, stall_seconds: float, repo: str) -> Any:
    token = os.environ.get("GITHUB_TOKEN") or os.environ.get("GH_TOKEN")
    secrets = {"Authorization": f"Bearer {token}"} if token else {}
    address = address_at(url, endpoints.github_hosts, secrets)
    return ask_json(address, stall_seconds, repo, {"Accept": "application/vnd.github+json"})


def _is_entry(row: dict[str, Any]) -> bool:
    texts = all(isinstance(row.get(key), str) for key in ("path", "mode", "type", "sha"))
    return texts and "/" not in row["path"] and bool(_SHA1.fullmatch(row["sha"])) and row["mode"].isdecimal()


def _tree_hash(rows: list[dict[str, Any]]) -> str:
    """Hash of a git tree object with these entries: mode, name and hash of each, folders sorted as if with a slash."""

    def order(row: dict[str, Any]) -> bytes:
        return row["path"].encode() + (b"/" if row["type"] == "tree" else b"")

    content = b"".join(
        b"%s %s\0%s" % (row["mode"].lstrip("0").encode(), row["path"].encode(), bytes.fromhex(row["sha"]))
        for row in sorted(rows, key=order)
    )
    return hashlib.sha1(b"tree %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")
