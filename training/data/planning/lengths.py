"""Token lengths of every selected dialogue, computed once per (data set, selection, tokenizer, prompt format)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Protocol

import numpy as np
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from mmrs.errors import RunFailure
from mmrs.progress import Progress
from mmrs.record import Dialogue, canonical_json
from mmrs.storage.atomic import write_atomic
from training.data.planning.plan import Lengths
from training.data.planning.selection import Selection

TABLE_FORMAT = "mmrs-lengths-1"
_PROBE = [("human", "Where is 1 ship?\n"), ("gpt", "[0.10, 0.25] é <image></s>"), ("human", "?"), ("gpt", "No.")]


class TextEncoder(Protocol):
    """The part of `training.model.EarthGPTProcessor` that turns text into ids."""

    def encode_prefix(self, with_image: bool) -> list[int]: ...

    def encode_dialogue(self, turns: list[tuple[str, str]]) -> tuple[list[int], list[bool]]: ...


def turns_of(dialogue: Dialogue) -> list[tuple[str, str]]:
    """(role, text) pairs as the processor takes them."""
    return [(turn.sender, turn.value) for turn in dialogue.turns]


def tokenizer_digest(processor) -> str:
    """16 hex digits that change with the vocabulary and with the prompt format.

    The prompt format is code, so it is sampled: the ids of a fixed dialogue and the length of the image prefix count.
    """
    parts = {
        "tokenizer": processor.tokenizer.backend_tokenizer.to_str(),
        "probe": processor.encode_dialogue(_PROBE),
        "prefix": processor.encode_prefix(True),
    }
    return hashlib.sha256(canonical_json(parts)).hexdigest()[:16]


def length_table(
    selection: Selection, encoder: TextEncoder, digest: str, cache: Path, progress: Progress | None = None
) -> Lengths:
    """Lengths of the selected dialogues in tokens, from `cache` where they are known.

    Args:
        selection: D dialogues.
        encoder: the processor.
        digest: `tokenizer_digest` of the processor.
        cache: folder for the tables, safetensors files named by what they depend on.
        progress: reports the counting; None for silence.

    Raises:
        RunFailure: a record cannot be read, or has another number of dialogues than the index says.
    """
    chosen = hashlib.sha256(selection.dialogue_row.tobytes() + selection.dialogue_number.tobytes()).hexdigest()
    key = canonical_json([TABLE_FORMAT, selection.data_set_id, selection.parts, chosen, digest])
    path = cache / f"lengths-{hashlib.sha256(key).hexdigest()[:16]}.safetensors"
    table = _load(path, len(selection.dialogue_row))
    if table is None:
        table = _compute(selection, encoder, progress)
        write_atomic(path, save(table))
    return Lengths(selection.dialogue_row, table["tokens"], table["targets"], selection.shard_run)


def _load(path: Path, dialogues: int) -> dict[str, np.ndarray] | None:
    if not path.is_file():
        return None
    try:
        table = load_file(path)
    except SafetensorError:
        return None
    sound = all(name in table and table[name].shape == (dialogues,) for name in ("tokens", "targets"))
    return table if sound else None


def _compute(selection: Selection, encoder: TextEncoder, progress: Progress | None) -> dict[str, np.ndarray]:
    total = len(selection.dialogue_row)
    table = {"tokens": np.zeros(total, np.int32), "targets": np.zeros(total, np.int32)}
    first = np.flatnonzero(np.diff(selection.dialogue_row, prepend=-1))
    with (progress or Progress(quiet=True)).stage("counting tokens", total, "dialogues") as advance:
        for start, stop in zip(first, [*first[1:], total], strict=True):
            row = int(selection.dialogue_row[start])
            dialogues = _dialogues(selection, row)
            for entry in range(start, stop):
                number = selection.dialogue_number[entry]
                if number >= len(dialogues):
                    raise RunFailure(
                        f"{selection.sample_id(row)} has {len(dialogues)} dialogues, its index row speaks of more: "
                        "record and index are from different builds. Run `mmrs build` again."
                    )
                ids, is_target = encoder.encode_dialogue(turns_of(dialogues[number]))
                table["tokens"][entry], table["targets"][entry] = len(ids), sum(is_target)
            advance(int(stop - start))
    return table


def _dialogues(selection: Selection, row: int) -> tuple[Dialogue, ...]:
    try:
        return selection.record(row).dialogues
    except (OSError, ValidationError, ValueError) as error:
        raise RunFailure(
            f"the record of {selection.sample_id(row)} cannot be read: {error}. Run `mmrs build` to mend the shard."
        ) from error
