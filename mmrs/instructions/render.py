"""Record -> dialogues. Every dialogue is independent: several references of one image never see each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from pydantic import TypeAdapter

from mmrs.geometry import SquareFrame, SquareFrames
from mmrs.instructions import prompts
from mmrs.instructions.answers import AskedPlace, format_detections
from mmrs.instructions.dialects import Dialect
from mmrs.instructions.regions import RegionBoxes, cut_regions, object_centres
from mmrs.instructions.templates import TEMPLATES, TemplateSet
from mmrs.record import AnnotatedObject, Dialogue, Record, TaskName

_DETECTIONS: frozenset[TaskName] = frozenset({"detection-hbb", "detection-obb"})
_DIALOGUES = TypeAdapter(tuple[Dialogue, ...])


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """What to render.

    Args:
        dialect: how boxes are written.
        tasks: tasks to render, of those that the source is annotated for.
        per_class_prompts: beside the prompt for all objects, one prompt for each class present.
        repeat_single_class: where all objects are of one class, ask for that class too, with the same answer.
        max_objects_per_dialogue: no list is longer, and none is cut, which would teach a false count. An image with
            more objects is asked for each class, a class with more of them by region (`mmrs.instructions.regions`).
        templates: wording of the prompts.
        seed: of the choice among several wordings.
    """

    dialect: Dialect
    tasks: frozenset[TaskName]
    per_class_prompts: bool = True
    repeat_single_class: bool = False
    max_objects_per_dialogue: int = 60
    templates: TemplateSet = TEMPLATES["mmrs1m"]
    seed: int = 0

    def state(self) -> dict[str, Any]:
        """Plain values by option, of which one changes whenever the output can."""
        several = any(len(texts) > 1 for texts in self.templates.wordings.values())
        return {
            "dialect": list(self.dialect.state()),
            "tasks": sorted(self.tasks),
            "per_class_prompts": self.per_class_prompts,
            "repeat_single_class": self.repeat_single_class,
            "max_objects_per_dialogue": self.max_objects_per_dialogue,
            "templates": {kind: list(texts) for kind, texts in self.templates.wordings.items()},
            "seed": self.seed if several else None,
        }


class ListOptions(Protocol):
    """Which lists of objects are asked for: the fields of these names of `RenderOptions`."""

    @property
    def per_class_prompts(self) -> bool: ...
    @property
    def repeat_single_class(self) -> bool: ...
    @property
    def max_objects_per_dialogue(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Rendered:
    """Dialogues of one record, and how many of its objects a detection task was to list and no dialogue lists.

    Ignored objects are never to be listed.
    """

    dialogues: tuple[Dialogue, ...]
    objects_in_no_dialogue: int


# (class, positions in `Record.objects`) in the order of an answer.
ClassGroups = tuple[tuple[str, tuple[int, ...]], ...]


class ObjectList(NamedTuple):
    """A list of objects that is asked for: the kind of prompt (after the task's name) and its parts, the objects by
    class, and what is said to hold them all."""

    kind: str
    parts: dict[str, str]
    groups: ClassGroups
    place: AskedPlace = "image"


@dataclass(frozen=True, slots=True)
class _Draft:
    """A dialogue before its wording: the kind of prompt and its parts (a verbatim prompt has no kind), the answer."""

    task: TaskName
    kind: str | None
    parts: dict[str, str]
    answer: str


def render(record: Record, options: RenderOptions) -> Rendered:
    """All dialogues that `options` asks for, in a fixed order: label, captions, questions, regions, boxes."""
    return render_records([record], options)[0]


def render_records(records: Sequence[Record], options: RenderOptions) -> list[Rendered]:
    """As `render`, for several records: the boxes of all of them are written in one call of the dialect."""
    tasks = sorted(options.tasks & _DETECTIONS)
    objects = [item for record in records for item in record.objects]
    texts: list[BoxTexts] = [{} for _ in records]
    if tasks and objects:
        counts = [len(record.objects) for record in records]
        sides = [[getattr(record.image, side) for record in records] for side in ("width", "height")]
        frames = SquareFrames(*(np.repeat(np.array(side, dtype=np.int64), counts) for side in sides))
        for task in tasks:
            written = iter(_box_texts(objects, task, options.dialect, frames))
            for record, own in zip(records, texts, strict=True):
                own[task] = list(islice(written, len(record.objects)))
    return [_render(record, options, own) for record, own in zip(records, texts, strict=True)]


# By task, the text of each object of a record.
BoxTexts = dict[TaskName, list[str]]


def _box_texts(objects: Sequence[AnnotatedObject], task: TaskName, dialect: Dialect, frames: SquareFrames) -> list[str]:
    """The box of each object as the dialect writes it, without brackets."""
    if task == "detection-hbb":
        text = dialect.format_hbb([item.extent() for item in objects], frames)
    else:
        text = dialect.format_obb([item.quad for item in objects], frames)
    return text[1:-1].split(";")


def _render(record: Record, options: RenderOptions, texts: BoxTexts) -> Rendered:
    drafts: list[_Draft] = []
    if record.label is not None and "classification" in options.tasks:
        drafts.append(_Draft("classification", "classification", {}, record.label))
    if "captioning" in options.tasks:
        drafts += [_Draft("captioning", "captioning", {}, caption) for caption in record.captions]
    if "vqa" in options.tasks:
        for item in record.questions:
            kind = None if item.type == prompts.VERBATIM else "vqa"
            drafts.append(_Draft("vqa", kind, {"question": item.question}, item.answer))
    drafts += _region_drafts(record, options)
    lists = list(object_lists(record, options, options.dialect)) if options.tasks & _DETECTIONS else []
    for task in sorted(options.tasks & _DETECTIONS):
        for asked in lists:
            answer = _detection_answer(asked, texts.get(task, []))
            drafts.append(_Draft(task, task + asked.kind, asked.parts, answer))
    dialogues = _DIALOGUES.validate_python(
        [_worded(draft, options, record.id, number) for number, draft in enumerate(drafts)]
    )
    return Rendered(dialogues, _unlisted(record, lists) if options.tasks & _DETECTIONS else 0)


def _worded(draft: _Draft, options: RenderOptions, record: str, number: int) -> dict[str, Any]:
    if draft.kind is None:
        prompt = draft.parts["question"]
    else:
        prompt = options.templates.prompt(draft.kind, options.seed, record, number, **draft.parts)
    return {"task": draft.task, "turns": (_turn("human", prompt), _turn("gpt", draft.answer))}


def _region_drafts(record: Record, options: RenderOptions) -> Iterator[_Draft]:
    frame = SquareFrame(record.image.width, record.image.height)
    for expression in record.expressions:
        target = record.objects[expression.object]
        if target.ignore:
            continue
        box = options.dialect.format_hbb([target.extent()], frame)
        if "visual-grounding" in options.tasks:
            yield _Draft("visual-grounding", "visual-grounding", {"text": expression.text}, box)
        if "region-captioning" in options.tasks:
            yield _Draft("region-captioning", "region-captioning", {"box": box}, expression.text)


def _turn(sender: Literal["human", "gpt"], value: str) -> dict[str, str]:
    return {"from": sender, "value": value}


def object_lists(record: Record, options: ListOptions, boxes: RegionBoxes) -> Iterator[ObjectList]:
    """What a detection task asks of a record, in order: all objects, those of each class, those of each region.

    `boxes` writes the regions, and cuts lie where it can write them exactly.
    """
    # A row that was not understood may be an object of any class: no list of all, or of all of a class, is known true.
    if record.unread_rows:
        return
    places_of: dict[str, list[int]] = {}
    for place, item in enumerate(record.objects):
        if not item.ignore:
            places_of.setdefault(item.category, []).append(place)
    groups = tuple([(category, tuple(places)) for category, places in places_of.items()])
    shown = sum([len(places) for _, places in groups])
    # An image with ignored objects alone is not empty, and one that is labelled for some classes only may hold others:
    # neither a list of all objects nor "no objects" would be true of them.
    all_known = bool(shown or not record.objects) and "labelled_classes" not in record.metadata
    fits = shown <= options.max_objects_per_dialogue
    if all_known and fits:
        yield ObjectList("", {}, groups)
    said_already = all_known and fits and len(groups) == 1 and not options.repeat_single_class
    crowded = all_known and not fits
    if said_already or not (options.per_class_prompts or crowded):
        return
    for group in groups:
        yield from _class_lists(group, record, options.max_objects_per_dialogue, boxes)


def _class_lists(
    group: tuple[str, tuple[int, ...]], record: Record, most: int, boxes: RegionBoxes
) -> Iterator[ObjectList]:
    category, places = group
    parts = {"plural": prompts.plural(category)}
    if len(places) <= most:
        yield ObjectList(" class", parts, (group,))
        return
    frame = SquareFrame(record.image.width, record.image.height)
    centres = object_centres([record.objects[place].extent() for place in places], frame)
    for region in cut_regions(centres, frame, boxes, most):
        inside = tuple([places[position] for position in region.members])
        yield ObjectList(" region", parts | {"box": region.text}, ((category, inside),), "region")


def _unlisted(record: Record, lists: Sequence[ObjectList]) -> int:
    listed = {place for asked in lists for _, places in asked.groups for place in places}
    return sum(not item.ignore and place not in listed for place, item in enumerate(record.objects))


def _detection_answer(asked: ObjectList, texts: Sequence[str]) -> str:
    listed = [
        (category, len(places), f"[{';'.join([texts[place] for place in places])}]")
        for category, places in asked.groups
    ]
    return format_detections(listed, asked.place)
