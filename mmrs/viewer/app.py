"""The application of `mmrs view`: a page, and what it asks for.

    /api/first                  the first rows, without a query; before all is read where that can be
    /api/about                  what there is to choose from, with counts
    /api/rows?...&offset=       a part of the rows that a query finds, with their boxes
    /api/sample?row=            a record with all that is known of it
    /api/not-stored?text=       entries of the quarantine of which no image is stored
    /api/exclude                POST: an image onto the list, or off it
    /image/DATA_SET/ROW         the stored image, or ?small a small copy

Texts of the data are made `harmless` on their way out, and the page puts them in as text, never as markup.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from mmrs.errors import RunFailure, UserError
from mmrs.report.colours import class_colours
from mmrs.report.thumbnail import thumbnail
from mmrs.text import harmless, see_verify
from mmrs.viewer.answers import AnswerTable
from mmrs.viewer.catalogue import Catalogue
from mmrs.viewer.contents import ContentsReader
from mmrs.viewer.exclusions import ExclusionList
from mmrs.viewer.guard import LocalGuard
from mmrs.viewer.query import Finder, parse_query

MOST_ROWS = 200
# A block of the grid.
_FIRST_ROWS = 120
_SMALL_BOXES = 60
_MOST_BODY_BYTES = 64 * 2**10
_KINDS = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
_PAGE = ("view.js", "sample.js", "fields.js", "grid.js", "picture.js", "dom.js", "look.css", "icon.svg")
_DEFAULT_REASON = "excluded by hand"


@dataclass(frozen=True)
class ViewedData:
    """What a viewer shows.

    Args:
        title: of the page.
        catalogue: the images.
        exclusions: the list that the page writes.
        answers: of a model, by row.
    """

    title: str
    catalogue: Catalogue
    exclusions: ExclusionList
    answers: AnswerTable | None = None


def make_viewer(
    data: ViewedData | Future[ViewedData],
    names: tuple[str, ...] = (),
    first: Future[ViewedData | None] | None = None,
) -> ASGIApp:
    """The application, guarded.

    Args:
        data: what is shown. The page itself is there before it, and what asks for the data waits until it is read.
        names: those that a browser may call it by.
        first: the first rows of the data, by the same numbers, which are shown meanwhile.
    """
    viewer = _WaitingViewer(data, first)
    routes = [
        Route("/", page_file("view.html")),
        *(Route(f"/static/{name}", page_file(name)) for name in _PAGE),
        Route("/api/first", viewer.first),
        Route("/api/about", viewer.answers(_Viewer.about)),
        Route("/api/rows", viewer.answers(_Viewer.rows)),
        Route("/api/sample", viewer.answers(_Viewer.sample)),
        Route("/api/not-stored", viewer.answers(_Viewer.not_stored)),
        Route("/api/exclude", viewer.exclude, methods=["POST"]),
        Route("/image/{data_set}/{row:int}", viewer.image),
    ]
    return LocalGuard(Starlette(routes=routes), names)


def page_file(name: str, package: str = "mmrs.viewer") -> Callable[[Request], Response]:
    """An endpoint that delivers a file of a page, which lies in the folder ``static`` of a package."""
    kind = _KINDS[name.rpartition(".")[2]]

    def deliver(request: Request) -> Response:
        content = (files(package) / "static" / name).read_bytes()
        return Response(content, media_type=f"{kind}; charset=utf-8", headers={"Cache-Control": "no-cache"})

    return deliver


def answer_json(value: Any, status: int = 200) -> Response:
    """JSON that no cache keeps."""
    return Response(orjson.dumps(value), status, {"Cache-Control": "no-store"}, "application/json")


def harmless_values(value: Any) -> Any:
    """The same value with `harmless` texts throughout."""
    if isinstance(value, str):
        return harmless(value)
    if isinstance(value, Mapping):
        return {harmless(str(name)): harmless_values(item) for name, item in value.items()}
    return [harmless_values(item) for item in value] if isinstance(value, list | tuple) else value


class _WaitingViewer:
    """A viewer of data that may still be read: whoever asks waits, but for the first rows and their images."""

    def __init__(self, data: ViewedData | Future[ViewedData], first: Future[ViewedData | None] | None):
        self._data, self._first, self._lock = data, first, threading.Lock()
        self._viewer: _Viewer | None = None
        self._first_viewer: _Viewer | None = None

    def answers(self, method: Callable[[_Viewer, Request], Response]) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint that answers by a method of the viewer, on a thread; errors become its answer."""

        async def endpoint(request: Request) -> Response:
            await self._until_read()
            return await run_in_threadpool(_answered, lambda: method(self._ready(), request))

        return endpoint

    async def first(self, request: Request) -> Response:
        """The first rows; none where nothing can be shown yet."""
        early = await self._early()
        if early is None:
            return answer_json({"rows": [], "total": 0})
        return await run_in_threadpool(_answered, early.first)

    async def image(self, request: Request) -> Response:
        early = await self._early()
        if early is None or not early.has(request.path_params["row"]):
            return await self.answers(_Viewer.image)(request)
        return await run_in_threadpool(_answered, lambda: early.image(request))

    async def _early(self) -> _Viewer | None:
        """That of all rows if they are read, or else that of the first ones, which may be waited for."""
        if isinstance(self._data, Future) and self._first is not None:
            waited = [asyncio.wrap_future(each) for each in (self._data, self._first)]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if not isinstance(self._data, Future) or (self._data.done() and self._data.exception() is None):
            return self._ready()
        if self._first is None or not self._first.done():
            return None
        data = self._first.result()
        if data is not None and self._first_viewer is None:
            self._first_viewer = _Viewer(data)
        return self._first_viewer

    async def exclude(self, request: Request) -> Response:
        await self._until_read()
        return await self._ready().exclude(request)

    async def _until_read(self) -> None:
        if isinstance(self._data, Future):
            # A reading that fails ends the server, which tells why.
            await asyncio.wait([asyncio.wrap_future(self._data)])

    def _ready(self) -> _Viewer:
        with self._lock:
            if self._viewer is None:
                self._viewer = _Viewer(self._data.result() if isinstance(self._data, Future) else self._data)
            return self._viewer


def _answered(answer: Callable[[], Response]) -> Response:
    """An answer, or what went wrong with it in its place."""
    try:
        return answer()
    except UserError as error:
        return answer_json({"error": harmless(str(error))}, 400)
    except (RunFailure, OSError, ValueError) as error:
        return answer_json({"error": harmless(str(error))}, 500)


class _Viewer:
    def __init__(self, data: ViewedData):
        self._data, self._catalogue = data, data.catalogue
        self._contents = ContentsReader(data.catalogue.shards)
        self._finder = Finder(data.catalogue, self._contents, data.answers, data.exclusions.reasons)
        classes = data.catalogue.words["class"].words
        self._colours = class_colours(classes)
        # Each decodes a whole image.
        self._decoding = threading.Semaphore(os.cpu_count() or 1)

    def about(self, request: Request) -> Response:
        catalogue, data = self._catalogue, self._data
        findings = catalogue.findings
        return answer_json(
            {
                "title": harmless(data.title),
                "data_set": catalogue.data_set_id,
                "images": len(catalogue),
                "words": {
                    name: [
                        {"value": word, "name": harmless(word), "rows": rows} for word, rows in column.counts().items()
                    ]
                    for name, column in catalogue.words.items()
                },
                "colours": self._colours,
                "quarantine": len(findings.quarantine),
                "not_stored": len(findings.not_stored),
                "curation": {
                    "group": len(findings.group),
                    "leak": len(findings.leaks),
                    "fault": len(findings.faults),
                },
                "failures": data.answers.failure_counts if data.answers else None,
                "answered": len(data.answers.of_row) if data.answers else 0,
                "exclusions": str(data.exclusions.path),
                "excluded": len(data.exclusions.reasons),
                "notes": harmless_values(findings.notes),
            }
        )

    def rows(self, request: Request) -> Response:
        values = {name: request.query_params.getlist(name) for name in request.query_params}
        offset, limit = (_whole(values.pop(name, ["0"])[-1], name) for name in ("offset", "limit"))
        found = self._finder.find(parse_query(values))
        chosen = found.rows[offset : offset + min(limit or MOST_ROWS, MOST_ROWS)].tolist()
        progress = {"read": found.read, "of": found.total, "failure": harmless(found.failure)}
        return answer_json({"total": len(found.rows), "rows": [self._row(row) for row in chosen], "contents": progress})

    def has(self, row: int) -> bool:
        """Whether this knows the row of that number."""
        return row < len(self._catalogue)

    def first(self) -> Response:
        """As `rows` without a query, and of how many images of which data set they are."""
        catalogue = self._catalogue
        rows = [self._row(row) for row in range(min(_FIRST_ROWS, len(catalogue)))]
        images = sum(shard.records for shard in catalogue.shards.manifest.shards)
        return answer_json({"data_set": catalogue.data_set_id, "images": images, "total": len(rows), "rows": rows})

    def sample(self, request: Request) -> Response:
        row = self._asked_row(request)
        values = self._row(row)
        record = values.pop("record", None)
        findings = self._catalogue.findings
        group = findings.group.get(row)
        members = findings.groups[group] if group is not None else []
        answers = self._data.answers.of_row.get(row, []) if self._data.answers else []
        try:
            record = orjson.loads(self._catalogue.record_bytes(row))
            values["boxes"] = self._boxes(record, None)
        except (OSError, ValueError) as error:
            values["error"] = self._damage(error)
        return answer_json(
            values
            | {
                "record": harmless_values(record),
                "quarantine": harmless_values(findings.quarantine.get(row, [])),
                "leak": harmless_values(findings.leaks.get(row)),
                "faults": harmless_values(findings.faults.get(row, [])),
                "group": [self._row(member) for member in members[:24]],
                "group_size": len(members),
                "answers": [harmless_values(answer.as_json()) for answer in answers],
                "reason": harmless_values(self._data.exclusions.reasons.get(values["id"])),
            }
        )

    def not_stored(self, request: Request) -> Response:
        text = request.query_params.get("text", "").lower()
        offset = _whole(request.query_params.get("offset", "0"), "offset")
        entries = [
            entry
            for entry in self._catalogue.findings.not_stored
            if not text or any(text in str(value).lower() for value in entry.values())
        ]
        return answer_json({"total": len(entries), "entries": harmless_values(entries[offset : offset + MOST_ROWS])})

    async def exclude(self, request: Request) -> Response:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _MOST_BODY_BYTES:
                return answer_json({"error": "too long"}, 413)
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            return answer_json({"error": f"no JSON: {error}"}, 400)
        image = value.get("id") if isinstance(value, dict) else None
        reason = value.get("reason", _DEFAULT_REASON) if isinstance(value, dict) else None
        if not isinstance(image, str) or not isinstance(reason, str) or self._catalogue.number_of(image) is None:
            return answer_json({"error": "send the id of an image of this data set, and a reason in words"}, 400)
        exclusions = self._data.exclusions
        try:
            if value.get("excluded", True):
                exclusions.add(image, reason.strip() or _DEFAULT_REASON)
            else:
                exclusions.remove(image)
        except OSError as error:
            return answer_json({"error": f"{exclusions.path} cannot be written: {error}"}, 500)
        return answer_json(
            {"excluded": len(exclusions.reasons), "reason": harmless_values(exclusions.reasons.get(image))}
        )

    def image(self, request: Request) -> Response:
        row = request.path_params["row"]
        if request.path_params["data_set"] != self._catalogue.data_set_id[:16] or row >= len(self._catalogue):
            return answer_json({"error": "there is no such image"}, 404)
        place = _whole(request.query_params.get("image", "0"), "image")
        if place > len(self._catalogue.row(row)["further_offset"]):
            return answer_json({"error": "there is no such image"}, 404)
        content = self._catalogue.image(row, place)
        if "small" in request.query_params:
            try:
                with self._decoding:
                    content = thumbnail(content)
            except ValueError as error:
                return answer_json({"error": self._damage(error)}, 500)
        kind = "image/png" if content.startswith(b"\x89PNG") else "image/jpeg"
        headers = {"Cache-Control": "private, max-age=86400, immutable"}
        return Response(content, media_type=kind, headers=headers)

    def _asked_row(self, request: Request) -> int:
        name = request.query_params.get("id")
        row = self._catalogue.number_of(name) if name else _whole(request.query_params.get("row", ""), "row")
        if row is None or row >= len(self._catalogue):
            raise UserError(f"there is no image {name or row} in this data set")
        return row

    def _row(self, row: int) -> dict[str, Any]:
        """What a card shows."""
        catalogue, findings = self._catalogue, self._catalogue.findings
        index = catalogue.row(row)
        values: dict[str, Any] = {
            "row": row,
            "id": index["id"],
            "name": harmless(index["id"]),
            "width": index["width"],
            "height": index["height"],
            "objects": index["objects"],
            "images": 1 + len(index["further_offset"]),
            "excluded": index["id"] in self._data.exclusions.reasons,
            "leak": row in findings.leaks,
            "grouped": row in findings.group,
            "quarantined": row in findings.quarantine,
            "fault": row in findings.faults,
        }
        answers = self._data.answers.of_row.get(row) if self._data.answers else None
        if answers:
            values["score"] = sum(answer.score for answer in answers) / len(answers)
            values["failed"] = any(answer.failures for answer in answers)
            values["answer_quads"] = [quad for answer in answers for quad in answer.answer_quads][:_SMALL_BOXES]
        try:
            values["boxes"] = self._boxes(orjson.loads(catalogue.record_bytes(row)), _SMALL_BOXES)
        except (OSError, ValueError) as error:
            values["error"] = self._damage(error)
        return values

    def _boxes(self, record: Any, most: int | None) -> list[dict[str, Any]]:
        """Outlines of a record that was not checked. Raises ValueError where it is none."""
        try:
            return [
                {
                    "name": harmless(item["category"]),
                    "colour": self._colours[item["category"]],
                    "quad": [[float(x), float(y)] for x, y in item["quad"]],
                    "ignore": bool(item.get("ignore")),
                    "words": harmless(f"{item['label']}{_marks(item)}"),
                }
                for item in record["objects"][:most]
            ]
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"its record has no sound objects ({type(error).__name__})") from error

    def _damage(self, error: Exception) -> str:
        return harmless(f"damaged: {error}. {see_verify(self._catalogue.shards.location)}")


def _marks(item: Mapping[str, Any]) -> str:
    marks = [name for name in ("difficult", "truncated", "ignore") if item.get(name)]
    return f" ({', '.join(marks)})" if marks else ""


def _whole(text: str, name: str) -> int:
    if not text.isdecimal() or len(text) > 12:
        raise UserError(f"{name} must be a number")
    return int(text)
