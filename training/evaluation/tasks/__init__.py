"""Evaluation tasks by name. Another task is one file here with a `Task` in it, and its registration below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmrs.errors import UserError
from mmrs.text import nearest
from training.evaluation.task import Protocol, Question, Task
from training.evaluation.tasks.captioning import Captioning, RegionCaptioning
from training.evaluation.tasks.classification import Classification, ListedClassification
from training.evaluation.tasks.counting import Counting
from training.evaluation.tasks.detection import HorizontalDetection, OrientedDetection
from training.evaluation.tasks.grounding import VisualGrounding
from training.evaluation.tasks.grounding_cycle import GroundingCycle
from training.evaluation.tasks.referring import Referring
from training.evaluation.tasks.vqa import QuestionsInDialogue, VisualQuestions

_REGISTERED: dict[str, Task[Any]] = {}


def register_task(task: Task[Any]) -> None:
    """Make a task known by its name. Raises ValueError where its name, or that of a protocol, is taken."""
    taken = {*_REGISTERED, *(protocol.name for other in _REGISTERED.values() for protocol in other.protocols)}
    for name in (task.name, *(protocol.name for protocol in task.protocols)):
        if name in taken:
            raise ValueError(f"there is a task or a protocol {name!r} already")
    _REGISTERED[task.name] = task


def task_names() -> tuple[str, ...]:
    """Names of the tasks that can be scored, as registered."""
    return tuple(_REGISTERED)


def find_task(name: str) -> Task[Any]:
    """The task of that name. Raises UserError that lists the known ones."""
    if name not in _REGISTERED:
        raise UserError(
            f"task {name!r} has no scorer{nearest(name, _REGISTERED)}; choose from {', '.join(_REGISTERED)}."
        )
    return _REGISTERED[name]


def find_protocols(task: Task[Any], names: tuple[str, ...], source: str) -> list[Protocol[Any]]:
    """The protocols of `names` that are the task's and fit the source; the first that fits where none of them does."""
    fitting = [protocol for protocol in task.protocols if protocol.scores_source(source)]
    return [protocol for protocol in fitting if protocol.name in names] or fitting[:1]


def check_ready(questions: Sequence[Question[Any]], names: tuple[str, ...]) -> None:
    """Raise UserError where something is not installed that the protocols of the questions need."""
    for task, source in sorted({(question.task, question.record.source) for question in questions}):
        for protocol in find_protocols(find_task(task), names, source):
            protocol.check_ready()


def check_protocols(names: tuple[str, ...]) -> None:
    """Raise UserError that lists the known protocols where one of `names` is none."""
    known = [protocol.name for task in _REGISTERED.values() for protocol in task.protocols]
    for name in names:
        if name not in known:
            raise UserError(f"protocol {name!r} is not known{nearest(name, known)}; choose from {', '.join(known)}.")


register_task(Classification())
register_task(HorizontalDetection())
register_task(OrientedDetection())
register_task(VisualGrounding())
register_task(Captioning())
register_task(RegionCaptioning())
register_task(VisualQuestions())
register_task(ListedClassification())
register_task(Referring())
register_task(Counting())
register_task(QuestionsInDialogue())
register_task(GroundingCycle())
