"""Files on Google Drive. gdown reads the page that Drive puts before a large file, and says why it refuses one.

Its own download would follow redirects anywhere and knows neither our sums nor our bounds, so only that knowledge of
it is used (`get_url_from_gdrive_confirmation`), and the file comes like all others.
"""

from __future__ import annotations

import re
from functools import partial

from mmrs.errors import RunFailure, UserError
from mmrs.fetch.catalogue import DrivePart
from mmrs.fetch.http_client import Address, open_address
from mmrs.fetch.remote_file import RemoteFile, remote_file
from mmrs.fetch.services.endpoints import Endpoints, address_at
from mmrs.installation import install_command

_MOST_PAGE_BYTES = 2**20


def drive_files(part: DrivePart, endpoints: Endpoints) -> tuple[RemoteFile, ...]:
    """The files of a part. Nothing is asked: Drive tells sizes only with the file.

    Raises:
        UserError: gdown is not installed.
    """
    try:
        import gdown  # noqa: F401
    except ModuleNotFoundError as error:
        raise UserError(f"files on Google Drive need the package gdown: {install_command('gdown')}") from error
    found = []
    for facts in part.files:
        page = f"{endpoints.drive}/file/d/{facts.id}/view"
        address = address_at(f"{endpoints.drive}/uc?export=download&id={facts.id}", endpoints.drive_hosts)
        advice = (
            f"Google Drive limits how often a file is given out; try again tomorrow, or open {page} in a browser and "
            "put the file where the plan says."
        )
        found.append(remote_file(facts, address, find=partial(_find, page), advice=advice))
    return tuple(found)


def _find(page: str, address: Address, stall_seconds: float) -> Address:
    """The address of the file itself, behind Drive's question whether a large file may come unchecked for viruses."""
    from gdown.download import get_url_from_gdrive_confirmation
    from gdown.exceptions import FileURLRetrievalError

    with open_address(address, {}, stall_seconds) as answer:
        if "Content-Disposition" in answer.headers:
            return address
        page_bytes = bytearray()
        while len(page_bytes) < _MOST_PAGE_BYTES and (some := answer.read_some(_MOST_PAGE_BYTES)):
            page_bytes += some
    try:
        url = get_url_from_gdrive_confirmation(page_bytes.decode(errors="replace"))
    except (FileURLRetrievalError, AssertionError, KeyError, TypeError, ValueError) as error:
        # The page can be anything; gdown takes its form for granted.
        said = re.sub(r"<[^>]*>|\s+", " ", str(error)).strip()[:300]
        raise RunFailure(f"Google Drive refuses the file: {said}. Open {page} in a browser instead.") from None
    return Address(url, address.hosts, {})
