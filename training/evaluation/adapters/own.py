"""Models that are trained on our text, behind an endpoint for instance: asked and read as ours are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from PIL import Image

from mmrs.imaging.probe import in_mode
from mmrs.instructions.answers import box_spans
from training.evaluation.adapters.adapter import Translation
from training.evaluation.task import Question
from training.evaluation.tasks import find_task


@dataclass(frozen=True, slots=True)
class OwnWords:
    """An `Adapter` that changes nothing."""

    name: str = "mmrs"
    model_types: tuple[str, ...] = ()
    summary: str = "the prompts and the box dialect of the data set, for models that were trained on our text"

    def fitted(self, processor: Any) -> OwnWords:
        return self

    def prepare(self, image: Image.Image) -> Image.Image:
        return in_mode(image, "RGB")

    def prompt(self, question: Question[Any]) -> str:
        return question.prompt

    def reference(self, question: Question[Any]) -> str:
        return find_task(question.task).reference(question)

    def read(self, question: Question[Any], said: str) -> Translation:
        return Translation(said, tuple(box_spans(said)) if find_task(question.task).boxes else None)
