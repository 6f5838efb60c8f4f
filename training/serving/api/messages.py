"""From the body of a chat request to the conversation that the engine is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from pydantic import ValidationError

from training.model.inputs.conversation import Conversation, conversation_of
from training.serving.api.errors import ApiError
from training.serving.api.intake import BadImage, picture_of
from training.serving.api.requests import MOST_CHARACTERS, MOST_IMAGES, ChatRequest


def parsed_request(body: bytes) -> ChatRequest:
    """The request of a body. Raises ApiError where it is none."""
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(400, f"the body is no JSON: {error}") from error
    try:
        return ChatRequest.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or None
        raise ApiError(400, f"{place or 'the body'}: {first['msg']}"[:500], place) from error


def requested_conversation(asked: ChatRequest) -> Conversation:
    """Its turns and decoded pictures. Raises ApiError where they are none that the model can be asked."""
    messages = [_decoded(message.role, message.content) for message in asked.messages]
    try:
        conversation = conversation_of(messages)
    except ValueError as error:
        raise ApiError(400, str(error)[:500], "messages") from error
    if conversation.turns[-1][0] != "human":
        raise ApiError(400, "the last message must be the user's", "messages")
    if sum(len(own) for own in conversation.images) > MOST_IMAGES:
        raise ApiError(400, f"a request may have {MOST_IMAGES} images", "messages")
    if sum(len(text) for _, text in conversation.turns) > MOST_CHARACTERS:
        raise ApiError(400, f"a request may have {MOST_CHARACTERS:,} characters", "messages")
    return conversation


def _decoded(role: str, content: Any) -> dict[str, Any]:
    """A message with decoded pictures in the place of their addresses."""
    if not isinstance(content, list):
        return {"role": role, "content": content}
    parts: list[Mapping[str, Any]] = []
    for part in content:
        if part.get("type") in ("image", "image_url"):
            value = part.get("image_url") or part.get("url")
            try:
                part = {"type": "image", "image": picture_of(value.get("url") if isinstance(value, dict) else value)}
            except BadImage as error:
                raise ApiError(400, str(error), "messages", "invalid_image") from error
        parts.append(part)
    return {"role": role, "content": parts}
