"""Rows of a table, CSV or Parquet, that belong to one image -> its annotations, by what the description calls columns.

A row is ``{"line": ..., key of Columns: cell or list of cells}`` of plain values, or ``{"line": ..., "fault": why}``.
What is wrong with a row costs that row; a class of the whole image that is wrong costs the image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from converters.boxes import BoxAnnotations
from converters.formats.captions import distinct_captions
from converters.formats.llava import conversation_exchanges
from converters.formats.objects import annotated, known_label, labelled_rows
from converters.formats.rows import apart
from converters.formats.shapes import BoxObject
from converters.formats.text import NUMBER, finite, plain_numbers, shown
from converters.formats.turned import MODE_KEYS, box_object
from converters.own_data.description import Description
from converters.own_data.items import ReadImage
from mmrs.errors import BadItem
from mmrs.instructions import prompts
from mmrs.record import Annotations, AnsweredQuestion, Provenance, UnreadRow

_BOX_NUMBERS = 4
_NESTED = 4

SaidRow = Mapping[str, Any]


def row_annotations(own: Description, rows: Sequence[SaidRow], path: str, provenance: Provenance) -> ReadImage:
    """What the rows of one image say of it; `path` names their table or the image in it.

    Raises:
        BadItem: no class or several ones where the columns name one, or no caption with words where they name captions.
    """
    columns = own.columns
    if columns is None:
        raise BadItem("the description names no columns", path)
    faults = [UnreadRow(reason=row["fault"], line=row["line"]) for row in rows if "fault" in row]
    whole = [row for row in rows if "fault" not in row]
    label = _label(own, whole, path) if columns.label else None
    captions = distinct_captions([text for row in whole for text in _texts(row.get("captions"))])
    if columns.captions and not captions.texts:
        raise BadItem("no caption with words", path)
    questions, unasked = _each(whole, _questions, path)
    objects, unread = _each(whole, lambda row: _boxes(row, own.options.box_order or "", path), path)
    boxes, unknown = labelled_rows(objects, own.classes, path, own.options.ignored)
    problems = (*faults, *unasked, *unread, *unknown)
    if columns.tasks == ("detection-hbb",):
        return BoxAnnotations(boxes, problems, provenance=provenance)
    metadata: dict[str, Any] = {"caption_counts": list(captions.counts)} if columns.captions else {}
    if captions.empty:
        metadata["captions_without_words"] = len(captions.empty)
    return Annotations(
        objects=annotated([boxes])[0] if objects else (),
        label=None if label is None else own.classes[label],
        source_label=label,
        captions=captions.texts,
        questions=tuple(dict.fromkeys(questions)),
        metadata=metadata,
        provenance=provenance,
        unread=problems,
    )


def _each(rows: Sequence[SaidRow], read: Any, path: str) -> tuple[tuple[Any, ...], tuple[UnreadRow, ...]]:
    """What `read` makes of all rows: good ones and `UnreadRow`; a `BadItem` costs its whole row."""
    found: list[Any] = []
    for row in rows:
        try:
            found += read(row)
        except BadItem as error:
            found.append(UnreadRow(reason=error.reason, line=row["line"]))
    return apart(found)


def _label(own: Description, rows: Sequence[SaidRow], path: str) -> str:
    texts = {text for row in rows for text in _texts(row.get("label")) if text.strip()}
    if len(texts) != 1:
        listed = f"several classes: {', '.join(sorted(texts))[:200]}" if texts else "no class"
        raise BadItem(f"the image has {listed}; one is expected", path)
    return known_label(texts.pop().strip(), tuple(own.classes), path)


def _texts(cell: Any, depth: int = 0) -> list[str]:
    """The texts of a cell: one, or those of its lists; numbers as they are written, nothing for an empty cell."""
    if isinstance(cell, list) and depth < _NESTED:
        return [text for part in cell for text in _texts(part, depth + 1)]
    if isinstance(cell, bool) or not isinstance(cell, str | int | float):
        return []
    return [str(cell)]


def _questions(row: SaidRow) -> list[AnsweredQuestion]:
    found = []
    if row.get("conversations") is not None:
        exchanges = conversation_exchanges(row["conversations"], "the conversation")
        # The questions are whole prompts already: nothing may be added to them.
        found = [AnsweredQuestion(question=q, answer=a, type=prompts.VERBATIM) for q, a in exchanges]
    if "question" in row:
        questions, answers, kinds = (_listed(row.get(key)) for key in ("question", "answer", "question_type"))
        kinds = kinds or [None] * len(questions)
        if not len(questions) == len(answers) == len(kinds):
            raise BadItem(f"{len(questions)} questions with {len(answers)} answers and {len(kinds)} types")
        found += [_question(*parts) for parts in zip(questions, answers, kinds, strict=True)]
    return found


def _question(question: Any, answer: Any, kind: Any) -> AnsweredQuestion:
    texts = [" ".join(_texts(part)).strip() for part in (question, answer, kind)]
    if not texts[0] or not texts[1]:
        raise BadItem(f"question {shown(question)} with the answer {shown(answer)}; texts are expected")
    return AnsweredQuestion(question=texts[0], answer=texts[1], type=texts[2] or None)


def _listed(cell: Any) -> list[Any]:
    if cell is None:
        return []
    return cell if isinstance(cell, list) else [cell]


def _boxes(row: SaidRow, order: str, path: str) -> list[BoxObject | UnreadRow]:
    """The boxes of a row. A row without any, as tables have one for an image that shows nothing, has none."""
    cells, labels = row.get("boxes"), _listed(row.get("category"))
    if cells is None or not any(part not in ("", None) for part in _listed(cells)):
        if any(_texts(labels)) and "".join(_texts(labels)):
            raise BadItem(f"class {shown(row.get('category'))} without a box")
        return []
    boxes = cells if isinstance(cells, list) and isinstance(cells[0], list | tuple) else [cells]
    if len(boxes) != len(labels):
        raise BadItem(f"{len(boxes)} boxes with {len(labels)} classes")
    found: list[BoxObject | UnreadRow] = []
    for numbers, label in zip(boxes, labels, strict=True):
        try:
            found.append(_box(numbers, label, order, path, row["line"]))
        except BadItem as error:
            found.append(UnreadRow(reason=error.reason, line=row["line"]))
    return found


def _box(numbers: Any, label: Any, order: str, path: str, line: int | None) -> BoxObject:
    parts = NUMBER.findall(numbers) if isinstance(numbers, str) else numbers
    if not isinstance(parts, list) or len(parts) != _BOX_NUMBERS:
        raise BadItem(f"box {shown(numbers)}; {_BOX_NUMBERS} numbers are expected", path, line)
    texts = _texts(label)
    if len(texts) != 1 or not texts[0].strip():
        raise BadItem(f"the box {shown(numbers)} has the class {shown(label)}", path, line)
    values = plain_numbers(parts) or tuple(finite(part, "box", path, line) for part in parts)
    return box_object(values, {MODE_KEYS[0]: order}, texts[0].strip(), path, line)
