"""What the columns of a user's table (CSV, Parquet) mean: said by the description, never taken from their names.

A column that no key names is not read. The tasks of a table follow from the keys that are there.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, model_validator

from mmrs.config import StrictModel, as_list
from mmrs.record import MOST_SAMPLE_IMAGES, TaskName, Text

_Names = Annotated[tuple[Text, ...], BeforeValidator(as_list)]
_EDGES = 4


def _one_or_several(value: Any) -> Any:
    return value[0] if isinstance(value, list | tuple) and len(value) == 1 else value


def _of_first_image(value: Any) -> Any:
    if isinstance(value, dict):
        raise ValueError(
            f"boxes by image ({', '.join(map(str, value))}): boxes are those of the first image, further ones have "
            "texts alone. Name the first image's columns, and describe the others as a data set of their own"
        )
    return value


class Columns(StrictModel):
    """Names of columns by what they hold; parts of a Parquet column are dotted (``objects.bbox``).

    Args:
        image: CSV: file name of the image; Parquet: its bytes (``{bytes, path}`` or plain), or a file name. Several
            columns where each row has several images (before and after, optical and SAR): their names are the roles.
        name: Parquet: what the image is called, where ``image`` does not say it.
        label: class of the whole image.
        captions: one column or several, each a text or a list of texts.
        question, answer, question_type: a text each, or lists of the same length.
        conversations: a list of turns (``from`` and ``value``, or ``role`` and ``content``).
        boxes: of the first image: four columns of one number each (CSV), or one column with the numbers of a box or of
            a list of boxes.
        category: class of the box, or a list of as many classes as there are boxes.
        split: CSV: the split of the row; a description with this key needs no ``{split}`` in a path.
    """

    image: Annotated[Text | tuple[Text, ...], BeforeValidator(_one_or_several)]
    name: Text | None = None
    label: Text | None = None
    captions: _Names = ()
    question: Text | None = None
    answer: Text | None = None
    question_type: Text | None = None
    conversations: Text | None = None
    boxes: Annotated[_Names, BeforeValidator(_of_first_image)] = ()
    category: Text | None = None
    split: Text | None = None

    @property
    def images(self) -> tuple[str, ...]:
        """The columns of images, one or several."""
        return (self.image,) if isinstance(self.image, str) else self.image

    @model_validator(mode="after")
    def _consistent(self) -> Columns:
        if not 1 <= len(self.images) <= MOST_SAMPLE_IMAGES or len(set(self.images)) < len(self.images):
            raise ValueError(f"columns `image` are {list(self.images)}; name 1 to {MOST_SAMPLE_IMAGES} different ones")
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
