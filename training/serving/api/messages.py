"""From the body of a chat request to the conversation that the engine is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from pydantic import ValidationError

from training.model.inputs.conversation import Conversation, conversation_of
from training.serving.api.errors import ApiError
from training.serving.api.intake import MOST_PIXELS, BadImage, decode_picture, file_of
from training.serving.api.remote_images import RemoteImages
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


async def fetched_images(asked: ChatRequest, remote_images: RemoteImages | None) -> dict[str, bytes]:
    """The files at web addresses in a request, by address.

    Args:
        asked: the request.
        remote_images: that fetches them; None where nothing is fetched.

    Raises:
        ApiError: too many images, an address that is not allowed, or no image from there.
    """
    images = list(_image_addresses(asked))
    if len(images) > MOST_IMAGES:
        raise ApiError(400, f"a request may have {MOST_IMAGES} images", "messages")
    web = [image for image in images if isinstance(image, str) and image.lower().startswith(("http:", "https:"))]
    if not web:
        return {}
    if remote_images is None:
        raise _bad_image(
            "nothing is fetched: send an image as data:image/png;base64,..., or have the owner of the server allow its "
            "host (--allow-url-host HOST)"
        )
    try:
        return await remote_images.fetch(web)
    except BadImage as error:
        raise _bad_image(str(error)) from error


def requested_conversation(asked: ChatRequest, files: Mapping[str, bytes]) -> Conversation:
    """Its turns and decoded pictures.

    Args:
        asked: the request.
        files: what `fetched_images` gave.

    Raises:
        ApiError: they are none that the model can be asked.
    """
    left = _PixelsLeft(MOST_PIXELS)
    messages = [_decoded(message.role, message.content, files, left) for message in asked.messages]
    try:
        conversation = conversation_of(messages)
    except ValueError as error:
        raise ApiError(400, str(error)[:500], "messages") from error
    if conversation.turns[-1][0] != "human":
        raise ApiError(400, "the last message must be the user's", "messages")
    if sum(len(text) for _, text in conversation.turns) > MOST_CHARACTERS:
        raise ApiError(400, f"a request may have {MOST_CHARACTERS:,} characters", "messages")
    return conversation


class _PixelsLeft:
    """How many pixels the further images of a request may have."""

    def __init__(self, count: int):
        self.count = count


def _decoded(role: str, content: Any, files: Mapping[str, bytes], left: _PixelsLeft) -> dict[str, Any]:
    """A message with decoded pictures in the place of their addresses."""
    if not isinstance(content, list):
        return {"role": role, "content": content}
    parts: list[Mapping[str, Any]] = []
    for part in content:
        if _is_image(part):
            address = _address_of(part)
            try:
                file = files.get(address) if isinstance(address, str) else None
                picture = decode_picture(file_of(address) if file is None else file, left.count)
                left.count -= picture.width * picture.height
            except BadImage as error:
                raise _bad_image(str(error)) from error
            part = {"type": "image", "image": picture}
        parts.append(part)
    return {"role": role, "content": parts}


def _image_addresses(asked: ChatRequest) -> Iterator[object]:
    for message in asked.messages:
        if isinstance(message.content, list):
            yield from (_address_of(part) for part in message.content if _is_image(part))


def _is_image(part: Mapping[str, Any]) -> bool:
    return part.get("type") in ("image", "image_url")


def _address_of(part: Mapping[str, Any]) -> object:
    """Of an image, whatever stands there."""
    value = part.get("image_url") or part.get("url")
    return value.get("url") if isinstance(value, dict) else value


def _bad_image(message: str) -> ApiError:
    return ApiError(400, message, "messages", "invalid_image")
