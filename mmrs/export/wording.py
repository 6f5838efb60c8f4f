"""Which questions about boxes a record is asked, before anything is written in the frame of a model.

The questions are those of the shards: the same objects in the same lists, by the limits and the wording of the recipe
in the manifest. Only regions are cut anew, on the grid of the target, or the objects said to lie in one would be others
than those that lie in it as written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import Field, ValidationError

from mmrs.config import StrictModel
from mmrs.errors import UserError
from mmrs.geometry import SquareFrame
from mmrs.instructions.answers import AskedPlace
from mmrs.instructions.regions import RegionBoxes
from mmrs.instructions.render import ClassGroups, object_lists
from mmrs.instructions.templates import TEMPLATES
from mmrs.record import HBB, Record, TaskName

BOX_TASKS: frozenset[str] = frozenset({"detection-hbb", "detection-obb", "visual-grounding", "region-captioning"})
NO_REGION: HBB = (0.0, 0.0, 0.0, 0.0)


class Wording(StrictModel):
    """What of a recipe decides which questions are asked, and in which words; other keys of it do not matter here."""

    per_class_prompts: bool = True
    repeat_single_class: bool = False
    max_objects_per_dialogue: int = Field(default=60, gt=0)
    templates: str = "mmrs1m"
    seed: int = 0

    def prompt(self, question: BoxQuestion, box: str) -> str:
        """The question in the words of the shards, `box` being the region's where it has one."""
        parts = {**question.parts, "box": box} if "box" in question.parts else question.parts
        return TEMPLATES[self.templates].prompt(question.kind, self.seed, question.record, question.number, **parts)


class BoxQuestion(NamedTuple):
    """A question about boxes of one record.

    Args:
        task: of the dialogue that it becomes.
        kind: of prompt, a key of `mmrs.instructions.templates.FIELDS`.
        record: its id.
        number: of the dialogue in the record, on which the choice among several wordings depends.
        parts: what the wording takes beside a region.
        groups: (class, positions in `Record.objects`) in the order of the answer; for one object, its own class.
        text: the expression of a grounding or region question.
        region: xmin, ymin, xmax, ymax in pixels, what is asked about; `NO_REGION` where that is the image.
    """

    task: TaskName
    kind: str
    record: str
    number: int
    parts: Mapping[str, str]
    groups: ClassGroups
    text: str = ""
    region: HBB = NO_REGION

    @property
    def place(self) -> AskedPlace:
        return "image" if self.region == NO_REGION else "region"


def read_wording(recipe: Mapping[str, Any], is_trained_on: bool, location: object) -> Wording:
    """The wording of a split from the recipe of a manifest; splits that are evaluated have the released one.

    Raises:
        UserError: the recipe has what no build writes.
    """
    known = {name: recipe[name] for name in Wording.model_fields if name in recipe}
    try:
        wording = Wording.model_validate(known)
    except ValidationError as error:
        raise UserError(f"{location}: its manifest has no sound recipe: {error}") from error
    if not is_trained_on or wording.templates not in TEMPLATES:
        return wording.model_copy(update={"templates": "mmrs1m"})
    return wording


def box_questions(record: Record, wording: Wording, regions: RegionBoxes) -> Iterator[BoxQuestion]:
    """The questions of the record's dialogues about boxes, in their order.

    Args:
        wording: of its split.
        regions: writes and reads a region on the grid of the target.
    """
    tasks = {dialogue.task for dialogue in record.dialogues}
    if tasks.isdisjoint(BOX_TASKS):
        return
    number = sum(dialogue.task not in BOX_TASKS for dialogue in record.dialogues)
    for expression in record.expressions:
        target = record.objects[expression.object]
        if target.ignore:
            continue
        one = ((target.category, (expression.object,)),)
        if "visual-grounding" in tasks:
            parts = {"text": expression.text}
            yield BoxQuestion("visual-grounding", "visual-grounding", record.id, number, parts, one, expression.text)
            number += 1
        if "region-captioning" in tasks:
            yield BoxQuestion(
                "region-captioning",
                "region-captioning",
                record.id,
                number,
                {"box": ""},
                one,
                expression.text,
                target.extent(),
            )
            number += 1
    detections: list[TaskName] = [task for task in ("detection-hbb", "detection-obb") if task in tasks]  # type: ignore[misc]
    if not detections:
        return
    lists = list(object_lists(record, wording, regions))
    for task in detections:
        for kind, parts, groups, place in lists:
            region = NO_REGION if place == "image" else _region(parts, record, regions)
            yield BoxQuestion(task, task + kind, record.id, number, parts, groups, "", region)
            number += 1


def _region(parts: Mapping[str, str], record: Record, regions: RegionBoxes) -> HBB:
    frame = SquareFrame(record.image.width, record.image.height)
    return tuple(regions.parse(parts["box"][1:-1], frame).hbb[0].tolist())
