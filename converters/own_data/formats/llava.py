"""LLaVA JSON: conversations about images, one file for all images of a split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from converters.formats.llava import read_llava
from converters.formats.objects import known_label
from converters.own_data.description import DescribedSet, Description
from converters.own_data.items import FoundItems, OwnFormat, images_and_file, images_named_in
from mmrs.errors import BadItem
from mmrs.instructions import prompts
from mmrs.record import Annotations, AnsweredQuestion, Provenance
from mmrs.source import Item


def _find(described: DescribedSet, root: Path, split: str) -> FoundItems:
    images, source, parsed = images_and_file(described, root, split, read_llava)
    rows = (
        (
            row.names,
            {"ids": list(row.ids), "conversations": [[list(pair) for pair in one] for one in row.conversations]},
        )
        for row in parsed.images
    )
    found = images_named_in(images, source, rows, parsed.problems, described.content.images_of_sample)
    note = f"{parsed.repeats} conversations of {source.name} repeat another one of their image and were left out"
    notes = (*found.notes, note) if parsed.repeats else found.notes
    return replace(found, notes=notes, details=parsed.details)


def _read(own: Description, item: Item) -> Annotations:
    exchanges = [(question, answer) for one in item.payload["conversations"] for question, answer in one]
    provenance = Provenance(annotation=item.annotations[0].name, original_id=", ".join(item.payload["ids"]))
    read: dict[str, Callable[[], Annotations]] = {
        # The questions are whole prompts already: nothing may be added to them.
        "vqa": lambda: Annotations(
            questions=tuple(AnsweredQuestion(question=q, answer=a, type=prompts.VERBATIM) for q, a in exchanges),
            provenance=provenance,
        ),
        "captioning": lambda: Annotations(
            captions=tuple(dict.fromkeys(answer.strip() for _, answer in exchanges)), provenance=provenance
        ),
        "classification": lambda: _one_label(own, item, [answer for _, answer in exchanges], provenance),
    }
    return read[own.options.task]()


def _one_label(own: Description, item: Item, answers: list[str], provenance: Provenance) -> Annotations:
    path = str(item.annotations[0])
    labels = {known_label(answer.strip().rstrip("."), tuple(own.classes), path) for answer in answers}
    if len(labels) > 1:
        raise BadItem(f"{item.image.name} has several labels: {', '.join(sorted(labels))}", path)
    (label,) = labels
    return Annotations(label=own.classes[label], source_label=label, provenance=provenance)


LLAVA_FORMAT = OwnFormat(_find, _read)
