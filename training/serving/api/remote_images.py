"""Images at https addresses, for servers whose owner names the hosts: fetched so that no client chooses where to.

A client may name an address of an allowed host and port and nothing else of the request. The name is resolved once, all
of what it leads to must be public, and the connection goes to just these addresses, with the name for TLS; so neither a
name that points into the owner's network nor one that changes between check and use leads there. Redirects are not
followed, no proxy is asked, no cookie or key is sent, nothing is decompressed, and time and size are bounded over all.

aiohttp, with a resolver of ours: the package safehttpx resolves anew at dns.google where it meets a private address,
and bounds neither size nor time.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from mmrs.errors import UserError
from training.serving.api.intake import MOST_SENT_BYTES, BadImage

_LONGEST_ADDRESS = 8192
_REQUESTS_AT_ONCE = 16
# All images of one request: what a body may hold as data: addresses.
_MOST_BYTES_TOGETHER = 28 * 2**20
# A last part of digits, or of 0x and digits, is a number to most resolvers: 127.1, 0x7f.1 and 2130706433 are loopback.
_NAME = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]*[a-z0-9])?\.)*(?!\d+\Z|0x[0-9a-f]*\Z)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_TRANSLATED = IPv6Network("64:ff9b::/96")

Resolve = Callable[[str, int], Iterable[str]]


def allowed_hosts(named: Iterable[str]) -> frozenset[tuple[str, int]]:
    """Name and port of each ``HOST`` or ``HOST:PORT`` that a user gave.

    Raises:
        UserError: one is a URL, an address in numbers, a pattern, or no name at all.
    """
    hosts = set()
    for text in named:
        try:
            url = URL(f"https://{text}")
            host, port = (url.raw_host or "").lower(), url.port or 443
        except ValueError:
            host, port = "", 443
        if not _NAME.fullmatch(host) or len(host) > 253 or set(text) & set("/?#@\\"):
            raise UserError(
                f"--allow-url-host {text!r} is no name of a host; give one such as images.example.org, or "
                "images.example.org:8443 where it is not port 443"
            )
        hosts.add((host, port))
    return frozenset(hosts)


class RemoteImages:
    """See the module.

    Args:
        hosts: allowed ones, as `allowed_hosts` gives them.
        allow_private: they may also lie in a private network or on this machine.
        longest_seconds: for all images of one request: names, connections and transfers.
        trust: whom certificates must be signed by; None: whom this machine trusts.
        resolve: the addresses of a name; None: as this machine resolves it.
    """

    def __init__(
        self,
        hosts: frozenset[tuple[str, int]],
        allow_private: bool = False,
        longest_seconds: float = 10.0,
        trust: ssl.SSLContext | None = None,
        resolve: Resolve | None = None,
    ):
        self.hosts = hosts
        self._allow_private, self._longest_seconds = allow_private, longest_seconds
        self._trust = trust or ssl.create_default_context()
        self._resolve = resolve or _addresses_of
        self._places = asyncio.Semaphore(_REQUESTS_AT_ONCE)
        # Of their own: a slow server of names must not take the threads that decode images.
        self._threads = ThreadPoolExecutor(_REQUESTS_AT_ONCE, "names")

    async def fetch(self, addresses: Iterable[str]) -> dict[str, bytes]:
        """The files at the addresses of one request, by address.

        Raises:
            BadImage: an address is not allowed, or no whole file of an image's size came from it in time.
        """
        urls = {address: self._checked(address) for address in addresses}
        contents: dict[str, bytes] = {}
        try:
            async with asyncio.timeout(self._longest_seconds), self._places, self._session() as session:
                for address, url in urls.items():
                    room = _MOST_BYTES_TOGETHER - sum(map(len, contents.values()))
                    contents[address] = await _fetched(session, url, min(room, MOST_SENT_BYTES))
        except TimeoutError as error:
            raise BadImage(f"the images did not come within {self._longest_seconds:g} s") from error
        return contents

    def _session(self) -> aiohttp.ClientSession:
        resolver = _PublicResolver(self._resolve, self._threads, self._allow_private)
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=resolver, ssl=self._trust, use_dns_cache=False),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": "mmrs"},
        )

    def _checked(self, address: str) -> URL:
        try:
            url = URL(address)
            host, port = (url.raw_host or "").lower(), url.port
        except ValueError as error:
            raise BadImage(f"an image has no valid address: {str(error)[:200]}") from error
        if url.scheme != "https" or len(address) > _LONGEST_ADDRESS or not address.isprintable():
            raise BadImage("an address of an image must be https://HOST/..., or a data: address")
        if url.raw_user is not None or url.raw_password is not None:
            raise BadImage("an address of an image must hold no user and no password")
        if (host, port) not in self.hosts:
            place = host if port == 443 else f"{host}:{port}"
            raise BadImage(
                f"images are not fetched from {place[:200]!r}: it is not among the hosts of --allow-url-host"
            )
        return url


class _NotPublic(OSError):
    """A name leads into a private network, to this machine, or to no single machine."""


class _PublicResolver(AbstractResolver):
    """Asked once by a connector, which connects to nothing but what it is told here."""

    def __init__(self, resolve: Resolve, threads: ThreadPoolExecutor, allow_private: bool):
        self._resolve, self._threads, self._allow_private = resolve, threads, allow_private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        found = list(await loop.run_in_executor(self._threads, lambda: list(self._resolve(host, port))))
        if not found:
            raise OSError(f"{host} has no address")
        if not self._allow_private and not all(is_public(address) for address in found):
            raise _NotPublic(f"{host} is not public")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in found
        ]

    async def close(self) -> None:
        """Nothing is held."""


def is_public(address: str) -> bool:
    """Whether an address, with whatever IPv4 address an IPv6 one stands for, is one of the internet."""
    found: IPv4Address | IPv6Address = ip_address(address)
    if isinstance(found, IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if found in _TRANSLATED:
            inner = IPv4Address(int(found) & 0xFFFF_FFFF)
        if inner is not None:
            return is_public(str(inner))
        if found.is_site_local:
            return False
    return found.is_global and not found.is_multicast and not found.is_reserved


def _addresses_of(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


async def _fetched(session: aiohttp.ClientSession, url: URL, most_bytes: int) -> bytes:
    try:
        async with session.get(url, allow_redirects=False) as reply:
            _check_reply(reply, most_bytes)
            parts: list[bytes] = []
            size = 0
            async for part in reply.content.iter_chunked(2**16):
                size += len(part)
                if size > most_bytes:
                    raise _too_large()
                parts.append(part)
            return b"".join(parts)
    except aiohttp.ClientError as error:
        if isinstance(error.__cause__, _NotPublic):
            raise BadImage(
                f"{url.raw_host} leads to an address that is not public; nothing is fetched there"
            ) from error
        raise BadImage(f"no image came from {url.raw_host}: {type(error).__name__}") from error


def _check_reply(reply: aiohttp.ClientResponse, most_bytes: int) -> None:
    host = reply.url.raw_host
    if 300 <= reply.status < 400:
        raise BadImage(f"{host} sends on to another address ({reply.status}), which is not followed; send that one")
    if reply.status != 200:
        raise BadImage(f"{host} answers {reply.status} instead of an image")
    if reply.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise BadImage(f"{host} sends a compressed file, which is not unpacked")
    if (reply.content_length or 0) > most_bytes:
        raise _too_large()


def _too_large() -> BadImage:
    return BadImage(
        f"an image may have {MOST_SENT_BYTES:,} bytes, and those of a request together {_MOST_BYTES_TOGETHER:,}"
    )
