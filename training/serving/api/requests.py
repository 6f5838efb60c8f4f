"""The body of a chat request: the fields of OpenAI's that have a meaning here, and a reason for each that has none."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from mmrs.config import StrictModel

MOST_MESSAGES, MOST_IMAGES, MOST_CHARACTERS = 64, 8, 200_000


class Message(StrictModel):
    """One message. `content` is checked by `training.model.inputs.conversation`."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    role: str
    content: str | list[dict[str, Any]] | None = None


class StreamOptions(StrictModel):
    """`include_usage` adds a last chunk with the counts of tokens."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    include_usage: bool = False


class ChatRequest(StrictModel):
    """Body of ``POST /v1/chat/completions``. `max_completion_tokens` counts before `max_tokens`."""

    messages: list[Message] = Field(min_length=1, max_length=MOST_MESSAGES)
    model: str | None = None
    max_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    stop: str | list[str] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: Literal[1] | None = None
    frequency_penalty: Literal[0] | float | None = None
    presence_penalty: Literal[0] | float | None = None
    logprobs: bool | None = None
    response_format: dict[str, Any] | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None
    parallel_tool_calls: bool | None = None

    @field_validator("stop")
    @classmethod
    def _few_stops(cls, value: Any) -> Any:
        listed = [value] if isinstance(value, str) else value or []
        if len(listed) > 4 or any(not text or len(text) > 200 for text in listed):
            raise ValueError("give at most four texts of 1 to 200 characters")
        return value

    @model_validator(mode="after")
    def _nothing_unknown(self) -> ChatRequest:
        without = {
            "tools": bool(self.tools),
            "logprobs": bool(self.logprobs),
            "frequency_penalty": bool(self.frequency_penalty),
            "presence_penalty": bool(self.presence_penalty),
            "response_format": (self.response_format or {}).get("type", "text") != "text",
        }
        for name, asked in without.items():
            if asked:
                raise ValueError(f"{name} is not supported; leave it out")
        return self

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts at which an answer ends."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
