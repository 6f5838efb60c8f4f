"""The application of `mmrs demo-web`: a page over the engine of `mmrs serve`.

    /api/about              the model, the tasks with their prompts, whether there are shards to pick from
    /api/picture            POST: an upload as a data: address, or a row of the shards -> a name and its size
    /picture/NAME           the picture as the model is shown it: upright, rendered
    /api/ask                POST: picture, prompt, the earlier turns -> lines of JSON: pieces of text, then the whole
                            answer with its boxes, as GeoJSON too where the upload was a GeoTIFF
    /api/prompt             POST: picture, task, words, box -> the released prompt, filled in
    /api/gallery?offset=    images of the shards

No gradio: its newest releases exclude Pillow 13, earlier ones huggingface_hub 2 (both are what our pins have), and
its page loads fonts and reports to other hosts unless told not to. Boxes leave here in pixels of the upright
image, with four corners, un-padded.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from mmrs.errors import RunFailure
from mmrs.geometry import SquareFrame
from mmrs.instructions.dialects import Dialect
from mmrs.report.colours import class_colours
from mmrs.report.thumbnail import thumbnail
from mmrs.text import harmless
from mmrs.viewer.app import answer_json, page_file
from mmrs.viewer.catalogue import Catalogue
from mmrs.viewer.guard import LocalGuard
from training.model.inputs.conversation import ChatTurn, Conversation
from training.serving.api.intake import BadImage, decode_picture, file_of
from training.serving.engine import AnswerEngine, EngineFull, Event, Finished, PromptTooLong, Sampling, Ticket
from training.serving.found_boxes import found_boxes
from training.serving.pictures import ground_place_of
from training.serving.web.album import Album, ShownPicture
from training.serving.web.questions import ASKABLE, filled_prompt

MOST_UPLOAD_BYTES = 28 * 2**20
_BODY_SECONDS = 60.0
_MOST_CHARACTERS = 4000
_MOST_TOKENS = 2048
_MOST_TURNS = 32
_GALLERY = 24
_SHARED = ("dom.js", "picture.js", "look.css", "icon.svg")
_OWN = ("ask.js",)


@dataclass(frozen=True)
class DemoOptions:
    """What a demo is told.

    Args:
        title: of the model.
        dialect: in which the model writes boxes.
        shards: to pick images from, or none.
        names: by which a browser may call it, beside addresses and ``localhost``.
    """

    title: str
    dialect: Dialect
    shards: Catalogue | None = None
    names: tuple[str, ...] = ()


class _Refused(Exception):
    def __init__(self, message: str, status: int = 400):
        super().__init__(message)
        self.status = status


def make_demo(engine: AnswerEngine, options: DemoOptions) -> ASGIApp:
    """The application, guarded; it closes the engine when it ends."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(engine.close)

    demo = _Demo(engine, options)
    routes = [
        Route("/", page_file("ask.html", "training.serving.web")),
        *(Route(f"/static/{name}", page_file(name)) for name in _SHARED),
        *(Route(f"/static/{name}", page_file(name, "training.serving.web")) for name in _OWN),
        Route("/api/about", demo.about),
        Route("/api/picture", _told(demo.take_picture), methods=["POST"]),
        Route("/api/prompt", _told(demo.prompt), methods=["POST"]),
        Route("/api/ask", _told(demo.ask), methods=["POST"]),
        Route("/api/gallery", demo.gallery),
        Route("/gallery/{row:int}", demo.gallery_image),
        Route("/picture/{name}", demo.picture),
    ]
    return LocalGuard(Starlette(routes=routes, lifespan=lifespan), options.names)


def _told(endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except _Refused as error:
            return answer_json({"error": harmless(str(error))[:500]}, error.status)

    return answer


class _Demo:
    def __init__(self, engine: AnswerEngine, options: DemoOptions):
        self._engine, self._options = engine, options
        self._album = Album()
        # Those of `mmrs view` of the same shards; a class that is not in them has its own everywhere.
        self._colours = class_colours(options.shards.words["class"].words if options.shards else ())

    def about(self, request: Request) -> Response:
        tasks = [{"name": task.name, "words": task.words, "needs": task.needs} for task in ASKABLE]
        shards = self._options.shards
        return answer_json(
            {"title": harmless(self._options.title), "tasks": tasks, "images": len(shards) if shards else 0}
        )

    async def take_picture(self, request: Request) -> Response:
        asked = await _body(request)
        try:
            picture = await asyncio.to_thread(self._decoded, asked)
        except BadImage as error:
            raise _Refused(str(error)) from error
        name, image = self._album.add(picture), picture.image
        return answer_json(
            {"picture": name, "width": image.width, "height": image.height, "ground": picture.ground is not None}
        )

    def picture(self, request: Request) -> Response:
        picture = self._album.find(request.path_params["name"])
        if picture is None:
            return answer_json({"error": "the picture has gone; choose it again"}, 404)
        buffer = io.BytesIO()
        picture.image.save(buffer, "JPEG", quality=92)
        return Response(buffer.getvalue(), media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})

    async def prompt(self, request: Request) -> Response:
        asked = await _body(request)
        picture = self._asked_picture(asked)
        task = next((task for task in ASKABLE if task.name == asked.get("task")), None)
        if task is None:
            raise _Refused("there is no such task")
        frame = SquareFrame(picture.image.width, picture.image.height)
        try:
            text = filled_prompt(task, _text(asked, "words"), _box(asked.get("box")), frame, self._options.dialect)
        except ValueError as error:
            raise _Refused(str(error)) from error
        return answer_json({"prompt": text})

    async def ask(self, request: Request) -> Response:
        asked = await _body(request)
        picture, prompt = self._asked_picture(asked), _text(asked, "prompt")
        if not prompt.strip():
            raise _Refused("ask something")
        tokens = asked.get("max_tokens", 512)
        if not isinstance(tokens, int) or not 1 <= tokens <= _MOST_TOKENS:
            raise _Refused(f"an answer has 1 to {_MOST_TOKENS} tokens")
        events: asyncio.Queue[Event] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def deliver(event: Event) -> None:
            loop.call_soon_threadsafe(events.put_nowait, event)

        earlier = _turns(asked.get("turns", []))
        turns = (*earlier, ("human", prompt))
        conversation = Conversation(turns, ((picture.image,), *[()] * (len(earlier) // 2)))
        try:
            ticket = self._engine.submit(conversation, Sampling(max_new_tokens=tokens), deliver)
        except EngineFull as error:
            raise _Refused(f"{error}; try again in {error.retry_after_seconds} s", 429) from error
        except PromptTooLong as error:
            also = "; ask anew, without the earlier turns" if earlier else ""
            raise _Refused(f"{error}{also}") from error
        lines = self._lines(events, ticket, picture, _text(asked, "class"))
        return StreamingResponse(lines, media_type="application/x-ndjson", headers={"Cache-Control": "no-store"})

    async def _lines(
        self, events: asyncio.Queue[Event], ticket: Ticket, picture: ShownPicture, named: str
    ) -> AsyncIterator[bytes]:
        try:
            while True:
                event = await events.get()
                if not isinstance(event, Finished):
                    yield _line({"piece": harmless(event.text)})
                    continue
                if event.reason in ("failed", "cancelled"):
                    yield _line({"error": harmless(event.text) or "the server is stopping"})
                    return
                yield _line(self._answered(event, picture, named))
                return
        finally:
            ticket.cancel()

    def _answered(self, event: Finished, picture: ShownPicture, named: str) -> dict[str, Any]:
        """The whole answer; `said` is what the page sends back with the next question, `text` what it shows."""
        width, height = picture.image.size
        boxes = found_boxes(event.text, width, height, self._options.dialect, named)
        shown = [box.as_json() | {"name": harmless(box.name), "colour": self._colours[box.name]} for box in boxes]
        told: dict[str, Any] = {
            "text": harmless(event.text),
            "said": event.text,
            "reason": event.reason,
            "boxes": shown,
        }
        if picture.ground is not None:
            told["geojson"] = picture.ground.polygons([({"name": box["name"]}, box["quad"]) for box in shown])
        return told | {"boxes": shown}

    def gallery(self, request: Request) -> Response:
        shards = self._options.shards
        text = request.query_params.get("offset", "0")
        offset = int(text) if text.isdecimal() and len(text) < 12 else 0
        rows = range(offset, min(offset + _GALLERY, len(shards))) if shards else ()
        names = [{"row": row, "name": _named(shards.row(row))} for row in rows] if shards else []
        return answer_json({"rows": names})

    def gallery_image(self, request: Request) -> Response:
        shards, row = self._options.shards, request.path_params["row"]
        if shards is None or row >= len(shards):
            return answer_json({"error": "there is no such image"}, 404)
        try:
            content = thumbnail(shards.image(row))
        except (OSError, ValueError, RunFailure) as error:
            return answer_json({"error": harmless(str(error))}, 500)
        return Response(content, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=86400"})

    def _decoded(self, asked: dict[str, Any]) -> ShownPicture:
        row, shards = asked.get("row"), self._options.shards
        if row is None:
            content = file_of(asked.get("image"))
            return ShownPicture(decode_picture(content), ground_place_of(content))
        if shards is None or not isinstance(row, int) or not 0 <= row < len(shards):
            raise BadImage("there is no such image in the shards")
        try:
            return ShownPicture(decode_picture(shards.image(row)))
        except OSError as error:
            raise BadImage(f"the image cannot be read: {error}") from error

    def _asked_picture(self, asked: dict[str, Any]) -> ShownPicture:
        picture = self._album.find(asked.get("picture"))
        if picture is None:
            raise _Refused("choose an image first", 404)
        return picture


def _named(row: dict[str, Any]) -> str:
    """The id; of a sample with several images it is said that the first is shown, since one is asked about here."""
    several = len(row["further_offset"])
    return harmless(row["id"]) + (f" (image 1 of {several + 1})" if several else "")


async def _body(request: Request) -> dict[str, Any]:
    """The JSON object of a request, cut off where it is too long or too slow."""
    parts, size = [], 0
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size > MOST_UPLOAD_BYTES:
                    raise _Refused(f"an upload may have {MOST_UPLOAD_BYTES:,} bytes", 413)
                parts.append(part)
    except TimeoutError as error:
        raise _Refused("the upload did not come in time", 408) from error
    try:
        value = await asyncio.to_thread(partial(orjson.loads, b"".join(parts)))
    except orjson.JSONDecodeError as error:
        raise _Refused(f"no JSON: {error}") from error
    if not isinstance(value, dict):
        raise _Refused("send an object")
    return value


def _text(asked: dict[str, Any], name: str) -> str:
    value = asked.get(name, "")
    if not isinstance(value, str) or len(value) > _MOST_CHARACTERS:
        raise _Refused(f"{name} must be a text of at most {_MOST_CHARACTERS:,} characters")
    return value


def _turns(value: Any) -> list[ChatTurn]:
    """Earlier questions and answers, in turn."""
    if (
        not isinstance(value, list)
        or len(value) % 2
        or len(value) > _MOST_TURNS
        or not all(isinstance(text, str) and len(text) <= _MOST_TOKENS * 8 for text in value)
    ):
        raise _Refused(f"turns are at most {_MOST_TURNS} texts, a question and its answer in turn")
    return [("gpt" if number % 2 else "human", text) for number, text in enumerate(value)]


def _box(value: Any) -> list[float] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 4 or not all(type(number) in (int, float) for number in value):
        raise _Refused("a box has four numbers: left, top, right, bottom")
    return [float(number) for number in value]


def _line(value: Any) -> bytes:
    return orjson.dumps(value) + b"\n"
