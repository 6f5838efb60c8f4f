"""`mmrs view` from a folder to a listening server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from mmrs.errors import UserError
from mmrs.storage.urls import parse_location
from mmrs.viewer.answers import AnswerTable, ShownAnswer
from mmrs.viewer.app import ViewedData, make_viewer
from mmrs.viewer.catalogue import Catalogue, load_catalogue, load_first_shard
from mmrs.viewer.exclusions import ExclusionList

# What is being sent when a server is told to end is sent for so long.
GRACE_SECONDS = 5
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class ListenOptions:
    """Where a page is served.

    Args:
        host, port: to listen at; port 0: any free one.
        allow_hosts: names by which a browser may call it, beside addresses and ``localhost``.
        has_key: nobody is answered without one.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    allow_hosts: tuple[str, ...] = ()
    has_key: bool = False


def load_viewed(
    location: Path | str,
    exclude: Path,
    answers: Mapping[str, list[ShownAnswer]] | None = None,
    ended: threading.Event | None = None,
) -> ViewedData:
    """Read what is shown.

    Args:
        location: of the data set.
        exclude: the list that "exclude this" writes.
        answers: of a model, by the id of their record.
        ended: nobody waits any more once this is set.

    Raises:
        UserError: no finished data set, or a list that is none; answers of which none is about an image of it.
        RunFailure: an index is damaged, a URL does not answer, or nobody waits any more.
    """
    exclusions = ExclusionList(exclude)
    catalogue = load_catalogue(location, ended)
    table = None if answers is None else _by_row(answers, catalogue)
    return ViewedData(_title(location), catalogue, exclusions, table)


def load_first_viewed(location: Path | str, exclude: Path) -> ViewedData | None:
    """What can be shown before all indexes are read; None at a URL, where each image wants its whole shard.

    Raises:
        UserError, RunFailure: as `load_viewed`.
    """
    if not isinstance(parse_location(location), Path):
        return None
    return ViewedData(_title(location), load_first_shard(location), ExclusionList(exclude))


def _title(location: Path | str) -> str:
    where = parse_location(location)
    return where.resolve().name if isinstance(where, Path) else where.rpartition("/")[2]


def serve_viewer(
    load: Callable[[threading.Event], ViewedData],
    options: ListenOptions,
    say: Callable[[str], None],
    load_first: Callable[[], ViewedData | None] = lambda: None,
) -> None:
    """Listen until the process is told to end; the page is there while `load` reads what it shows.

    Args:
        load: told by the event that nobody waits any more.
        options: where.
        say: told the address.
        load_first: what can be shown before all is read, or None; runs before `load`.

    Raises:
        UserError: as `listen`; and what `load` raises, once the server has ended for it.
    """
    ended = threading.Event()
    first: Future[ViewedData | None] = Future()
    loading: Future[ViewedData] = Future()

    def read() -> None:
        try:
            first.set_result(load_first())
        except Exception:
            # `load` meets the same and tells it.
            first.set_result(None)
        try:
            loading.set_result(load(ended))
        except BaseException as error:
            loading.set_exception(error)

    threading.Thread(target=read, name="indexes", daemon=True).start()
    try:
        listen(make_viewer(loading, options.allow_hosts, first), options, "the data set", say, loading)
    finally:
        was_read = loading.done()
        ended.set()
    if was_read:
        loading.result()


def listen(
    app: ASGIApp,
    options: ListenOptions,
    what: str,
    say: Callable[[str], None],
    needed: Future[Any] | None = None,
    made: Callable[[uvicorn.Config], uvicorn.Server] = uvicorn.Server,
    path: str = "",
) -> None:
    """Serve an application until the process is told to end; says where, and what it is. Ctrl-C is its proper end.

    Args:
        needed: where this fails, the server ends.
        made: makes the server, for one that ends in a way of its own.
        path: of the address that is said.

    Raises:
        UserError: nothing can listen there.
    """
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        listener = socket.create_server((options.host, options.port), family=family)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"nothing can listen at {options.host}, port {options.port}: {reason}. Choose another --port or --host."
        ) from error
    if options.host not in LOOPBACK and not options.has_key:
        say(f"anybody who reaches {options.host} may use it, without a password")
    name = f"[{options.host}]" if family == socket.AF_INET6 else options.host
    say(f"{what} at http://{name}:{listener.getsockname()[1]}/{path} (Ctrl-C ends it)")
    server = made(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=GRACE_SECONDS))

    def end(done: Future[Any]) -> None:
        if done.exception() is not None:
            server.should_exit = True

    if needed is not None:
        needed.add_done_callback(end)
    # A background job of a shell ignores Ctrl-C's signal, and then the server comes back without the exception.
    with listener, suppress(KeyboardInterrupt):
        server.run([listener])
    if needed is None or not needed.done() or needed.exception() is None:
        say("ended")


def _by_row(answers: Mapping[str, list[ShownAnswer]], catalogue: Catalogue) -> AnswerTable:
    return AnswerTable({row: answers[name] for name, row in catalogue.rows_of(answers).items()})
