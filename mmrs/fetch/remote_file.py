"""A file that can be downloaded: what a service said of a part of the catalogue, the same for every service."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mmrs.fetch.catalogue import FileFacts
from mmrs.fetch.http_client import Address

GIT_BLOB = "git-blob"


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a source.

    Args:
        name: its own among all files of the source.
        address: where it is.
        to: see `FileFacts`.
        size: in bytes, None where nobody says; `about_bytes` is for the plan.
        digests: algorithm (``md5``, ``sha256``, ``git-blob``) -> hex, as many as are known.
        revision: commit or revision that `address` is pinned to, empty where there is none.
        unpack: whether an archive is unpacked.
        tree: of an archive of a git commit: the files to take out of it, with the hash of each; their first folder is
            the archive's own.
        find: what looks up the address when the download begins, for services that hand out addresses for a short time.
        advice: what a person can do when the service refuses.
    """

    name: str
    address: Address
    to: str = ""
    size: int | None = None
    about_bytes: int | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    revision: str = ""
    unpack: bool = True
    tree: Mapping[str, str] = field(default_factory=dict)
    find: Callable[[Address, float], Address] = lambda address, stall_seconds: address
    advice: str = "Open the address in a browser to see what the server says."

    @property
    def planned_bytes(self) -> int | None:
        """Size in bytes, exact where it is known."""
        return self.size if self.size is not None else self.about_bytes


def remote_file(facts: FileFacts, address: Address, name: str = "", **known: object) -> RemoteFile:
    """A file with what the catalogue says of it, and what its service says (`size`, `digests`), which comes second."""
    digests = dict(known.pop("digests", {}))  # type: ignore[call-overload]
    digests |= {key: value for key in ("md5", "sha256") if (value := getattr(facts, key)) is not None}
    size = facts.size if facts.size is not None else known.pop("size", None)
    known.pop("size", None)
    return RemoteFile(
        name=name or facts.name,
        address=address,
        to=facts.to,
        size=size,  # type: ignore[arg-type]
        about_bytes=facts.about_bytes,
        digests=digests,
        unpack=facts.unpack,
        **known,  # type: ignore[arg-type]
    )
