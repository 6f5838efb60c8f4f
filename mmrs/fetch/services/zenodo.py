"""Files of a Zenodo record; its interface states size and md5 of each (``/api/records/ID``)."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from mmrs.fetch.catalogue import FileFacts, ZenodoPart
from mmrs.fetch.remote_file import RemoteFile, remote_file
from mmrs.fetch.services.endpoints import Endpoints, address_at, ask_json, odd_answer


def zenodo_files(part: ZenodoPart, endpoints: Endpoints, stall_seconds: float) -> tuple[RemoteFile, ...]:
    """The files of a record.

    Raises:
        RunFailure: the listing is of another form than Zenodo documents, or lacks a file.
        OSError: Zenodo does not answer.
    """
    where = f"{endpoints.zenodo}/api/records/{part.record}"
    listing = ask_json(address_at(where, endpoints.zenodo_hosts), stall_seconds, f"Zenodo {part.record}")
    rows = listing.get("files") if isinstance(listing, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) and isinstance(row.get("key"), str) for row in rows):
        raise odd_answer(f"Zenodo {part.record}", "no list of files")
    by_name = {row["key"]: row for row in rows}
    wanted = part.files or tuple(_facts(part, name) for name in sorted(by_name))
    found = []
    for facts in wanted:
        row = by_name.get(facts.name)
        if row is None:
            raise odd_answer(f"Zenodo {part.record}", f"no file {facts.name!r}")
        url = f"{where}/files/{quote(facts.name, safe='')}/content"
        known = _known(row)
        found.append(remote_file(facts, address_at(url, endpoints.zenodo_hosts), **known))
    return tuple(found)


def _facts(part: ZenodoPart, name: str) -> FileFacts:
    try:
        return FileFacts(name=name)
    except ValueError as error:
        raise odd_answer(f"Zenodo {part.record}", f"the file name {name!r}") from error


def _known(row: dict[str, Any]) -> dict[str, Any]:
    size, checksum = row.get("size"), row.get("checksum")
    algorithm, _, value = str(checksum).partition(":")
    is_md5 = algorithm == "md5" and len(value) == 32
    return {"size": size if isinstance(size, int) else None, "digests": {"md5": value.lower()} if is_md5 else {}}
