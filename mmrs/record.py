"""THE schema: one `Record` per stored image, and its canonical JSON.

A record may have further images (before and after, optical and SAR), which its texts are about as well; its objects are
those of the first one. Pixels of the stored image plus the image size are the one stored truth. Instruction text
(`dialogues`) is rendered from them and can be rendered again.

Corner rule of `AnnotatedObject.quad`: four corners in pixels, clockwise on screen (x right, y down), origin at the top
left corner of the top left pixel. Where the source gives a meaning to its first corner (DOTA: the object's head) it
stays first; otherwise `mmrs.geometry.canonical_quad` puts the corner nearest to the image's top left first.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import orjson
from pydantic import BeforeValidator, Field, PlainSerializer, field_validator, model_validator

from mmrs.config import StrictModel

Sensor = Literal["optical", "sar", "infrared"]
TaskName = Literal[
    "classification",
    "captioning",
    "vqa",
    "detection-hbb",
    "detection-obb",
    "visual-grounding",
    "region-captioning",
]
_ONE_EXCHANGE = ["human", "gpt"]
# Of one record. A model pays for the slots of each in every dialogue.
MOST_SAMPLE_IMAGES = 16
# Keys of `ImageInfo`.
_OF_SEVERAL = ("role", "sensor")
# Key of `Record.metadata`.
UNREAD_ROWS = "unread_rows"
Text = Annotated[str, Field(min_length=1)]
Pixels = float
Point = tuple[Pixels, Pixels]
Quad = tuple[Point, Point, Point, Point]
HBB = tuple[Pixels, Pixels, Pixels, Pixels]


def _from_text(value: Any) -> Any:
    # Nearly always.
    if value == "{}":
        return {}
    return orjson.loads(value) if isinstance(value, str) else value


# Free-form keys are stored as JSON text: table readers (Arrow, `datasets`) need one schema for every record of a set.
JsonText = Annotated[
    dict[str, Any], BeforeValidator(_from_text), PlainSerializer(lambda value: canonical_json(value).decode())
]


class Window(StrictModel):
    """The part of a larger scene that a tile shows, in pixels of the scene."""

    x: int = Field(ge=0)
    y: int = Field(ge=0)
    width: int = Field(gt=0)
    height: int = Field(gt=0)


class ImageInfo(StrictModel):
    """The stored image. `sha256` is that of the stored bytes; `reencoded` says why they differ from the source's.

    `render` states the map from the source's values to the stored 8 bits where one was applied (limits, bits, log), so
    that it can be undone. Where a record has several images, `role` is the source's word for this one (before, after),
    and `sensor` its own where it is not the record's; the JSON has them only where they are said.
    """

    width: int = Field(gt=0)
    height: int = Field(gt=0)
    mode: Literal["L", "RGB"]
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    reencoded: Text | None = None
    render: JsonText | None = None
    parent: Text | None = None
    window: Window | None = None
    role: Text | None = None
    sensor: Sensor | None = None

    @model_validator(mode="after")
    def _tile_has_parent(self) -> ImageInfo:
        if self.window is not None and self.parent is None:
            raise ValueError("a tile (`window`) needs the name of its scene (`parent`)")
        return self


class AnnotatedObject(StrictModel):
    """One annotated object, in pixels of the stored image.

    `hbb` (xmin, ymin, xmax, ymax; right and bottom edges exclusive) is set only where the source has a true horizontal
    box; elsewhere the horizontal box is the extent of `quad`. An `ignore` object (for instance HIT-UAV's DontCare) is
    kept but appears in no text and no score. `flags` keeps what the source or the conversion says beyond the schema.
    """

    category: Text
    label: Text
    quad: Quad
    hbb: HBB | None = None
    difficult: bool = False
    truncated: bool = False
    ignore: bool = False
    flags: JsonText = Field(default_factory=dict)

    @field_validator("hbb")
    @classmethod
    def _ordered(cls, hbb: HBB | None) -> HBB | None:
        if hbb is not None and not (hbb[0] < hbb[2] and hbb[1] < hbb[3]):
            raise ValueError(f"hbb {list(hbb)} must have xmin < xmax and ymin < ymax")
        return hbb

    def extent(self) -> HBB:
        """(xmin, ymin, xmax, ymax) in pixels: the true horizontal box, or the extent of the quad."""
        if self.hbb is not None:
            return self.hbb
        xs, ys = zip(*self.quad, strict=True)
        return min(xs), min(ys), max(xs), max(ys)


class AnsweredQuestion(StrictModel):
    """One question of an image with its answer, as the source has them; `type` is the source's word for its kind."""

    question: Text
    answer: Text
    type: Text | None = None


class Expression(StrictModel):
    """A referring expression for `objects[object]`."""

    text: Text
    object: int = Field(ge=0)


class Turn(StrictModel, populate_by_name=True):
    """One turn of a dialogue in LLaVA form."""

    sender: Literal["human", "gpt"] = Field(alias="from")
    value: Text


class Dialogue(StrictModel):
    """A rendered dialogue about the image; dialogues of one image are independent of each other."""

    task: TaskName
    turns: tuple[Turn, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _alternates(self) -> Dialogue:
        turns = self.turns
        # Nearly all have two, and a list is made for each that has more.
        if len(turns) == 2 and turns[0].sender == "human" and turns[1].sender == "gpt":
            return self
        senders = [turn.sender for turn in turns]
        if senders != _ONE_EXCHANGE and senders != _ONE_EXCHANGE * (len(senders) // 2):
            raise ValueError(f"turns must alternate human, gpt; found {senders}")
        return self


class Provenance(StrictModel):
    """Where the annotation came from: the file, relative to the source's root, and the id that the source used."""

    annotation: Text | None = None
    original_id: Text | None = None
    layout: Text | None = None


class UnreadRow(StrictModel):
    """A row of an annotation file that was not understood: nobody knows which object it meant, or where.

    `path` is its file where that is not the item's first annotation file, `line` its 1-based line where it has one.
    """

    reason: Text
    path: Text | None = None
    line: int | None = None


class _Known(StrictModel):
    objects: tuple[AnnotatedObject, ...] = ()
    label: Text | None = None
    source_label: Text | None = None
    captions: tuple[Text, ...] = ()
    questions: tuple[AnsweredQuestion, ...] = ()
    expressions: tuple[Expression, ...] = ()
    metadata: JsonText = Field(default_factory=dict)
    provenance: Provenance = Provenance()


class Annotations(_Known):
    """What a converter knows of one image; everything in a `Record` but the image itself.

    `label` is the scene's class in unified, readable form (``baseball diamond``), `source_label` the source's spelling.
    `declared_size` is the (width, height) that the annotation file claims; the build compares it with the image.
    `unread` are the rows of the image that became no object: with one of them, nothing is said of "all objects".
    """

    declared_size: tuple[int, int] | None = None
    unread: tuple[UnreadRow, ...] = ()


class Record(_Known, populate_by_name=True):
    """One stored image and all that is known of it. `id` is ``<source>/<split>/<stem>``.

    `further_images` are those after the first, in order, where the texts are about several; the JSON of a record of one
    image has no such key. Objects, and boxes in texts, are those of the first image.
    """

    schema_version: Literal["mmrs-record-1"] = Field(default="mmrs-record-1", alias="schema")
    id: str = Field(pattern=r"^[^/]+/[^/]+/.+$")
    source: Text
    split: Text
    sensor: Sensor
    image: ImageInfo
    further_images: tuple[ImageInfo, ...] = Field(default=(), max_length=MOST_SAMPLE_IMAGES - 1)
    licence: Text
    dialogues: tuple[Dialogue, ...] = ()

    @model_validator(mode="after")
    def _references_exist(self) -> Record:
        for expression in self.expressions:
            if expression.object >= len(self.objects):
                named = f"object {expression.object} of {len(self.objects)}"
                raise ValueError(f"expression {expression.text!r} names {named}")
        return self

    @model_validator(mode="after")
    def _tile_is_alone(self) -> Record:
        if self.further_images and any(image.window is not None for image in self.images):
            raise ValueError("a tile (`window`) is of one scene; a record of several images has none")
        return self

    @property
    def images(self) -> tuple[ImageInfo, ...]:
        """All images, in the order in which a model sees them."""
        return (self.image, *self.further_images)

    @property
    def unread_rows(self) -> int:
        """How many annotation rows of the image are no object here: the image may show more than `objects`.

        Rows that were not understood, or that cannot be right in this image. The number is ``metadata["unread_rows"]``,
        absent where it is 0, as it is for nearly all images.
        """
        return int(self.metadata.get(UNREAD_ROWS, 0))

    def to_json(self) -> bytes:
        """Canonical JSON: UTF-8, sorted keys, no blanks, so equal records have equal bytes.

        What only samples of several images have is left out where nothing of it is said.
        """
        values = self.model_dump(mode="json", by_alias=True)
        for image in (values["image"], *values["further_images"]):
            for name in _OF_SEVERAL:
                if image[name] is None:
                    del image[name]
        if not values["further_images"]:
            del values["further_images"]
        return canonical_json(values)

    @classmethod
    def from_json(cls, data: bytes) -> Record:
        """Parse and validate. Raises `pydantic.ValidationError` or `orjson.JSONDecodeError`."""
        return cls.model_validate(orjson.loads(data))


def canonical_json(value: Any) -> bytes:
    """Canonical JSON bytes of plain values: sorted keys, no blanks, shortest float form."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
