r"""Messages of a chat as the turns of the prompt format, and the template that renders them as text.

A message is {"role": "user" or "assistant", "content": text or parts}; a part is {"type": "text", "text": ...} or an
image under "image", "path" or "url", the latter a path or a ``data:`` address; "image_url" as clients of OpenAI send it
is the same. Texts of one message are joined by line breaks. The images of a message stand before its text, and behind
what a form writes before it.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from training.model.language.dialogue_form import DialogueForm

ChatTurn = tuple[str, str]
# Of others Pillow calls programs; each scan of a JPEG goes over all of its pixels.
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "JPEG2000")
_MOST_SCANS = 100
_ROLES = {"user": "human", "assistant": "gpt"}

_TEMPLATE = r"""
{%- if tools is defined and tools %}{{ raise_exception('EarthGPT calls no tools; send none') }}{% endif -%}
{{- bos_token + OPENING -}}
{%- for message in messages -%}
    {%- if message['role'] != ('user' if loop.index0 % 2 == 0 else 'assistant') -%}
        {{ raise_exception('roles must be user and assistant in turn, user first; there is no system turn') }}
    {%- endif -%}
    {%- if message['role'] == 'user' and not loop.first -%}{{- BETWEEN -}}{%- endif -%}
    {%- set text = namespace(joined='', parts=0) -%}
    {%- if message['content'] is string -%}
        {%- set text.joined = message['content'] -%}
    {%- else -%}
        {%- for part in message['content'] -%}
            {%- if part['type'] == 'text' -%}
                {%- set text.joined = text.joined + ('\n' if text.parts else '') + part['text'] -%}
                {%- set text.parts = text.parts + 1 -%}
            {%- elif part['type'] in ('image', 'image_url') and message['role'] == 'user' -%}
                {{- '<image>' -}}
            {%- else -%}
                {{ raise_exception('a message holds text, and images where it is of the user') }}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
    {%- if message['role'] == 'user' -%}
        {{- BEFORE_QUESTION + text.joined -}}
        {%- if not loop.last or add_generation_prompt -%}{{- AFTER_QUESTION -}}{%- endif -%}
    {%- else -%}
        {{- BEFORE_ANSWER + text.joined + eos_token -}}
    {%- endif -%}
{%- endfor -%}
"""


def chat_template_of(form: DialogueForm) -> str:
    """A Jinja template, as transformers and servers use it, that writes chats in a form."""
    template = _TEMPLATE
    for name in ("opening", "before_question", "after_question", "before_answer", "between"):
        # A string of JSON is one of Jinja too, once no sign of it can end the template's expression.
        quoted = (
            json.dumps(getattr(form, name), allow_nan=False)
            .replace("{", "\\u007b")
            .replace("}", "\\u007d")
            .replace("%", "\\u0025")
        )
        template = re.sub(rf"\b{name.upper()}\b", quoted.replace("\\", r"\\"), template)
    return template


@dataclass(frozen=True)
class Conversation:
    """`turns` as `EarthGPTProcessor.encode_dialogue` takes them; for each human's turn its images, in their order."""

    turns: tuple[ChatTurn, ...]
    images: tuple[tuple[Any, ...], ...]


def conversation_of(messages: Sequence[Mapping[str, Any]]) -> Conversation:
    """The turns and images of a chat.

    Raises:
        ValueError: no message, roles out of turn, a part of another kind, or an image without data.
    """
    turns: list[ChatTurn] = []
    images: list[tuple[Any, ...]] = []
    if not messages:
        raise ValueError("there are no messages; pass one of the role 'user' at least")
    for index, message in enumerate(messages):
        role, expected = message.get("role"), ("user", "assistant")[index % 2]
        if role != expected:
            raise ValueError(
                f"message {index} has the role {role!r}; expected {expected!r}: user and assistant alternate, user "
                "first, and there is no system turn: put what it says into the first question"
            )
        texts, pictures = _parts(message.get("content"), index)
        if role == "user":
            images.append(tuple(pictures))
        elif pictures:
            raise ValueError(f"message {index} is an answer with an image; images belong to the user's messages")
        turns.append((_ROLES[expected], "\n".join(texts)))
    return Conversation(tuple(turns), tuple(images))


def _parts(content: Any, index: int) -> tuple[list[str], list[Any]]:
    if isinstance(content, str):
        return [content], []
    if not isinstance(content, list | tuple) or not all(isinstance(part, Mapping) for part in content):
        raise ValueError(f"message {index} has a content of {type(content).__name__}; pass a text or a list of parts")
    texts, pictures = [], []
    for part in content:
        if part.get("type") == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif part.get("type") in ("image", "image_url"):
            pictures.append(_picture(part, index))
        else:
            raise ValueError(f"message {index} has a part of the type {part.get('type')!r}; pass 'text' and 'image'")
    return texts, pictures


def _picture(part: Mapping[str, Any], index: int) -> Any:
    for key in ("image", "path", "url", "image_url"):
        value = part.get(key)
        if key == "image_url" and isinstance(value, Mapping):
            value = value.get("url")
        if isinstance(value, str) and value.startswith("data:"):
            return decoded_address(value)
        if value is not None:
            return value
    raise ValueError(f"message {index} has an image without data; put it under 'image', 'path' or a data: 'url'")


def decoded_address(address: str) -> Image.Image:
    """The picture of a ``data:image/...;base64,`` address.

    Raises:
        ValueError: no such address, no base64, or no picture.
    """
    head, comma, body = address.partition(",")
    if not comma or not head.startswith("data:image/") or not head.endswith(";base64"):
        raise ValueError(f"{address[:40]!r} is no address of the form data:image/png;base64,...")
    try:
        data = base64.b64decode(body, validate=True)
        if data.startswith(b"\xff\xd8") and data.count(b"\xff\xda") > _MOST_SCANS:
            raise ValueError(f"a data: address holds a JPEG of more than {_MOST_SCANS} scans")
        return Image.open(io.BytesIO(data), formats=_FORMATS)
    except (binascii.Error, OSError) as error:
        raise ValueError(f"a data: address holds no picture: {error}") from error
