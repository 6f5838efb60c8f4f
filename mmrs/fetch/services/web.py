"""Files at plain addresses of the web."""

from __future__ import annotations

from mmrs.fetch.catalogue import WebPart
from mmrs.fetch.remote_file import RemoteFile, remote_file
from mmrs.fetch.services.endpoints import address_at


def web_files(part: WebPart) -> tuple[RemoteFile, ...]:
    """The files of a part; nothing is asked."""
    return tuple(remote_file(facts, address_at(facts.url, part.hosts)) for facts in part.files)
