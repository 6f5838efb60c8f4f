"""Formats that are a row a dialogue: what they share but for the row itself. Rows of a split are joined from parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import orjson

from mmrs.export.format import NO_DIALOGUE, ExportCounts, ExportPart, PlacedSample, WrittenExport, write_items
from mmrs.export.style import ChatExchange, Styled, as_turns
from mmrs.record import Record

DialogueStyle = Callable[[Sequence[Record], ExportPart], Iterator[Styled]]
# Held together with their images, so that boxes of many records are computed in one call.
_SAMPLES_TOGETHER = 32
MakeRow = Callable[[str, PlacedSample, ChatExchange], dict[str, Any]]


def write_rows(
    samples: Iterable[PlacedSample], part: ExportPart, style: DialogueStyle, make_row: MakeRow
) -> ExportCounts:
    """Write a part of JSON lines, a row an exchange; rows have the id ``<id of the record>#<number>``."""
    counts = ExportCounts()
    with part.file("jsonl").open("wb") as file:
        write, dump, line_end = file.write, orjson.dumps, orjson.OPT_APPEND_NEWLINE
        for name, sample, exchange in exchanges(samples, part, style, counts):
            write(dump(make_row(name, sample, exchange), option=line_end))
    return counts


def exchanges(
    samples: Iterable[PlacedSample], part: ExportPart, style: DialogueStyle, counts: ExportCounts
) -> Iterator[tuple[str, PlacedSample, ChatExchange]]:
    """(id of the row, sample, exchange), each counted."""
    following = iter(samples)
    while block := list(islice(following, _SAMPLES_TOGETHER)):
        counts.images += sum(len(sample.images) for sample in block)
        styled_block = style([sample.record for sample in block], part)
        for sample, styled in zip(block, styled_block, strict=True):
            if styled.left_out:
                counts.left_out.update(styled.left_out)
            if not styled.exchanges:
                counts.left_out[NO_DIALOGUE] += 1
            counts.dialogues += len(styled.exchanges)
            record = sample.record.id
            for number, exchange in enumerate(styled.exchanges):
                yield f"{record}#{number}", sample, exchange


def join_lines(written: WrittenExport) -> None:
    """``<split>.jsonl`` of each split."""
    for split in written.counts:
        with (written.folder / f"{split}.jsonl").open("wb") as file:
            written.append(file, split, "jsonl")


def join_list(written: WrittenExport) -> None:
    """``<split>.json`` of each split: one list."""
    for split in written.counts:
        with (written.folder / f"{split}.json").open("wb") as file:
            file.write(b"[")
            write_items(file, written.lines(split, "jsonl"))
            file.write(b"\n]\n")


def llava_row(name: str, sample: PlacedSample, exchange: ChatExchange) -> dict[str, Any]:
    """``id``, ``image`` (a list of several), ``conversations`` of ``from`` and ``value``."""
    images = sample.images if sample.further else sample.image
    return {"id": name, "image": images, "conversations": as_turns(exchange, len(sample.images))}


def sized_row(name: str, sample: PlacedSample, exchange: ChatExchange) -> dict[str, Any]:
    """The same with the size of the image, or those of several, which InternVL's trainer plans batches by."""
    size = sample.record.image
    row = llava_row(name, sample, exchange)
    if sample.further:
        shown = sample.record.images
        return row | {"width_list": [one.width for one in shown], "height_list": [one.height for one in shown]}
    row["width"], row["height"] = size.width, size.height
    return row
