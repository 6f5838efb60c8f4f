"""The images and dialogues of a sample of somebody else's tar, in the forms that they commonly have.

WebDataset cuts names at their first dot, so a sample may hold several pictures: ``scene_0.25.jpg`` and
``scene_0.5.jpg`` are members ``25.jpg`` and ``5.jpg`` of ``scene_0``. A picture goes with the texts of its own name;
pictures without one (masks, other views) are left alone. A json of no name of its own may say by ``images`` which
pictures of the sample it is about, and in which order: before and after, optical and SAR; a record of ours is about its
own picture and the numbered ones (``jpg``, ``1.jpg``). A json of conversations may have no picture at all. Texts are
``json``, ``txt`` (a caption) and ``cls`` (a label). What a json is, its content says: ours (``dialogues``), LLaVA's
(``conversations``), chat ``messages``, or facts with a ``caption`` as img2dataset writes. Other members are never
decoded, least of all pickles.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from mmrs.imaging.suffixes import MEMBER_SUFFIXES
from mmrs.instructions.image_mark import without_image_marks
from mmrs.instructions.prompts import CAPTIONING, CLASSIFICATION
from training.data.augment import Turns

TEXT_KINDS = ("json", "txt", "cls")
_ROLES = {"human": "human", "user": "human", "gpt": "gpt", "assistant": "gpt"}
_CLASS_KEYS = ("class_name", "classname", "label")


@dataclass(frozen=True, slots=True)
class PictureWithTexts:
    """Pictures and the contents of their text members by kind (`TEXT_KINDS`); `name` is the whole key. One picture,
    none for conversations alone, or several that a text orders."""

    name: str
    images: tuple[bytes, ...]
    texts: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class ParsedTexts:
    """The (role, text) turns of each dialogue, and why others were left out."""

    dialogues: tuple[Turns, ...]
    left_out: tuple[str, ...]


def pictures_of(sample: Mapping[str, Any]) -> Iterator[PictureWithTexts]:
    """The pictures of a sample that have texts.

    Raises:
        ValueError: no picture, no text, or it is not said which belongs to which.
    """
    images: dict[str, list[str]] = {}
    texts: dict[str, dict[str, bytes]] = {}
    for member in sorted(name for name in sample if not name.startswith("__")):
        part, _, kind = member.rpartition(".")
        if kind in MEMBER_SUFFIXES:
            images.setdefault(part, []).append(member)
        elif kind in TEXT_KINDS:
            texts.setdefault(part, {})[kind] = sample[member]
    members = ", ".join(sorted(name for name in sample if not name.startswith("__")))
    stated = _stated_images(texts.get("", {}), images)
    if stated is not None:
        yield PictureWithTexts(str(sample["__key__"]), tuple(sample[name] for name in stated), texts[""])
        return
    if not images or not texts:
        raise ValueError(f"no {'image' if not images else 'json, txt or cls member'} among {members}")
    pairs = {part: texts[part] for part in images if part in texts}
    if not pairs and len(images) == len(texts) == 1:
        pairs = {next(iter(images)): next(iter(texts.values()))}
    if not pairs:
        raise ValueError(f"which image a text is about is not said among {members}; give both the same name")
    for part, own in pairs.items():
        if len(images[part]) > 1:
            raise ValueError(f"{', '.join(images[part])} of one name: which one the text is about is not said")
        name = f"{sample['__key__']}.{part}" if part else str(sample["__key__"])
        yield PictureWithTexts(name, (sample[images[part][0]],), own)


def _stated_images(texts: Mapping[str, bytes], images: Mapping[str, list[str]]) -> list[str] | None:
    """Members that a json names by ``images``, none of them where it is a conversation in a sample without a picture.
    None where it says nothing, or is no json, which whoever reads it tells.

    Raises:
        ValueError: it names a picture that the sample has not.
    """
    if "json" not in texts:
        return None
    try:
        content = orjson.loads(texts["json"])
    except orjson.JSONDecodeError:
        return None
    if isinstance(content, dict) and isinstance(content.get("further_images"), list):
        numbers = ["", *map(str, range(1, 1 + len(content["further_images"])))]
        content = {"images": [images[number][0] if number in images else f"{number}.*" for number in numbers]}
    if isinstance(content, dict) and isinstance(content.get("images"), list):
        known = {name: name for members in images.values() for name in members}
        known |= {part: members[0] for part, members in images.items() if len(members) == 1}
        named = [str(name) for name in content["images"]]
        lost = [name for name in named if name not in known]
        if lost or not named:
            raise ValueError(
                f"images names {', '.join(lost) or 'none'}; the sample has {', '.join(sorted(known))}"[:200]
            )
        return [known[name] for name in named]
    talks = isinstance(content, list) or (isinstance(content, dict) and {"conversations", "messages"} & content.keys())
    speaks_of_image = b"<image>" in texts["json"] or (isinstance(content, dict) and "image" in content)
    return [] if not images and talks and not speaks_of_image else None


def parse_texts(texts: Mapping[str, bytes], classes: Sequence[str] = ()) -> ParsedTexts:
    """The dialogues of one picture: conversations, else captions; and its class where that has a name.

    Args:
        texts: contents by kind.
        classes: names by the number of a ``cls`` member.

    Raises:
        ValueError: no text that can be used, or text in another form.
    """
    content = orjson.loads(texts["json"]) if "json" in texts else {}
    listed = _conversations(content)
    dialogues: list[Turns] = []
    left_out: list[str] = []
    for turns in listed:
        parsed = _turns(turns)
        if all(text.strip() for _, text in parsed):
            dialogues.append(parsed)
        else:
            left_out.append("a turn without text")
    captions = [] if listed else _captions(texts, content)
    dialogues += [[("human", CAPTIONING), ("gpt", caption)] for caption in captions if caption]
    left_out += ["an empty caption" for caption in captions if not caption]
    label = _label(texts, content, classes)
    if isinstance(label, _Unnamed):
        left_out.append(label.reason)
    elif label:
        dialogues.append([("human", CLASSIFICATION), ("gpt", label)])
    if not dialogues:
        raise ValueError("; ".join(left_out) or f"no dialogue, caption or class in {', '.join(texts)}")
    return ParsedTexts(tuple(dialogues), tuple(left_out))


def _conversations(content: Any) -> list[Any]:
    if isinstance(content, list):
        return [content]
    if not isinstance(content, dict):
        raise ValueError(f"json is a {type(content).__name__}, not an object")
    if "dialogues" in content:
        return [dialogue["turns"] for dialogue in content["dialogues"]]
    return [content[key] for key in ("conversations", "messages") if key in content][:1]


def _captions(texts: Mapping[str, bytes], content: Any) -> list[str]:
    """Stripped captions, an empty one where a member for it is empty."""
    stated = content.get("caption") if isinstance(content, dict) else None
    listed = [stated] if isinstance(stated, str) else stated if isinstance(stated, list) else []
    if not all(isinstance(caption, str) for caption in listed):
        raise ValueError(f"caption is {stated!r}, not a text or a list of texts"[:200])
    own = texts["txt"].decode("utf-8-sig").strip() if "txt" in texts else ""
    if own:
        return [own]
    return [caption.strip() for caption in listed] or ([""] if "txt" in texts else [])


@dataclass(frozen=True, slots=True)
class _Unnamed:
    reason: str


def _label(texts: Mapping[str, bytes], content: Any, classes: Sequence[str]) -> str | _Unnamed:
    """The class's name, empty where no class is stated."""
    stated = [content.get(key) for key in _CLASS_KEYS] if isinstance(content, dict) else []
    named = next((name.strip() for name in stated if isinstance(name, str) and name.strip()), "")
    written = texts["cls"].decode("utf-8-sig").strip() if "cls" in texts else ""
    if named or not written.lstrip("-").isdecimal():
        return named or written
    if 0 <= int(written) < len(classes):
        return classes[int(written)]
    return _Unnamed(f"class {written} has no name: --set data.webdataset_classes=FILE, one name a line, class 0 first")


def _turns(turns: Any) -> Turns:
    if not isinstance(turns, list):
        raise ValueError(f"a dialogue is a list of turns; found {turns!r}"[:200])
    # A system turn at the head is an instruction to the model, no statement about the image.
    if turns and isinstance(turns[0], dict) and turns[0].get("from", turns[0].get("role")) == "system":
        turns = turns[1:]
    parsed = [_turn(turn) for turn in turns]
    roles = [role for role, _ in parsed]
    if not parsed or roles != ["human", "gpt"] * (len(parsed) // 2):
        raise ValueError(f"turns must alternate human, gpt; found {roles}")
    return parsed


def _turn(turn: Any) -> tuple[str, str]:
    if not isinstance(turn, dict):
        raise ValueError(f"a turn is an object; found {turn!r}"[:200])
    role, text = turn.get("from", turn.get("role")), turn.get("value", turn.get("content"))
    if isinstance(text, list):
        # Chat messages of several parts: the picture's place in them is of no account.
        text = " ".join(part["text"] for part in text if isinstance(part, dict) and isinstance(part.get("text"), str))
    if role not in _ROLES or not isinstance(text, str):
        raise ValueError(f"a turn needs a role of {', '.join(_ROLES)} and a text; found {turn!r}"[:200])
    return _ROLES[role], without_image_marks(text)
