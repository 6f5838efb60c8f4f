"""The end of `mmrs serve`: what was taken is answered, whoever comes meanwhile is sent away, in bounded time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import FrameType

import uvicorn

from training.serving.engine import AnswerEngine

DRAIN_SECONDS = 20.0


class DrainingServer(uvicorn.Server):
    """Listens on while the engine answers what it has taken, and ends once it has, or after `patience_seconds`.

    Without this uvicorn would close its door at once, and sse-starlette every stream with it. A second signal ends it
    at once.

    Args:
        config: of uvicorn; its grace is for what is answered and not sent yet.
        engine: is closed.
        say: told when the end begins.
        patience_seconds: for the answers.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        engine: AnswerEngine,
        say: Callable[[str], None],
        patience_seconds: float = DRAIN_SECONDS,
    ):
        super().__init__(config)
        self._engine, self._say, self._patience_seconds = engine, say, patience_seconds
        self._draining: threading.Thread | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """What a signal does, or a test in its place."""
        if self._draining is None:
            self._draining = threading.Thread(target=self._drain, args=(sig, frame), name="draining", daemon=True)
            self._draining.start()
        else:
            self.force_exit = True
            super().handle_exit(sig, frame)

    def _drain(self, sig: int, frame: FrameType | None) -> None:
        left = self._engine.running + self._engine.waiting
        if left:
            self._say(
                f"ending: {left} requests are answered first, for {self._patience_seconds:g} s at most; "
                "the same signal again ends at once"
            )
        self._engine.close(self._patience_seconds)
        super().handle_exit(sig, frame)
