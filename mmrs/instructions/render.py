"""Record -> dialogues. Every dialogue is independent: several references of one image never see each other."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from mmrs.geometry import SquareFrame
from mmrs.instructions import prompts
from mmrs.instructions.answers import format_absence, format_detections
from mmrs.instructions.dialects import Dialect
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
    """

    dialect: Dialect
    tasks: frozenset[Task]
    per_class_prompts: bool = True
    max_objects_per_dialogue: int = 60


@dataclass(frozen=True, slots=True)
class Rendered:
    """Dialogues of one record, and how many were left out because they had too many objects."""

    dialogues: tuple[Dialogue, ...]
    too_long: int


def render(record: Record, options: RenderOptions) -> Rendered:
    """All dialogues that `options` asks for, in a fixed order: label, captions, questions, regions, boxes."""
    dialogues = []
    if record.label is not None and "classification" in options.tasks:
        dialogues.append(_dialogue("classification", prompts.CLASSIFICATION, record.label))
    if "captioning" in options.tasks:
        dialogues += [_dialogue("captioning", prompts.CAPTIONING, caption) for caption in record.captions]
    if "vqa" in options.tasks:
        for item in record.questions:
            verbatim = item.type == prompts.VERBATIM
            prompt = item.question if verbatim else prompts.VQA.format(question=item.question)
            dialogues.append(_dialogue("vqa", prompt, item.answer))
    dialogues += _region_dialogues(record, options)
    too_long = 0
    for task in ("detection-hbb", "detection-obb"):
        if task not in options.tasks:
            continue
        for prompt, objects, absent in _detection_prompts(record, task, options):
            if len(objects) > options.max_objects_per_dialogue:
                too_long += 1
                continue
            answer = _detection_answer(objects, record, task, options.dialect) if objects else format_absence(absent)
            dialogues.append(_dialogue(task, prompt, answer))
    return Rendered(tuple(dialogues), too_long)


def _dialogue(task: Task, prompt: str, answer: str) -> Dialogue:
    return Dialogue(task=task, turns=(_turn("human", prompt), _turn("gpt", answer)))


def _region_dialogues(record: Record, options: RenderOptions) -> Iterator[Dialogue]:
    frame = SquareFrame(record.image.width, record.image.height)
    for expression in record.expressions:
        target = record.objects[expression.object]
        if target.ignore:
            continue
        box = options.dialect.format_hbb([target.extent()], frame)
        if "visual-grounding" in options.tasks:
            yield _dialogue("visual-grounding", prompts.VISUAL_GROUNDING.format(text=expression.text), box)
        if "region-captioning" in options.tasks:
            yield _dialogue("region-captioning", prompts.REGION_CAPTIONING.format(box=box), expression.text)


def _turn(sender: Literal["human", "gpt"], value: str) -> Turn:
    return Turn(**{"from": sender}, value=value)


def _detection_prompts(
    record: Record, task: Task, options: RenderOptions
) -> Iterator[tuple[str, list[AnnotatedObject], str]]:
    shown = [item for item in record.objects if not item.ignore]
    # An image with ignored objects alone is not empty, and one that is labelled for some classes only may hold others:
    # neither a list of all objects nor "no objects" would be true of them.
    if (shown or not record.objects) and "labelled_classes" not in record.metadata:
        yield prompts.DETECTION_ALL[task], shown, "object"
    if options.per_class_prompts:
        for category in _in_order(item.category for item in shown):
            prompt = prompts.DETECTION_CLASS[task].format(plural=prompts.plural(category))
            yield prompt, [item for item in shown if item.category == category], category


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
