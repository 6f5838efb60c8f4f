"""Formats that are a row a dialogue: what they share but for the row itself. Rows of a split are joined from parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import orjson

from mmrs.export.format import NO_DIALOGUE, ExportCounts, ExportPart, PlacedSample, WrittenExport
from mmrs.export.style import Exchange, Styled, as_turns
from mmrs.record import Record

Style = Callable[[Record, ExportPart], Styled]
MakeRow = Callable[[str, PlacedSample, Exchange], dict[str, Any]]


def write_rows(samples: Iterable[PlacedSample], part: ExportPart, style: Style, make_row: MakeRow) -> ExportCounts:
    """Write a part of JSON lines, a row an exchange; rows have the id ``<id of the record>#<number>``."""
    counts = ExportCounts()
    with part.file("jsonl").open("wb") as file:
        for name, sample, exchange in exchanges(samples, part, style, counts):
            file.write(orjson.dumps(make_row(name, sample, exchange), option=orjson.OPT_APPEND_NEWLINE))
    return counts


def exchanges(
    samples: Iterable[PlacedSample], part: ExportPart, style: Style, counts: ExportCounts
) -> Iterator[tuple[str, PlacedSample, Exchange]]:
    """(id of the row, sample, exchange), each counted."""
    for sample in samples:
        counts.images += 1
        styled = style(sample.record, part)
        counts.left_out += styled.left_out
        if not styled.exchanges:
            counts.left_out[NO_DIALOGUE] += 1
        counts.dialogues += len(styled.exchanges)
        for number, exchange in enumerate(styled.exchanges):
            yield f"{sample.record.id}#{number}", sample, exchange


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
            is_first = True
            for piece in written.pieces(split, "jsonl"):
                with piece.open("rb") as lines:
                    for line in lines:
                        file.write((b"\n" if is_first else b",\n") + line.removesuffix(b"\n"))
                        is_first = False
            file.write(b"\n]\n")


def llava_row(name: str, sample: PlacedSample, exchange: Exchange) -> dict[str, Any]:
    """``id``, ``image``, ``conversations`` of ``from`` and ``value``."""
    return {"id": name, "image": sample.image, "conversations": list(as_turns(exchange))}


def sized_row(name: str, sample: PlacedSample, exchange: Exchange) -> dict[str, Any]:
    """The same with the size of the image, which InternVL's trainer plans batches by."""
    size = sample.record.image
    return llava_row(name, sample, exchange) | {"width": size.width, "height": size.height}
