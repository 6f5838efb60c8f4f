"""Samples drawn for people: the stored image with its objects over it, and its text beside it.

Everything that comes from a record is escaped. Overlays are SVG in pixels of the stored image, so they show the stored
geometry and not a rounding of it.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import zip_longest
from pathlib import Path
from typing import Any

from mmrs.errors import RunFailure
from mmrs.record import AnnotatedObject, ImageInfo, Record
from mmrs.report.thumbnail import thumbnail
from mmrs.seeding import seeded_order
from mmrs.shards.index import IMAGE_PLACES
from mmrs.shards.reader import ShardSet
from mmrs.text import see_verify, shorten

_DRAWN_OBJECTS = 300
_NAMED_OBJECTS = 6
_NAMED_CLASSES = 3
_SAID_LETTERS = 60


@dataclass(frozen=True, slots=True)
class Picture:
    """A chosen sample. `thumbnail` is JPEG, `further` those of the images after the first."""

    record: Record
    thumbnail: bytes
    further: tuple[bytes, ...] = ()


def choose(location: Path | str, per_source: int, seed: int) -> list[Picture]:
    """`per_source` samples of each source, from as many of its shards as possible; the seed decides which.

    Raises:
        RunFailure: a chosen image cannot be decoded, or an index cannot be read.
    """
    data = ShardSet(location)
    pictures = []
    try:
        for source in sorted(data.manifest.sources):
            numbers = [n for n, shard in enumerate(data.manifest.shards) if shard.source == source]
            paths = [data.manifest.shards[number].path for number in numbers]
            chosen = [numbers[place] for place in seeded_order(paths, seed, "gallery")[:per_source]]
            for position, number in enumerate(chosen):
                take = per_source // len(chosen) + (position < per_source % len(chosen))
                pictures += _from_shard(data, number, take, seed)
    finally:
        data.close()
    return pictures


def _from_shard(data: ShardSet, number: int, count: int, seed: int) -> list[Picture]:
    try:
        columns = ["id", "record_offset", "record_size", *IMAGE_PLACES]
        rows = data.index(number, columns).to_pylist()
        chosen = [rows[place] for place in seeded_order([row["id"] for row in rows], seed, "gallery")[:count]]
        return [_picture(data, row | {"shard": number}) for row in chosen]
    except (OSError, ValueError) as error:
        where = data.index_location(number)
        raise RunFailure(f"{where}: {error}. {see_verify(data.location)}") from error


def _picture(data: ShardSet, row: dict[str, Any]) -> Picture:
    first, *further = map(thumbnail, data.images(row))
    return Picture(data.record(row), first, tuple(further))


def strip_html(title: str, pictures: Sequence[Picture], colours: Mapping[str, str]) -> str:
    """Pictures of one kind in a row: the drawings of their cards again, which are on the page once."""
    frames = []
    for picture in pictures:
        width, height = picture.record.image.width, picture.record.image.height
        counts = _counts(picture.record.objects)
        words = ", ".join(f"{name} {count}" for name, count in counts.items()) or _said(picture.record)
        shown = "".join(_key(name, colours[name], count) for name, count in list(counts.items())[:_NAMED_CLASSES])
        frames.append(
            f'<a href="#{_anchor(picture)}" title="{escape(picture.record.id)}: {escape(words)}">'
            f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(picture.record.id)}: {escape(words)}">'
            f'<use href="#{_anchor(picture)}-drawing"/></svg><span>{shown or escape(words)}</span></a>'
        )
    return f'<div class="strip" role="group" aria-label="{escape(title)}" tabindex="0">{"".join(frames)}</div>'


def _said(record: Record) -> str:
    """What a record without objects says of its image, shortly."""
    texts = [record.label or "", *record.captions, *(f"{item.question} - {item.answer}" for item in record.questions)]
    return shorten(next(filter(None, texts), ""), _SAID_LETTERS)


def for_strip(pictures: Sequence[Picture], most: int) -> list[Picture]:
    """Of each source in turn the pictures with the most classes and objects, at most so many."""
    by_source: dict[str, list[Picture]] = {}
    for picture in pictures:
        by_source.setdefault(picture.record.source, []).append(picture)
    for own in by_source.values():
        own.sort(key=_richness, reverse=True)
    turns = zip_longest(*by_source.values())
    return [picture for turn in turns for picture in turn if picture is not None][:most]


def _richness(picture: Picture) -> tuple[int, int]:
    return len(_counts(picture.record.objects)), len(picture.record.objects)


def card_html(picture: Picture, colours: Mapping[str, str]) -> str:
    """One sample as an HTML ``figure``; `colours` are those of its classes."""
    record = picture.record
    facts = [f"{record.image.width} x {record.image.height}", record.sensor, record.split]
    if record.image.reencoded:
        facts.append(f"re-encoded: {record.image.reencoded}")
    parts = [
        overlay_svg(picture, colours),
        *(_further_html(*each) for each in zip(picture.further, record.further_images, strict=True)),
        f"<figcaption><strong>{escape(record.id)}</strong><br>{escape(', '.join(facts))}</figcaption>",
        _legend(record.objects, colours),
    ]
    if record.label:
        parts.append(f"<p><b>label</b> {escape(record.label)}</p>")
    parts.append(_list("captions", record.captions))
    parts.append(_list("questions", (f"{item.question} - {item.answer}" for item in record.questions)))
    parts.append(_list("expressions", (f"{item.text} (object {item.object})" for item in record.expressions)))
    parts.append(_dialogues(record))
    return f'<figure class="card" id="{_anchor(picture)}">{"".join(parts)}</figure>'


def _further_html(small: bytes, image: ImageInfo) -> str:
    """An image after the first, of which there are no objects, under its role."""
    data, role = base64.b64encode(small).decode(), escape(image.role or "")
    return (
        f'<svg viewBox="0 0 {image.width} {image.height}" role="img" aria-label="{role}"><title>{role}</title>'
        f'<image href="data:image/jpeg;base64,{data}" width="{image.width}" height="{image.height}" '
        'preserveAspectRatio="none"/></svg>'
    )


def overlay_svg(picture: Picture, colours: Mapping[str, str]) -> str:
    """The thumbnail under the objects of the record; coordinates are pixels of the stored image."""
    width, height = picture.record.image.width, picture.record.image.height
    data = base64.b64encode(picture.thumbnail).decode()
    drawn = picture.record.objects[:_DRAWN_OBJECTS]
    shapes = [_shape(number, item, colours[item.category]) for number, item in enumerate(drawn)]
    names = []
    if len(drawn) <= _NAMED_OBJECTS:
        size = max(width, height) / 38
        names = [_name(item, colours[item.category], size) for item in drawn]
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(picture.record.id)}">'
        f'<g id="{_anchor(picture)}-drawing"><image href="data:image/jpeg;base64,{data}" width="{width}" '
        f'height="{height}" preserveAspectRatio="none"/>{"".join(shapes)}</g>'
        f"{''.join(names)}</svg>"
    )


def _shape(number: int, item: AnnotatedObject, colour: str) -> str:
    points = " ".join(f"{x:.2f},{y:.2f}" for x, y in item.quad)
    marks = [name for name in ("difficult", "truncated", "ignore") if getattr(item, name)]
    said = f"object {number}: {item.category} ({', '.join([item.label, *marks])})"
    dashes = ' stroke-dasharray="2 3"' if item.ignore else ""
    return (
        f'<polygon class="halo" points="{points}"/>'
        f'<polygon class="box" points="{points}" stroke="{colour}"{dashes}><title>{escape(said)}</title></polygon>'
        + _true_box(item, colour)
    )


def _true_box(item: AnnotatedObject, colour: str) -> str:
    """The horizontal box where the source has one that is not the quad itself."""
    if item.hbb is None:
        return ""
    left, top, right, bottom = item.hbb
    if {(x, y) for x, y in item.quad} == {(left, top), (right, top), (right, bottom), (left, bottom)}:
        return ""
    return (
        f'<rect class="box" x="{left:.2f}" y="{top:.2f}" width="{right - left:.2f}" height="{bottom - top:.2f}" '
        f'stroke="{colour}" stroke-dasharray="6 4"/>'
    )


def _name(item: AnnotatedObject, colour: str, size: float) -> str:
    left, top, _, bottom = item.extent()
    y = top - size * 0.25 if top > size * 1.2 else bottom + size
    return (
        f'<text class="name" x="{max(left, 0):.1f}" y="{y:.1f}" font-size="{size:.1f}" fill="{colour}">'
        f"{escape(item.category)}</text>"
    )


def _counts(objects: Sequence[AnnotatedObject]) -> dict[str, int]:
    """Objects of each class, the most frequent first."""
    return dict(sorted(Counter(item.category for item in objects).items(), key=lambda pair: (-pair[1], pair[0])))


def _legend(objects: Sequence[AnnotatedObject], colours: Mapping[str, str]) -> str:
    if not objects:
        return ""
    keys = [_key(name, colours[name], count) for name, count in _counts(objects).items()]
    rest = len(objects) - _DRAWN_OBJECTS
    return f"<p>{''.join(keys)}{f' ({rest} more are not drawn)' if rest > 0 else ''}</p>"


def _key(name: str, colour: str, count: int) -> str:
    return f'<span class="key"><i style="background:{colour}"></i>{escape(name)} {count}</span> '


def _anchor(picture: Picture) -> str:
    return f"i-{hashlib.sha256(picture.record.id.encode()).hexdigest()[:16]}"


def _list(title: str, texts: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f"<p><b>{title}</b></p><ul>{items}</ul>" if items else ""


def _dialogues(record: Record) -> str:
    if not record.dialogues:
        return "<p>no dialogue</p>"
    blocks = []
    for dialogue in record.dialogues:
        turns = "".join(f"<dt>{turn.sender}</dt><dd>{escape(turn.value)}</dd>" for turn in dialogue.turns)
        blocks.append(f"<h4>{escape(dialogue.task)}</h4><dl>{turns}</dl>")
    title = f"{len(record.dialogues)} dialogue{'s' if len(record.dialogues) > 1 else ''}"
    return f"<details><summary>{title}</summary>{''.join(blocks)}</details>"
