"""What the columns of a user's table (CSV, Parquet) mean: said by the description, never taken from their names.

A column that no key names is not read. The tasks of a table follow from the keys that are there.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, model_validator

from mmrs.config import StrictModel, as_list
from mmrs.record import TaskName, Text

_Names = Annotated[tuple[Text, ...], BeforeValidator(as_list)]
_EDGES = 4


class Columns(StrictModel):
    """Names of columns by what they hold; parts of a Parquet column are dotted (``objects.bbox``).

    Args:
        image: CSV: file name of the image; Parquet: its bytes (``{bytes, path}`` or plain), or a file name.
        name: Parquet: what the image is called, where ``image`` does not say it.
        label: class of the whole image.
        captions: one column or several, each a text or a list of texts.
        question, answer, question_type: a text each, or lists of the same length.
        conversations: a list of turns (``from`` and ``value``, or ``role`` and ``content``).
        boxes: four columns of one number each (CSV), or one column with the numbers of a box or of a list of boxes.
        category: class of the box, or a list of as many classes as there are boxes.
        split: CSV: the split of the row; a description with this key needs no ``{split}`` in a path.
    """

    image: Text
    name: Text | None = None
    label: Text | None = None
    captions: _Names = ()
    question: Text | None = None
    answer: Text | None = None
    question_type: Text | None = None
    conversations: Text | None = None
    boxes: _Names = ()
    category: Text | None = None
    split: Text | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Columns:
        if (self.question is None) != (self.answer is None):
            raise ValueError("columns `question` and `answer` belong together")
        if bool(self.boxes) != (self.category is not None):
            raise ValueError("columns `boxes` and `category` belong together")
        if len(self.boxes) not in (0, 1, _EDGES):
            raise ValueError(f"columns `boxes` are one or four, not {len(self.boxes)}")
        if not self.tasks:
            raise ValueError("columns name nothing but images: add `label`, `captions`, `question`, `boxes` ...")
        return self

    @property
    def tasks(self) -> tuple[TaskName, ...]:
        """Tasks that every row is annotated for."""
        held: tuple[tuple[TaskName, object], ...] = (
            ("classification", self.label),
            ("captioning", self.captions),
            ("vqa", self.question or self.conversations),
            ("detection-hbb", self.boxes),
        )
        return tuple(task for task, columns in held if columns)

    @property
    def roles(self) -> dict[str, tuple[str, ...]]:
        """Columns by the key that names them, without the image, its name and the split."""
        held = {
            "label": self.label,
            "question": self.question,
            "answer": self.answer,
            "question_type": self.question_type,
            "conversations": self.conversations,
            "category": self.category,
        }
        single = {key: (column,) for key, column in held.items() if column is not None}
        several = {"captions": self.captions, "boxes": self.boxes}
        return single | {key: columns for key, columns in several.items() if columns}
