"""``/v1/chat/completions``, ``/v1/models``, ``/health`` and ``/metrics`` over one engine.

Nothing that a client sends is opened as a path or read as a special token, and nothing is fetched but from hosts that
the owner allowed. Bodies are cut off before they are parsed, pictures are looked at before they are decoded, and a
client that leaves ends its row. A reply has, beside the text, the boxes in pixels of the image that was sent (`mmrs`):
fractions of a padded square are nobody's business.
"""

from __future__ import annotations

import asyncio
import hmac
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from sse_starlette import EventSourceResponse
from starlette.exceptions import HTTPException

from mmrs import __version__
from mmrs.instructions.dialects import Dialect
from training.serving.api.errors import ApiError
from training.serving.api.messages import fetched_images, parsed_request, requested_conversation
from training.serving.api.remote_images import RemoteImages
from training.serving.api.requests import ChatRequest
from training.serving.engine import (
    AnswerEngine,
    EngineFull,
    EngineStopping,
    Event,
    Finished,
    PreparedPrompt,
    PromptTooLong,
    Sampling,
    Ticket,
)
from training.serving.found_boxes import found_boxes

MOST_BODY_BYTES, MOST_HELD_BYTES = 28 * 2**20, 2**29
# Each may hold 64 million pixels, decoded, and the bytes that they came in.
_INTAKE_AT_ONCE = 2
_BODY_SECONDS, _SEND_SECONDS, _PING_SECONDS = 60.0, 30.0, 10
_LOOK_SECONDS = 0.25
# What is answered is still sent for so long once the server ends.
FLUSH_SECONDS = 5.0


@dataclass(frozen=True)
class ApiOptions:
    """What a server is told.

    Args:
        model_id: as clients see it.
        key: clients must send it as bearer; empty: none is asked for.
        dialect: in which the model writes boxes.
        default_tokens: the longest answer where a request does not say.
        remote_images: fetches images from https addresses; None: nothing is fetched.
    """

    model_id: str
    dialect: Dialect
    key: str = ""
    default_tokens: int = 512
    remote_images: RemoteImages | None = None


def make_app(engine: AnswerEngine, options: ApiOptions) -> FastAPI:
    """The application; it closes the engine when it ends."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(engine.close)

    app = FastAPI(title="mmrs", version=__version__, lifespan=lifespan, openapi_url=None)
    started = int(time.time())
    bodies, intake = _HeldBytes(), asyncio.Semaphore(_INTAKE_AT_ONCE)

    @app.exception_handler(ApiError)
    async def told(request: Request, error: ApiError) -> Response:
        return error.response()

    @app.exception_handler(HTTPException)
    async def no_route(request: Request, error: HTTPException) -> Response:
        return ApiError(error.status_code, f"{request.method} {request.url.path}: {error.detail}").response()

    @app.get("/health")
    async def health() -> Response:
        status, words = (503, "stopping") if engine.stopping else (200, "ok")
        return JSONResponse({"status": words, "running": engine.running, "waiting": engine.waiting}, status)

    @app.get("/metrics")
    async def metrics() -> PlainTextResponse:
        return PlainTextResponse(_metrics(engine), media_type="text/plain; version=0.0.4")

    @app.get("/v1/models")
    async def models(request: Request) -> dict[str, Any]:
        _check_key(request, options.key)
        return {"object": "list", "data": [_model(options.model_id, started)]}

    @app.get("/v1/models/{name:path}")
    async def model(request: Request, name: str) -> dict[str, Any]:
        _check_key(request, options.key)
        _check_model(name, options.model_id)
        return _model(options.model_id, started)

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        _check_key(request, options.key)
        if engine.stopping:
            raise _stopping()
        async with _body(request, bodies) as body:
            asked = parsed_request(body)
            if asked.model is not None:
                _check_model(asked.model, options.model_id)
            files = await fetched_images(asked, options.remote_images)
            async with intake:
                prompt, sizes = await asyncio.to_thread(_prepared, engine, asked, files)
        sampling = Sampling(
            max_new_tokens=asked.max_completion_tokens or asked.max_tokens or options.default_tokens,
            temperature=asked.temperature or 0.0,
            top_p=asked.top_p or 1.0,
            seed=asked.seed or 0,
            stop=asked.stops,
        )
        answer = _Answer(engine, options, prompt, sizes, sampling)
        answer.start(in_pieces=asked.stream)
        if asked.stream:
            with_usage = asked.stream_options is not None and asked.stream_options.include_usage
            return EventSourceResponse(
                answer.chunks(with_usage),
                ping=_PING_SECONDS,
                send_timeout=_SEND_SECONDS,
                sep="\n",
                shutdown_grace_period=FLUSH_SECONDS,
            )
        return await answer.whole(request)

    return app


class _Answer:
    """One answer on its way from the engine's thread to a client."""

    def __init__(
        self,
        engine: AnswerEngine,
        options: ApiOptions,
        prompt: PreparedPrompt,
        sizes: Sequence[tuple[int, int]],
        sampling: Sampling,
    ):
        self._engine, self._options = engine, options
        self._prompt, self._sizes, self._sampling = prompt, sizes, sampling
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._ticket: Ticket | None = None
        self._head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": options.model_id}

    def start(self, in_pieces: bool) -> None:
        """Hand the request in; without pieces nothing is told but the end. Raises ApiError where it is not taken."""
        loop = asyncio.get_running_loop()

        def deliver(event: Event) -> None:
            if in_pieces or isinstance(event, Finished):
                loop.call_soon_threadsafe(self._events.put_nowait, event)

        try:
            self._ticket = self._engine.submit(self._prompt, self._sampling, deliver)
        except EngineStopping as error:
            raise _stopping() from error
        except EngineFull as error:
            raise ApiError(429, str(error), code="queue_full", wait=error.retry_after_seconds) from error

    async def chunks(self, with_usage: bool) -> AsyncIterator[dict[str, str]]:
        """Events of a stream: the role, pieces, the reason of the end, the usage if asked for, and DONE."""
        head = self._head | {"object": "chat.completion.chunk"}
        try:
            yield _data(head | {"choices": [_choice({"role": "assistant", "content": ""})]})
            while True:
                piece, event = self._joined(await self._events.get())
                if piece:
                    yield _data(head | {"choices": [_choice({"content": piece})]})
                if event is None:
                    continue
                if event.reason in ("failed", "cancelled"):
                    yield _data(_error_of(event).body())
                    return
                reason = "length" if event.reason == "length" else "stop"
                yield _data(head | {"choices": [_choice({}, reason)], "mmrs": self._boxes(event.text)})
                if with_usage:
                    yield _data(head | {"choices": [], "usage": _usage(event)})
                yield {"data": "[DONE]"}
                return
        finally:
            self._cancel()

    def _joined(self, event: Event) -> tuple[str, Finished | None]:
        """The pieces that are there by now as one, and the end if that is there too.

        A chunk costs a server as much as a token of a tiny model: where many are answered, it sends fewer, longer ones.
        """
        piece = ""
        while not isinstance(event, Finished):
            piece += event.text
            if self._events.empty():
                return piece, None
            event = self._events.get_nowait()
        return piece, event

    async def whole(self, request: Request) -> Response:
        """The reply once the answer is there; a client that leaves before ends it."""
        try:
            while True:
                try:
                    event = await asyncio.wait_for(self._events.get(), _LOOK_SECONDS)
                except TimeoutError:
                    if await request.is_disconnected():
                        return Response(status_code=499)
                    continue
                if isinstance(event, Finished):
                    break
        finally:
            self._cancel()
        if event.reason in ("failed", "cancelled"):
            raise _error_of(event)
        message = {"role": "assistant", "content": event.text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": event.reason}
        body = self._head | {"object": "chat.completion", "choices": [choice], "usage": _usage(event)}
        return JSONResponse(body | {"mmrs": self._boxes(event.text)})

    def _cancel(self) -> None:
        if self._ticket is not None:
            self._ticket.cancel()

    def _boxes(self, text: str) -> dict[str, Any] | None:
        """Of the image that was sent last; None where there is none."""
        if not self._sizes:
            return None
        width, height = self._sizes[-1]
        boxes = found_boxes(text, width, height, self._options.dialect)
        frame = {"image": len(self._sizes) - 1, "width": width, "height": height, "frame": "pixels of the sent image"}
        return frame | {"boxes": [box.as_json() for box in boxes]}


def _stopping() -> ApiError:
    return ApiError(503, "the server is stopping; ask another one, or again later", code="server_stopping", wait=30)


def _error_of(event: Finished) -> ApiError:
    """What a client is told of an answer that nobody made to its end."""
    return ApiError(500, event.text) if event.reason == "failed" else _stopping()


def _check_key(request: Request, key: str) -> None:
    kind, _, sent = request.headers.get("authorization", "").partition(" ")
    if key and not (kind.lower() == "bearer" and hmac.compare_digest(sent.strip().encode(), key.encode())):
        raise ApiError(401, "the key is missing or wrong; send it as Authorization: Bearer KEY", code="invalid_api_key")


def _check_model(name: str, model_id: str) -> None:
    if name != model_id:
        raise ApiError(
            404, f"there is no model {name[:80]!r}; this server has {model_id!r}", "model", "model_not_found"
        )


class _HeldBytes:
    """Of the bodies that are read or decoded now, all clients together."""

    def __init__(self) -> None:
        self.count = 0


@asynccontextmanager
async def _body(request: Request, held: _HeldBytes) -> AsyncIterator[bytes]:
    """The body, cut off where it is too long, too slow, or more than there is room for."""
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated[:20]) > MOST_BODY_BYTES:
        raise _too_large()
    parts, size = [], 0
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for part in request.stream():
                size += len(part)
                held.count += len(part)
                if size > MOST_BODY_BYTES:
                    raise _too_large()
                if held.count > MOST_HELD_BYTES:
                    raise ApiError(429, "too many images are being read already", code="queue_full", wait=5)
                parts.append(part)
        yield b"".join(parts)
    except TimeoutError as error:
        raise ApiError(408, f"the body did not come within {_BODY_SECONDS:.0f} s") from error
    finally:
        held.count -= size


def _prepared(
    engine: AnswerEngine, asked: ChatRequest, files: Mapping[str, bytes]
) -> tuple[PreparedPrompt, list[tuple[int, int]]]:
    """The prompt of a request, and width and height of its pictures, which are kept no longer."""
    conversation = requested_conversation(asked, files)
    try:
        prompt = engine.prepare(conversation)
    except PromptTooLong as error:
        raise ApiError(400, str(error), "messages", "context_length_exceeded") from error
    return prompt, [picture.size for own in conversation.images for picture in own]


def _too_large() -> ApiError:
    return ApiError(413, f"a request may have {MOST_BODY_BYTES:,} bytes")


def _data(content: Mapping[str, Any]) -> dict[str, str]:
    return {"data": orjson.dumps(content).decode()}


def _choice(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}


def _usage(event: Finished) -> dict[str, int]:
    total = event.prompt_tokens + event.answer_tokens
    return {"prompt_tokens": event.prompt_tokens, "completion_tokens": event.answer_tokens, "total_tokens": total}


def _model(model_id: str, started: int) -> dict[str, Any]:
    return {"id": model_id, "object": "model", "created": started, "owned_by": "mmrs"}


def _metrics(engine: AnswerEngine) -> str:
    """Prometheus' text form."""
    lines = []
    for name, value in vars(engine.counts).items():
        lines += [f"# TYPE mmrs_{name}_total counter", f"mmrs_{name}_total {value}"]
    for name, value in (("running", engine.running), ("waiting", engine.waiting)):
        lines += [f"# TYPE mmrs_requests_{name} gauge", f"mmrs_requests_{name} {value}"]
    return "\n".join(lines) + "\n"
