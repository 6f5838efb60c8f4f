"""The buttons of the page: each task with its released prompt, and what the user must give for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mmrs.geometry import SquareFrame, clip_hbb
from mmrs.instructions import prompts
from mmrs.instructions.dialects import Dialect

Need = Literal["class", "words", "box"]


@dataclass(frozen=True)
class AskableTask:
    """A button.

    Args:
        name: as the page sends it back.
        words: on the button.
        template: the prompt, with ``{plural}``, ``{text}``, ``{question}`` or ``{box}`` to be filled in.
        needs: what for.
    """

    name: str
    words: str
    template: str
    needs: tuple[Need, ...] = ()


ASKABLE = (
    AskableTask("detection-hbb", "find all objects", prompts.DETECTION_ALL["detection-hbb"]),
    AskableTask("detection-obb", "find all, turned boxes", prompts.DETECTION_ALL["detection-obb"]),
    AskableTask("detection-class", "find one class", prompts.DETECTION_CLASS["detection-hbb"], ("class",)),
    AskableTask(
        "detection-region", "find one class in a box", prompts.DETECTION_REGION["detection-hbb"], ("class", "box")
    ),
    AskableTask("visual-grounding", "where is ...", prompts.VISUAL_GROUNDING, ("words",)),
    AskableTask("region-captioning", "describe a box", prompts.REGION_CAPTIONING, ("box",)),
    AskableTask("captioning", "describe the image", prompts.CAPTIONING),
    AskableTask("classification", "what scene is it", prompts.CLASSIFICATION),
    AskableTask("vqa", "answer a question", prompts.VQA, ("words",)),
)


def filled_prompt(
    task: AskableTask, words: str, box: Sequence[float] | None, frame: SquareFrame, dialect: Dialect
) -> str:
    """The prompt of a task.

    Args:
        words: a class, a description or a question, as the task needs.
        box: left, top, right, bottom in pixels of the image, where the task needs one.
        frame: of the image.
        dialect: in which the model reads boxes.

    Raises:
        ValueError: something that the task needs is missing; says what.
    """
    words = " ".join(words.split())
    if ("class" in task.needs or "words" in task.needs) and not words:
        raise ValueError("type a class, such as ship" if "class" in task.needs else "type what you look for")
    written = ""
    if "box" in task.needs:
        clipped = clip_hbb([box] if box is not None else [], frame.width, frame.height).reshape(-1, 4)
        if not (clipped[:, 2:] - clipped[:, :2] >= 1).all(axis=1).any():
            raise ValueError("drag a box over the image")
        written = dialect.format_hbb(clipped, frame)
    return task.template.format(plural=prompts.plural(words), text=words, question=words, box=written)
