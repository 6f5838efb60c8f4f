"""Answers of an OpenAI-compatible endpoint: several questions at once, each answer on the disk as it comes.

An image is sent as it is stored, in the request itself, and every question with it: such servers keep encoded images by
digest where they can. Decoding is greedy as far as a server can be asked for it (temperature 0); who needs answers that
are the same every time asks the server's maker.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from threading import Lock
from typing import Any

from PIL import Image

from mmrs.errors import RunFailure, UserError
from mmrs.shards.reader import ShardSet
from mmrs.storage.retry import Patience
from training.evaluation.adapters import adapters, find_adapter
from training.evaluation.adapters.adapter import Adapter
from training.evaluation.answer_parts import AnswerFolder
from training.evaluation.generate import Decoding
from training.evaluation.models.answerer import adapted_answer, turns
from training.evaluation.models.client import ServerAddress, check_address, post
from training.evaluation.questions import question_images
from training.evaluation.task import Answer, FinishReason, Question
from training.evaluation.tasks import find_task

_REASONS: Mapping[str, FinishReason] = {"stop": "stop", "length": "length", "max_tokens": "length"}
_MEDIA = {b"\xff\xd8": "image/jpeg", b"\x89P": "image/png"}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How an endpoint is asked.

    Args:
        model: the name that the server knows it by.
        concurrency: requests at once.
        token_variable: the environment variable that holds the token; none is sent where it is not set.
        log_probabilities: ask for those of the tokens; a server that has none may refuse.
        patience: with each request; a question may take `stall_seconds` to be answered.
    """

    model: str = ""
    concurrency: int = 8
    token_variable: str = "OPENAI_API_KEY"
    log_probabilities: bool = True
    patience: Patience = field(default_factory=lambda: Patience(tries=8, first_wait_seconds=1.0, stall_seconds=600.0))


def check_endpoint(url: str, endpoint: Endpoint, adapter: str) -> Adapter:
    """The adapter of an endpoint. Raises UserError where the address, the model's name or the adapter is missing."""
    check_address(url)
    if not endpoint.model:
        raise UserError(f"{url}: name the model that is asked for with --model; GET {url}/models lists them.")
    if not adapter:
        known = ", ".join(each.name for each in adapters())
        raise UserError(f"{url}: say how the model writes boxes with --adapter, one of {known}.")
    return find_adapter(adapter)


class EndpointAnswerer:
    """Asks one question at a time, from any thread.

    Args:
        url: of the API.
        data: where the questions' images lie.
    """

    def __init__(self, url: str, endpoint: Endpoint, adapter: Adapter, decoding: Decoding, data: ShardSet):
        self._address = ServerAddress(check_address(url), os.environ.get(endpoint.token_variable, "").strip())
        self._endpoint, self._adapter, self._decoding, self._data = endpoint, adapter, decoding, data
        # Readers of shards share open files, and are made for one thread at a time.
        self._reading = Lock()

    def answer(self, question: Question[Any]) -> Answer:
        """Raises UserError or RunFailure as `post` does."""
        reply = post(self._address, "/chat/completions", self._body(question), self._endpoint.patience)
        try:
            choice = reply["choices"][0]
            said = choice["message"]["content"]
        except (KeyError, IndexError, TypeError) as error:
            raise RunFailure(f"{self._address.url} replied without choices[0].message.content: {error!r}") from error
        text = said if isinstance(said, str) else ""
        reason = _REASONS.get(str(choice.get("finish_reason")), "unknown")
        return adapted_answer(self._adapter, question, text, reason, _tokens(choice, text))

    def _body(self, question: Question[Any]) -> dict[str, Any]:
        messages: list[dict[str, Any]] = [
            {"role": role, "content": [{"type": "text", "text": text}]} for role, text in turns(self._adapter, question)
        ]
        images = [{"type": "image_url", "image_url": {"url": url}} for url in self._image_urls(question)]
        messages[0]["content"][:0] = images
        body: dict[str, Any] = {
            "model": self._endpoint.model,
            "messages": messages,
            "temperature": 0,
            "max_tokens": self._longest(question),
        }
        return body | ({"logprobs": True} if self._endpoint.log_probabilities else {})

    def _longest(self, question: Question[Any]) -> int:
        """No text has more tokens than characters, whatever the server's tokenizer."""
        needed = len(self._adapter.reference(question)) + 1
        return self._decoding.max_new_tokens or max(find_task(question.task).max_new_tokens, needed)

    def _image_urls(self, question: Question[Any]) -> list[str]:
        with self._reading:
            stored = self._data.images(dict(question.row))
            images = question_images(self._data, question)
        return [self._image_url(*each) for each in zip(stored, images, strict=True)]

    def _image_url(self, stored: bytes, image: Image.Image) -> str:
        prepared = self._adapter.prepare(image)
        if prepared.size != image.size:
            written = io.BytesIO()
            prepared.save(written, "PNG")
            stored = written.getvalue()
        return f"data:{_MEDIA[stored[:2]]};base64,{base64.b64encode(stored).decode()}"


def answer_concurrently(
    answerer: EndpointAnswerer,
    folder: AnswerFolder,
    questions: Sequence[Question[Any]],
    concurrency: int,
    advance: Callable[[int], None],
) -> None:
    """Ask what is not answered yet; every answer is kept as it comes, so a stopped evaluation goes on where it was."""
    done = folder.answered().keys()
    pending = iter([question for question in questions if question.id not in done])
    with ThreadPoolExecutor(concurrency) as pool:
        asked: set[Future[Answer]] = set()
        try:
            while True:
                free = concurrency - len(asked)
                asked |= {pool.submit(answerer.answer, question) for question in islice(pending, free)}
                if not asked:
                    return
                finished, asked = wait(asked, return_when=FIRST_COMPLETED)
                answers = [future.result() for future in finished if future.exception() is None]
                if answers:
                    folder.append(0, answers)
                    advance(len(answers))
                for future in finished:
                    future.result()
        finally:
            for future in asked:
                future.cancel()


def _tokens(choice: Mapping[str, Any], text: str) -> tuple[list[str], list[float]] | None:
    """Tokens and their log-probabilities where the server gives them, and they are those of the text."""
    try:
        rows = choice["logprobs"]["content"]
        pieces = [str(row["token"]) for row in rows]
        values = [float(row["logprob"]) for row in rows]
    except (KeyError, TypeError, ValueError):
        return None
    return (pieces, values) if "".join(pieces).startswith(text) else None
