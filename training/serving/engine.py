"""One engine for everybody who asks: waiting requests join the running ones between two steps of decoding.

A thread of its own owns the model. Requests that wait are read together, images and prompts; then their keys and values
stand beside those of the running ones, padded on the left, and every step makes one more token of each row. Rows that
end leave at once. So a short answer never waits for a long one, and a step costs little more for sixteen rows than for
one.

The queue is bounded: whoever comes when it is full is told when to come again. An image that was asked about lately is
not encoded again.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Literal

import torch

from training.model import EarthGPTForConditionalGeneration, EarthGPTProcessor
from training.model.inputs.conversation import Conversation
from training.serving.rows import Newcomer, RunningRows

EndReason = Literal["stop", "length", "cancelled", "failed"]
_REMEMBERED_IMAGES = 32
_IDLE_SECONDS = 0.2
# Of one call of the encoders.
_IMAGES_AT_ONCE = 16
# Prompts that are read together are padded to the longest; none to more than so many times its length.
_MOST_PADDED = 2
# Of float32, logits divided by less are infinite, and then no token is probable.
_LEAST_TEMPERATURE = 1e-5


class EngineFull(Exception):
    """The queue is full; `retry_after_seconds` says when to come again."""

    def __init__(self, message: str, retry_after_seconds: int):
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class EngineStopping(EngineFull):
    """Nothing is taken any more."""


class PromptTooLong(ValueError):
    """The prompt leaves no room for an answer."""


@dataclass(frozen=True)
class Sampling:
    """How an answer is chosen and when it ends.

    Args:
        max_new_tokens: the longest answer; less where the model has no more positions.
        temperature: 0, as what is below a hundred thousandth, takes the most probable token each time.
        top_p: the smallest set of tokens of this probability is drawn from.
        seed: of the draws; answers to equal requests with a seed are equal, whoever else is answered.
        stop: texts at which the answer ends; they are no part of it.
        log_probabilities: tell of each token how probable it was.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    log_probabilities: bool = False


@dataclass(frozen=True)
class TextPiece:
    """More text of an answer."""

    text: str


@dataclass(frozen=True)
class Finished:
    """The whole answer. `reason` "failed" comes with what went wrong in `text`.

    `token_texts` and `log_probabilities` are of its tokens, at temperature 1, where they were asked for.
    """

    text: str
    reason: EndReason
    prompt_tokens: int
    answer_tokens: int
    token_texts: tuple[str, ...] = ()
    log_probabilities: tuple[float, ...] = ()


Event = TextPiece | Finished


@dataclass(frozen=True)
class PreparedPrompt:
    """A conversation as the model reads it: tokens, and images as squares (N, C, H, W), however large they were."""

    ids: list[int]
    squares_NCHW: torch.Tensor | None


@dataclass(eq=False)
class Ticket:
    """A request that was taken: its events come to `deliver`, on the engine's thread."""

    ids: list[int]
    squares_NCHW: torch.Tensor | None
    sampling: Sampling
    deliver: Callable[[Event], None]
    cancelled: threading.Event = field(default_factory=threading.Event)
    tokens: list[int] = field(default_factory=list)
    log_probabilities: list[float] = field(default_factory=list)
    shown: int = 0
    limit: int = 0
    generator: torch.Generator | None = None

    def cancel(self) -> None:
        """Nobody waits any more: the row leaves before the next step."""
        self.cancelled.set()


@dataclass
class EngineCounts:
    """What happened since the start."""

    requests: int = 0
    refused: int = 0
    failed: int = 0
    cancelled: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    steps: int = 0


class AnswerEngine:
    """See the module.

    Args:
        model: on its device, in its precision.
        processor: of the model.
        most_running: rows of one step.
        most_waiting: requests that may wait.
    """

    def __init__(
        self,
        model: EarthGPTForConditionalGeneration,
        processor: EarthGPTProcessor,
        most_running: int = 16,
        most_waiting: int = 64,
    ):
        self.processor = processor
        self.counts = EngineCounts()
        self.most_waiting = most_waiting
        self.most_running = most_running
        self._model = model.eval()
        self._end_token_id = processor.tokenizer.eos_token_id
        self._rows: RunningRows[Ticket] = RunningRows(model)
        self._features: OrderedDict[bytes, torch.Tensor] = OrderedDict()
        self._waiting: queue.Queue[Ticket] = queue.Queue(most_waiting)
        # Taken and not ended yet, whether they wait, are read or run.
        self._open: set[Ticket] = set()
        self._lock, self._encoding = threading.Lock(), threading.Lock()
        self._closing, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def positions(self) -> int:
        """Tokens of prompt and answer together that the model can read."""
        return int(self._model.config.get_text_config().max_position_embeddings)

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return self._waiting.qsize()

    @property
    def running(self) -> int:
        """Requests that are answered now."""
        return len(self._rows.keys)

    def prepare(self, conversation: Conversation) -> PreparedPrompt:
        """Read the pictures of a conversation, which are needed no longer then; any thread may, but it takes a while.

        Args:
            conversation: turns that end with a question, and the pictures of each.

        Raises:
            PromptTooLong: it leaves no room for an answer.
            ValueError: a picture is none.
        """
        with self._encoding:
            ids = self.processor.encode_conversation(conversation)[0]
        if len(ids) >= self.positions:
            raise PromptTooLong(
                f"the prompt has {len(ids)} tokens, {self.processor.image_slots} of each image; the model reads "
                f"{self.positions} with the answer"
            )
        pictures = [picture for own in conversation.images for picture in own]
        return PreparedPrompt(ids, self.processor.image_processor(pictures)["pixel_values"] if pictures else None)

    def submit(
        self, asked: Conversation | PreparedPrompt, sampling: Sampling, deliver: Callable[[Event], None]
    ) -> Ticket:
        """Take a request.

        Args:
            asked: a conversation, or what `prepare` made of it.
            sampling: how to answer.
            deliver: called with every event on the engine's thread; it must not wait.

        Raises:
            EngineFull: come again later, or (EngineStopping) ask another one.
            PromptTooLong, ValueError: as `prepare`.
        """
        prompt = self.prepare(asked) if isinstance(asked, Conversation) else asked
        limit = min(self.positions - len(prompt.ids), sampling.max_new_tokens)
        ticket = Ticket(prompt.ids, prompt.squares_NCHW, sampling, deliver, limit=limit)
        if sampling.temperature >= _LEAST_TEMPERATURE:
            ticket.generator = torch.Generator().manual_seed(sampling.seed)
        with self._lock:
            if self._closing.is_set():
                raise EngineStopping("the server is stopping", 30)
            try:
                self._waiting.put_nowait(ticket)
            except queue.Full:
                self.counts.refused += 1
                raise EngineFull(f"{self.most_waiting} requests are waiting already", 5) from None
            self._open.add(ticket)
            self.counts.requests += 1
        return ticket

    def answer(self, conversation: Conversation, sampling: Sampling) -> Iterator[Event]:
        """The events of one request, as they come. Whoever stops listening cancels it."""
        events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        ticket = self.submit(conversation, sampling, events.put)
        try:
            while True:
                event = events.get()
                yield event
                if isinstance(event, Finished):
                    return
        finally:
            ticket.cancel()

    @property
    def stopping(self) -> bool:
        """Whether nothing is taken any more."""
        return self._closing.is_set()

    def close(self, patience_seconds: float = 30.0) -> None:
        """Take nothing more, answer what is there within the patience, cancel the rest; everybody is told."""
        with self._lock:
            self._closing.set()
        deadline = monotonic() + patience_seconds
        while self._open and self._thread.is_alive() and monotonic() < deadline:
            self._thread.join(0.02)
        with self._lock:
            for ticket in self._open:
                ticket.cancel()
        self._ended.set()
        self._thread.join(10)

    def _run(self) -> None:
        with torch.inference_mode():
            while self._open or not self._ended.is_set():
                self._leave_cancelled()
                self._join_waiting()
                if self._rows.keys:
                    self._step()

    def _join_waiting(self) -> None:
        """Read what waits and there is room for; an idle engine waits for the first."""
        taken: list[Ticket] = []
        while len(self._rows.keys) + len(taken) < self.most_running:
            try:
                idle = not self._rows.keys and not taken
                ticket = self._waiting.get(block=idle, timeout=_IDLE_SECONDS if idle else None)
            except queue.Empty:
                break
            if ticket.cancelled.is_set():
                self._finish(ticket, "cancelled")
            else:
                taken.append(ticket)
        for alike in _of_like_lengths(taken):
            self._read(alike)

    def _read(self, tickets: Sequence[Ticket]) -> None:
        """Let requests join; where reading them together fails, each is read alone, and what fails fails alone."""
        try:
            features = self._image_features([ticket.squares_NCHW for ticket in tickets])
            logits_RK = self._rows.join(
                [Newcomer(ticket, ticket.ids, own) for ticket, own in zip(tickets, features, strict=True)]
            )
        except Exception as error:
            if len(tickets) == 1:
                self._fail(tickets[0], error)
                return
            for ticket in tickets:
                self._read([ticket])
            return
        self.counts.prompt_tokens += sum(len(ticket.ids) for ticket in tickets)
        self._take(tickets, logits_RK)

    def _step(self) -> None:
        tickets = list(self._rows.keys)
        try:
            logits_BK = self._rows.step([ticket.tokens[-1] for ticket in tickets])
        except Exception as error:
            self._rows.leave(tickets)
            for ticket in tickets:
                self._fail(ticket, error)
            return
        self.counts.steps += 1
        self._take(tickets, logits_BK)

    def _take(self, tickets: Sequence[Ticket], logits_BK: torch.Tensor) -> None:
        """Choose the next token of each row, tell what it adds, and let the rows leave of which it was the last."""
        if self.processor.image_token_id < logits_BK.shape[1]:
            # A generated placeholder would ask for an image that is not there.
            logits_BK[:, self.processor.image_token_id] = -torch.inf
        best = logits_BK.argmax(-1).tolist()
        ended: list[tuple[Ticket, Finished]] = []
        for ticket, logits_K, most_probable in zip(tickets, logits_BK, best, strict=True):
            try:
                token = most_probable if ticket.generator is None else _drawn(logits_K, ticket)
                if ticket.sampling.log_probabilities:
                    ticket.log_probabilities.append(float(logits_K[token] - logits_K.logsumexp(-1)))
                end = self._advance(ticket, token)
                if end is not None:
                    ended.append((ticket, end))
            except Exception as error:
                self._rows.leave([ticket])
                self._fail(ticket, error)
        # Whoever hears of an end finds its row gone.
        self._rows.leave([ticket for ticket, _ in ended])
        for ticket, end in ended:
            self._tell(ticket, end)

    def _advance(self, ticket: Ticket, token: int) -> Finished | None:
        """Take a row's next token and tell what it adds; what ends the row, if that was its last."""
        reason: EndReason | None = "stop" if token == self._end_token_id else None
        if reason is None:
            ticket.tokens.append(token)
            self.counts.answer_tokens += 1
            if len(ticket.tokens) >= ticket.limit:
                reason = "length"
        text = self.processor.decode_text(ticket.tokens) if ticket.tokens else ""
        cut = _stopped(text, ticket.sampling.stop)
        if cut is not None:
            text, reason = cut, "stop"
        safe = len(text) if reason else _safe_length(text, ticket.sampling.stop)
        if safe > ticket.shown:
            self._tell(ticket, TextPiece(text[ticket.shown : safe]))
            ticket.shown = safe
        return self._finished(ticket, text, reason) if reason else None

    def _finished(self, ticket: Ticket, text: str, reason: EndReason) -> Finished:
        counts = len(ticket.ids), len(ticket.tokens)
        if not ticket.sampling.log_probabilities:
            return Finished(text, reason, *counts)
        pieces = self.processor.token_texts(ticket.tokens) if ticket.tokens else []
        # The token that ends an answer is none of its text.
        return Finished(text, reason, *counts, tuple(pieces), tuple(ticket.log_probabilities[: len(pieces)]))

    def _leave_cancelled(self) -> None:
        for ticket in [each for each in list(self._rows.keys) if each.cancelled.is_set()]:
            self._rows.leave([ticket])
            self._finish(ticket, "cancelled")

    def _finish(self, ticket: Ticket, reason: EndReason) -> None:
        self.counts.cancelled += 1
        self._tell(ticket, Finished("", reason, len(ticket.ids), len(ticket.tokens)))

    def _fail(self, ticket: Ticket, error: Exception) -> None:
        self.counts.failed += 1
        self._tell(ticket, Finished(f"{type(error).__name__}: {error}", "failed", len(ticket.ids), len(ticket.tokens)))

    def _tell(self, ticket: Ticket, event: Event) -> None:
        if isinstance(event, Finished):
            with self._lock:
                self._open.discard(ticket)
        try:
            ticket.deliver(event)
        except Exception:
            # Whoever listened is gone, a closed event loop for instance; the others go on.
            ticket.cancel()

    def _image_features(self, squares: Sequence[torch.Tensor | None]) -> list[torch.Tensor | None]:
        """Features (N, S, D) of each request's images; those that are not remembered are encoded together."""
        digests = [
            [hashlib.sha256(square_CHW.numpy().tobytes()).digest() for square_CHW in squares_NCHW]
            if squares_NCHW is not None
            else None
            for squares_NCHW in squares
        ]
        asked: dict[bytes, torch.Tensor] = {}
        for squares_NCHW, own in zip(squares, digests, strict=True):
            if squares_NCHW is not None and own is not None:
                asked.update(zip(own, squares_NCHW, strict=True))
        # Of their own: to remember the last of many may mean to forget the first.
        found = {digest: self._features[digest] for digest in asked if digest in self._features}
        new = [digest for digest in asked if digest not in found]
        for start in range(0, len(new), _IMAGES_AT_ONCE):
            part = new[start : start + _IMAGES_AT_ONCE]
            pixels_NCHW = torch.stack([asked[digest] for digest in part]).to(self._model.device)
            encoded_NSD = self._model.get_image_features(pixels_NCHW).pooler_output
            found.update((digest, encoded_SD.clone()) for digest, encoded_SD in zip(part, encoded_NSD, strict=True))
        for digest, features_SD in found.items():
            self._features[digest] = features_SD
            self._features.move_to_end(digest)
        while len(self._features) > _REMEMBERED_IMAGES:
            self._features.popitem(last=False)
        return [None if own is None else torch.stack([found[digest] for digest in own]) for own in digests]


def _of_like_lengths(tickets: Sequence[Ticket]) -> list[list[Ticket]]:
    """Groups in which no prompt is much shorter than the longest."""
    groups: list[list[Ticket]] = []
    for ticket in sorted(tickets, key=lambda each: len(each.ids)):
        if not groups or len(ticket.ids) > _MOST_PADDED * len(groups[-1][0].ids):
            groups.append([])
        groups[-1].append(ticket)
    return groups


def _drawn(logits_K: torch.Tensor, ticket: Ticket) -> int:
    sampling = ticket.sampling
    probabilities_K = (logits_K.float().cpu() / sampling.temperature).softmax(-1)
    ordered, places = probabilities_K.sort(descending=True)
    # The token that passes the share belongs to it, so that one is left at least.
    ordered[ordered.cumsum(-1) - ordered >= sampling.top_p] = 0
    return int(places[torch.multinomial(ordered, 1, generator=ticket.generator)])


def _stopped(text: str, stop: Sequence[str]) -> str | None:
    """The text before the first of the stop texts; None where there is none."""
    places = [place for place in (text.find(each) for each in stop) if place >= 0]
    return text[: min(places)] if places else None


def _safe_length(text: str, stop: Sequence[str]) -> int:
    """How much of a text may be shown: no half character, and nothing that may be the beginning of a stop text."""
    end = len(text.rstrip("\ufffd"))
    for each in stop:
        for size in range(min(len(each) - 1, end), 0, -1):
            if text[:end].endswith(each[:size]):
                end -= size
                break
    return end
