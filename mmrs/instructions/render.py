"""Record -> dialogues. Every dialogue is independent: several references of one image never see each other."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mmrs.geometry import SquareFrame
from mmrs.instructions import prompts
from mmrs.instructions.answers import format_absence, format_detections
from mmrs.instructions.dialects import Dialect
from mmrs.instructions.templates import TEMPLATES, TemplateSet
from mmrs.record import AnnotatedObject, Dialogue, Record, Task, Turn


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """What to render.

    Args:
        dialect: how boxes are written.
        tasks: tasks to render, of those that the source is annotated for.
        per_class_prompts: beside the prompt for all objects, one prompt for each class present.
        max_objects_per_dialogue: a dialogue with more objects is not rendered (and counted): a cut list would teach
            a false count.
        templates: wording of the prompts.
        seed: of the choice among several wordings.
    """

    dialect: Dialect
    tasks: frozenset[Task]
    per_class_prompts: bool = True
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
            "max_objects_per_dialogue": self.max_objects_per_dialogue,
            "templates": {kind: list(texts) for kind, texts in self.templates.wordings.items()},
            "seed": self.seed if several else None,
        }


@dataclass(frozen=True, slots=True)
class Rendered:
    """Dialogues of one record, and how many were left out because they had too many objects."""

    dialogues: tuple[Dialogue, ...]
    too_long: int


@dataclass(frozen=True, slots=True)
class _Draft:
    """A dialogue before its wording: the kind of prompt and its parts (a verbatim prompt has no kind), the answer."""

    task: Task
    kind: str | None
    parts: dict[str, str]
    answer: str


def render(record: Record, options: RenderOptions) -> Rendered:
    """All dialogues that `options` asks for, in a fixed order: label, captions, questions, regions, boxes."""
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
    too_long = 0
    for task in ("detection-hbb", "detection-obb"):
        if task not in options.tasks:
            continue
        for kind, parts, objects, absent in _detection_prompts(record, task, options):
            if len(objects) > options.max_objects_per_dialogue:
                too_long += 1
                continue
            answer = _detection_answer(objects, record, task, options.dialect) if objects else format_absence(absent)
            drafts.append(_Draft(task, kind, parts, answer))
    dialogues = tuple(_worded(draft, options, record.id, number) for number, draft in enumerate(drafts))
    return Rendered(dialogues, too_long)


def _worded(draft: _Draft, options: RenderOptions, record: str, number: int) -> Dialogue:
    if draft.kind is None:
        prompt = draft.parts["question"]
    else:
        prompt = options.templates.prompt(draft.kind, options.seed, record, number, **draft.parts)
    return Dialogue(task=draft.task, turns=(_turn("human", prompt), _turn("gpt", draft.answer)))


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


def _turn(sender: Literal["human", "gpt"], value: str) -> Turn:
    return Turn(**{"from": sender}, value=value)


def _detection_prompts(
    record: Record, task: Task, options: RenderOptions
) -> Iterator[tuple[str, dict[str, str], list[AnnotatedObject], str]]:
    """(kind of prompt, its parts, the objects asked for, the name to deny when there are none)."""
    # A row that was not understood may be an object of any class: no list of all, or of all of a class, is known true.
    if record.unread_rows:
        return
    shown = [item for item in record.objects if not item.ignore]
    # An image with ignored objects alone is not empty, and one that is labelled for some classes only may hold others:
    # neither a list of all objects nor "no objects" would be true of them.
    if (shown or not record.objects) and "labelled_classes" not in record.metadata:
        yield task, {}, shown, "object"
    if options.per_class_prompts:
        for category in _in_order(item.category for item in shown):
            members = [item for item in shown if item.category == category]
            yield f"{task} class", {"plural": prompts.plural(category)}, members, category


def _in_order(categories: Collection[str] | Iterator[str]) -> list[str]:
    return list(dict.fromkeys(categories))


def _detection_answer(objects: Sequence[AnnotatedObject], record: Record, task: Task, dialect: Dialect) -> str:
    frame = SquareFrame(record.image.width, record.image.height)
    groups = []
    for category in _in_order(item.category for item in objects):
        members = [item for item in objects if item.category == category]
        if task == "detection-hbb":
            boxes = dialect.format_hbb([item.extent() for item in members], frame)
        else:
            boxes = dialect.format_obb([item.quad for item in members], frame)
        groups.append((category, len(members), boxes))
    return format_detections(groups)
