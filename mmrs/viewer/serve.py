"""`mmrs view` from a folder to a listening server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from mmrs.errors import UserError
from mmrs.storage.urls import parse_location
from mmrs.viewer.answers import AnswerTable, ShownAnswer
from mmrs.viewer.app import ViewedData, make_viewer
from mmrs.viewer.catalogue import Catalogue, load_catalogue
from mmrs.viewer.exclusions import ExclusionList

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class ViewOptions:
    """Where a viewer listens, and what it writes.

    Args:
        host, port: to listen at; port 0: any free one.
        allow_hosts: names by which a browser may call it, beside addresses and ``localhost``.
        exclude: the list that "exclude this" writes.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    allow_hosts: tuple[str, ...] = ()
    exclude: Path = Path("exclude.jsonl")


def load_viewed(
    location: Path | str, options: ViewOptions, answers: Mapping[str, list[ShownAnswer]] | None = None
) -> ViewedData:
    """Read what is shown. `answers` are by the id of their record.

    Raises:
        UserError: no finished data set, or a list that is none; answers of which none is about an image of it.
        RunFailure: an index is damaged, or a URL does not answer.
    """
    exclusions = ExclusionList(options.exclude)
    catalogue = load_catalogue(location)
    table = None if answers is None else _by_row(answers, catalogue)
    where = parse_location(location)
    title = where.resolve().name if isinstance(where, Path) else where.rpartition("/")[2]
    return ViewedData(title, catalogue, exclusions, table)


def serve_viewer(data: ViewedData, options: ViewOptions, say: Callable[[str], None]) -> None:
    """Listen until the process is told to end. Raises UserError where the port is taken."""
    if options.host not in LOOPBACK:
        say(f"anybody who reaches {options.host} sees the data and may write {options.exclude}")
    config = uvicorn.Config(
        make_viewer(data, options.allow_hosts),
        host=options.host,
        port=options.port,
        log_level="warning",
        lifespan="off",
    )
    try:
        listener = config.bind_socket()
    except SystemExit as error:
        raise UserError(f"port {options.port} of {options.host} is taken; choose another with --port") from error
    port = listener.getsockname()[1]
    name = f"[{options.host}]" if ":" in options.host else options.host
    say(f"{len(data.catalogue):,} images at http://{name}:{port}/ (Ctrl-C ends it)")
    uvicorn.Server(config).run([listener])


def _by_row(answers: Mapping[str, list[ShownAnswer]], catalogue: Catalogue) -> AnswerTable:
    return AnswerTable({row: answers[name] for name, row in catalogue.rows_of(answers).items()})
