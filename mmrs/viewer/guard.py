"""What stands before every page that is served on this machine: whom it answers, and what a page may do.

A page of a stranger in the same browser can reach a server on loopback. It gets its own name to point here (DNS
rebinding) and then sends that name as Host: only addresses and names that were allowed are answered. A request that
changes something must be JSON from the page itself, which a stranger's page cannot send unasked. What a page loads
comes from here alone, and scripts are files: whatever stands in the data is never run.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class LocalGuard:
    """An application behind the checks.

    Args:
        app: what is guarded.
        names: that Host may have beside addresses and ``localhost``.
    """

    def __init__(self, app: ASGIApp, names: tuple[str, ...] = ()):
        self._app, self._names = app, {"localhost", *(name.lower() for name in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        refused = self._refusal(scope)
        answer: Any = PlainTextResponse(refused, 403) if refused else self._app
        await answer(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> str:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_allowed(hosts[0]):
            return "this address is not one of the server's; start it with --allow-host NAME to add one"
        if scope["method"] in ("GET", "HEAD"):
            return ""
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != hosts[0].lower():
            return "a page of another address may change nothing here"
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return "send JSON"
        return ""

    def _is_allowed(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self._names:
            return True
        try:
            ip_address(name)
        except ValueError:
            return False
        return True
