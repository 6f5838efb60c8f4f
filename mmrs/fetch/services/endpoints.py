"""Where the services answer, and which hosts they deliver files from. Tests put servers of this machine there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.parse import urlsplit

import orjson

from mmrs.errors import RunFailure
from mmrs.fetch.http_client import Address, read_small


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Beginnings of addresses without a slash at the end, and the hosts that each service redirects to.

    `hub` is ``HF_ENDPOINT`` where that is set.
    """

    hub: str = ""
    zenodo: str = "https://zenodo.org"
    github: str = "https://github.com"
    github_api: str = "https://api.github.com"
    github_raw: str = "https://raw.githubusercontent.com"
    github_media: str = "https://media.githubusercontent.com/media"
    github_archives: str = "https://codeload.github.com"
    drive: str = "https://drive.google.com"
    hub_hosts: tuple[str, ...] = ("huggingface.co", "*.huggingface.co", "hf.co", "*.hf.co")
    zenodo_hosts: tuple[str, ...] = ("zenodo.org", "*.zenodo.org")
    github_hosts: tuple[str, ...] = ("github.com", "*.github.com", "*.githubusercontent.com")
    drive_hosts: tuple[str, ...] = (
        "drive.google.com",
        "docs.google.com",
        "drive.usercontent.google.com",
        "*.googleusercontent.com",
    )

    def hub_address(self) -> str:
        """The Hub's beginning, as huggingface_hub finds it where none is given."""
        if self.hub:
            return self.hub
        from huggingface_hub import constants

        return (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")


def address_at(url: str, hosts: tuple[str, ...], secrets: dict[str, str] | None = None) -> Address:
    """A file at one of the endpoints, which may itself deliver it."""
    return Address(url, (urlsplit(url).hostname or "", *hosts), secrets or {})


def ask_json(address: Address, stall_seconds: float, what: str, headers: dict[str, str] | None = None) -> object:
    """What a service says of its files.

    Raises:
        RunFailure: it is no JSON; names `what` was asked.
        OSError: as `open_address`.
    """
    content = read_small(address, stall_seconds, {"Accept": "application/json", **(headers or {})})
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise RunFailure(f"{what}: {address.url} does not answer with JSON; the service may be down.") from error


def odd_answer(what: str, detail: str) -> RunFailure:
    """The failure of a listing that has not the form that the service documents."""
    return RunFailure(f"{what}: the service's listing is of another form than expected ({detail[:200]}).")
