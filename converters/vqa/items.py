"""What the question answering sources share: payloads of items, and annotations from them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from converters.formats.vqa import ImageQuestions, QuestionAnswer
from converters.layout import FileList, Problem, found_image
from mmrs.errors import BadItem
from mmrs.record import Annotations, AnsweredQuestion, Provenance
from mmrs.source import Item, ensure_unique_stems


def payload(image_id: str, questions: Iterable[QuestionAnswer], **metadata: int) -> dict[str, Any]:
    """Plain values of an item: its questions, and counts that are kept as metadata where they are not zero."""
    rows = [[asked.question, asked.answer, asked.type] for asked in questions]
    return {"id": image_id, "questions": rows, "metadata": {key: value for key, value in metadata.items() if value}}


def from_payload(item: Item) -> Annotations:
    """Annotations from a `payload`. Raises `BadItem` when it has no question."""
    if not item.payload["questions"]:
        raise BadItem(f"{item.image.name} has no question with an answer", str(item.annotations[0]))
    return Annotations(
        questions=tuple(
            AnsweredQuestion(question=question, answer=answer, type=kind)
            for question, answer, kind in item.payload["questions"]
        ),
        metadata=item.payload["metadata"],
        provenance=Provenance(
            annotation=", ".join(path.name for path in item.annotations), original_id=item.payload["id"]
        ),
    )


def items_by_image(
    found: ImageQuestions, files: FileList, annotation: Path, prefix: str = ""
) -> tuple[tuple[Item, ...], tuple[Problem, ...]]:
    """Items of all images with questions and a file, sorted by stem (`prefix` and the file's own), and problems."""
    items = []
    problems: list[Problem] = []
    for name, questions in found.images.items():
        image, fault = found_image(files, name, annotation, "has questions but is not there")
        problems += fault
        if image is not None and questions:
            values = payload(name, questions, repeated_questions=found.repeats.get(name, 0))
            items.append(Item(prefix + image.stem, image, (annotation,), values))
        elif image is not None:
            problems.append((str(image), f"{annotation.name} has no question with an answer for this image"))
    unique, repeats = ensure_unique_stems(sorted(items, key=lambda item: item.stem))
    return unique, (*problems, *repeats)
