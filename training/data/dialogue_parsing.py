"""The image and the dialogues of a sample of somebody else's tar, in the forms that they commonly have.

A sample is an image with a ``json`` member in LLaVA form (``conversations``, roles human and gpt) or in ours
(``dialogues``), or with a ``txt`` member, which is a caption.
"""

from __future__ import annotations

from typing import Any

import orjson

from mmrs.instructions.image_mark import without_image_marks
from mmrs.instructions.prompts import CAPTIONING
from training.data.augment import Turns

DECODED_SUFFIXES = ("jpg", "jpeg", "png", "webp")
_ROLES = {"human": "human", "user": "human", "gpt": "gpt", "assistant": "gpt"}


def image_suffix(sample: dict[str, Any]) -> str:
    """The suffix of the sample's image. Raises ValueError where there is none."""
    for suffix in DECODED_SUFFIXES:
        if suffix in sample:
            return suffix
    raise ValueError(f"no image among {sorted(name for name in sample if not name.startswith('__'))}")


def dialogues_of(sample: dict[str, Any]) -> list[Turns]:
    """The (role, text) turns of each dialogue of a sample.

    Raises:
        ValueError: no text, or text in another form.
    """
    if "json" not in sample:
        if "txt" not in sample:
            raise ValueError("neither a json nor a txt member")
        return [[("human", CAPTIONING), ("gpt", sample["txt"].decode().strip())]]
    content = orjson.loads(sample["json"])
    if not isinstance(content, dict):
        raise ValueError(f"json is a {type(content).__name__}, not an object")
    listed = (
        [dialogue["turns"] for dialogue in content["dialogues"]]
        if "dialogues" in content
        else [content["conversations"]]
    )
    dialogues = [[_turn(turn) for turn in turns] for turns in listed]
    for turns in dialogues:
        roles = [role for role, _ in turns]
        if not turns or roles != ["human", "gpt"] * (len(turns) // 2):
            raise ValueError(f"turns must alternate human, gpt; found {roles}")
    if not dialogues:
        raise ValueError("no dialogue")
    return dialogues


def _turn(turn: dict[str, str]) -> tuple[str, str]:
    role, text = turn.get("from", turn.get("role")), turn.get("value", turn.get("content"))
    if role not in _ROLES or not isinstance(text, str):
        raise ValueError(f"a turn needs a role of {', '.join(_ROLES)} and a text; found {turn!r}"[:200])
    return _ROLES[role], without_image_marks(text)
