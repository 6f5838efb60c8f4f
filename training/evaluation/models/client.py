"""Requests to an OpenAI-compatible server: one reply each, tried again where another try can help.

`httpx` or the `openai` package would do; the standard library needs no further package for one POST. Redirects are not
followed, so a token is sent nowhere else than to the host that was named; it goes to https or to this machine only, and
stands in no message.
"""

from __future__ import annotations

import email.utils
import http.client
import ipaddress
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from mmrs.errors import RunFailure, UserError
from mmrs.storage.retry import Patience, retried

# The server is busy, or failed for a reason that may pass.
_PASSING = (408, 409, 425, 429, 500, 502, 503, 504)
_MOST_REPLY_BYTES = 32 * 1024 * 1024
_LONGEST_RETRY_AFTER_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where requests go.

    Args:
        url: of the API, ``https://HOST/v1``.
        token: sent as bearer; empty: none. Not shown by `repr`.
    """

    url: str
    token: str = field(default="", repr=False)


class _Refused(Exception):
    """A reply with a status that is none of success, or none at all (`status` 0)."""

    def __init__(self, status: int, message: str, wait_seconds: float | None = None):
        super().__init__(message)
        self.status, self.message, self.wait_seconds = status, message, wait_seconds


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any, **named: Any) -> None:
        return None


def check_address(url: str) -> str:
    """The URL of an API without a slash at its end.

    Raises:
        UserError: neither https nor http to this machine, or with a user, a query or a fragment in it.
    """
    parts = urllib.parse.urlsplit(url)
    shown = f"{parts.scheme}://{parts.hostname or ''}{parts.path}"
    if parts.username or parts.password or parts.query or parts.fragment or not parts.hostname:
        raise UserError(
            f"{shown} must be a plain address such as https://HOST/v1: a token belongs into the environment "
            "(--token-variable), not into the URL."
        )
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_this_machine(parts.hostname)):
        raise UserError(f"{shown} is neither https nor on this machine (http://127.0.0.1:PORT/v1); images go there.")
    return url.rstrip("/")


def post(address: ServerAddress, path: str, body: Mapping[str, Any], patience: Patience) -> Mapping[str, Any]:
    """The JSON object that the server replies.

    Raises:
        UserError: the server says that the request is wrong, or refuses the token.
        RunFailure: it failed as often as it was asked, or replied something else.
    """
    content = orjson.dumps(body)

    def failure(error: Exception, tried: int, is_last: bool) -> Exception | None:
        if not isinstance(error, _Refused):
            raise error
        if error.status and error.status not in _PASSING:
            return UserError(_advice(address.url, error))
        if is_last:
            return RunFailure(
                f"{address.url} failed {tried} times, the last time with: {error.message}. What was answered is kept; "
                "the same command goes on."
            )
        if error.wait_seconds:
            time.sleep(min(error.wait_seconds, _LONGEST_RETRY_AFTER_SECONDS))
        return None

    return retried(
        lambda: _post_once(address, path, content, patience.stall_seconds),
        (_Refused,),
        patience.waits(address.url),
        failure,
    )


def _post_once(address: ServerAddress, path: str, content: bytes, stall_seconds: float) -> Mapping[str, Any]:
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if address.token:
        headers["Authorization"] = f"Bearer {address.token}"
    request = urllib.request.Request(f"{address.url}{path}", content, headers, method="POST")
    handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
    if _is_this_machine(urllib.parse.urlsplit(address.url).hostname or ""):
        handlers.append(urllib.request.ProxyHandler({}))
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=stall_seconds) as reply:
            read = reply.read(_MOST_REPLY_BYTES + 1)
    except urllib.error.HTTPError as error:
        with error:
            message = _error_text(error.read(65536))
        raise _Refused(error.code, f"{error.code} {message}".strip(), _retry_after(error.headers)) from None
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise _Refused(0, f"{type(error).__name__}: {reason}") from None
    if len(read) > _MOST_REPLY_BYTES:
        raise RunFailure(f"{address.url} replied more than {_MOST_REPLY_BYTES >> 20} MiB to one question.")
    try:
        parsed = orjson.loads(read)
    except orjson.JSONDecodeError:
        raise _Refused(502, f"a reply that is no JSON: {read[:80]!r}") from None
    if not isinstance(parsed, dict):
        raise _Refused(502, f"a reply that is no JSON object: {read[:80]!r}")
    return parsed


def _retry_after(headers: Any) -> float | None:
    """Seconds of a Retry-After header, which is a number or a date."""
    stated = (headers.get("Retry-After") or "").strip()
    if stated.isdecimal():
        return float(stated)
    try:
        at = email.utils.parsedate_to_datetime(stated)
    except (TypeError, ValueError):
        return None
    return max(0.0, at.timestamp() - time.time())


def _error_text(content: bytes) -> str:
    try:
        stated = orjson.loads(content)
        error = stated.get("error", stated)
        text = error.get("message", error) if isinstance(error, dict) else error
    except (orjson.JSONDecodeError, AttributeError):
        text = content.decode("utf-8", "replace")
    return " ".join(str(text).split())[:300]


def _advice(url: str, error: _Refused) -> str:
    if error.status in (401, 403):
        return f"{url} refuses the token ({error.message}); set the variable that --token-variable names."
    if error.status == 404:
        return f"{url} has no such address or model ({error.message}); check the URL, which ends with /v1, and --model."
    if 300 <= error.status < 400:
        return f"{url} sends on to another address ({error.status}), which is not followed; give that address."
    if "logprob" in error.message.lower():
        return f"{url} gives no log-probabilities ({error.message}); ask without them: --no-log-probabilities"
    return f"{url} refuses the request: {error.message}"


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
