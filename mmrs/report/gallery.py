"""Samples drawn for people: the stored image with its objects over it, and its text beside it.

Everything that comes from a record is escaped. Overlays are SVG in pixels of the stored image, so they show the stored
geometry and not a rounding of it.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from mmrs.errors import RunFailure
from mmrs.record import AnnotatedObject, Record
from mmrs.report.colours import PALETTE
from mmrs.report.thumbnail import thumbnail
from mmrs.seeding import seeded_order
from mmrs.shards.reader import ShardSet
from mmrs.text import see_verify

_DRAWN_OBJECTS = 300
_NAMED_OBJECTS = 6


@dataclass(frozen=True, slots=True)
class Picture:
    """A chosen sample. `thumbnail` is JPEG."""

    record: Record
    thumbnail: bytes


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
        columns = ["id", "image_offset", "image_size", "record_offset", "record_size"]
        rows = data.index(number, columns).to_pylist()
        chosen = [rows[place] for place in seeded_order([row["id"] for row in rows], seed, "gallery")[:count]]
        return [
            Picture(data.record(row), thumbnail(data.image(row))) for row in (row | {"shard": number} for row in chosen)
        ]
    except (OSError, ValueError) as error:
        where = data.index_location(number)
        raise RunFailure(f"{where}: {error}. {see_verify(data.location)}") from error


def card_html(picture: Picture) -> str:
    """One sample as an HTML ``figure``."""
    record = picture.record
    facts = [f"{record.image.width} x {record.image.height}", record.sensor, record.split]
    if record.image.reencoded:
        facts.append(f"re-encoded: {record.image.reencoded}")
    parts = [
        overlay_svg(picture),
        f"<figcaption><strong>{escape(record.id)}</strong><br>{escape(', '.join(facts))}</figcaption>",
        _legend(record.objects),
    ]
    if record.label:
        parts.append(f"<p><b>label</b> {escape(record.label)}</p>")
    parts.append(_list("captions", record.captions))
    parts.append(_list("questions", (f"{item.question} - {item.answer}" for item in record.questions)))
    parts.append(_list("expressions", (f"{item.text} (object {item.object})" for item in record.expressions)))
    parts.append(_dialogues(record))
    return f'<figure class="card">{"".join(parts)}</figure>'


def overlay_svg(picture: Picture) -> str:
    """The thumbnail under the objects of the record; coordinates are pixels of the stored image."""
    width, height = picture.record.image.width, picture.record.image.height
    colours = _colours(picture.record.objects)
    data = base64.b64encode(picture.thumbnail).decode()
    drawn = picture.record.objects[:_DRAWN_OBJECTS]
    shapes = [_shape(number, item, colours[item.category]) for number, item in enumerate(drawn)]
    if len(drawn) <= _NAMED_OBJECTS:
        size = max(width, height) / 38
        shapes += [_name(item, colours[item.category], size) for item in drawn]
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(picture.record.id)}">'
        f'<image href="data:image/jpeg;base64,{data}" width="{width}" height="{height}" preserveAspectRatio="none"/>'
        f"{''.join(shapes)}</svg>"
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


def _colours(objects: Sequence[AnnotatedObject]) -> dict[str, str]:
    names = sorted({item.category for item in objects})
    return {name: PALETTE[number % len(PALETTE)] for number, name in enumerate(names)}


def _legend(objects: Sequence[AnnotatedObject]) -> str:
    if not objects:
        return ""
    counts = {name: sum(item.category == name for item in objects) for name in _colours(objects)}
    keys = [
        f'<span class="key"><i style="background:{colour}"></i>{escape(name)} {counts[name]}</span> '
        for name, colour in _colours(objects).items()
    ]
    rest = len(objects) - _DRAWN_OBJECTS
    return f"<p>{''.join(keys)}{f' ({rest} more are not drawn)' if rest > 0 else ''}</p>"


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
