"""The contract of an evaluation task: what is asked, what is true, how an answer is read, scored and drawn.

    questions (of records)  ->  answers (text, `answers.jsonl`)  ->  scores (a pure function of both)

Truth comes from the record's annotations, never from text that was rendered of them, so limits of training text leave
no image out. A task is one file in `training.evaluation.tasks` with one object, found by its registry; it may be scored
by several named protocols. An answer that cannot be read stays in the denominator and is counted by its reason.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Literal, TypeVar

import numpy.typing as npt

from mmrs.geometry import Array, SquareFrame
from mmrs.instructions.dialects import Dialect
from mmrs.instructions.grammar import answer_pattern
from mmrs.record import Record
from training.evaluation.canvas import Canvas
from training.evaluation.metrics.intervals import bootstrap_interval, sum_by_image
from training.evaluation.panels import Panel

FinishReason = Literal["stop", "length", "missing", "unknown"]
BoxesAsked = Literal["one", "listed"]


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """What a reader of answers must know of a source: the names of its classes, and how boxes are written."""

    categories: tuple[str, ...]
    dialect: Dialect


@dataclass(frozen=True)
class Truth:
    """What a record states of the answer to one question; each task has its own kind. `text` is for a person."""

    text: str


T = TypeVar("T", bound=Truth)


@dataclass(frozen=True, slots=True)
class Question(Generic[T]):
    """One prompt about one image.

    Args:
        id: ``<record id>#<task>``, and ``-1``, ``-2`` ... for further questions of the task about the image.
        row: the index row of the image (shard, offsets).
    """

    id: str
    task: str
    prompt: str
    truth: T
    record: Record
    form: AnswerForm
    row: Mapping[str, Any]

    @property
    def frame(self) -> SquareFrame:
        """The padded square of the image, in which boxes are written."""
        return SquareFrame(self.record.image.width, self.record.image.height)


@dataclass(frozen=True, slots=True)
class Answer:
    """One line of `answers.jsonl`: the raw text that was said to a question, by our model or by anybody.

    Args:
        finish_reason: ``stop`` where the answer ended itself, ``length`` where the limit of tokens ended it,
            ``missing`` where nobody answered.
        box_log_probabilities: of each piece of the text that is meant as a box, in order, the mean log-probability of
            its tokens; None where whoever answered does not know them.
        said: what another model said word for word, where `text` is that in our words; None where nothing was changed.
    """

    id: str
    text: str
    prompt: str = ""
    finish_reason: FinishReason = "unknown"
    box_log_probabilities: tuple[float, ...] | None = None
    said: str | None = None


@dataclass(frozen=True, slots=True)
class Answered(Generic[T]):
    """A question and its answer."""

    question: Question[T]
    answer: Answer


@dataclass(frozen=True, slots=True)
class ImageSums:
    """What each image adds to a score that is a function of sums: what two runs are compared by, image by image.

    Args:
        images: record ids, each once.
        rows: ``(images, K)``.
        score: of ``(N, K)`` rows, by their sums alone; None where it is undefined.
    """

    images: tuple[str, ...]
    rows: Array
    score: Callable[[Array], float | None]


@dataclass(frozen=True, slots=True)
class Scores:
    """What one protocol measures on the questions of one source.

    Args:
        value: of the protocol's metric; None where it is undefined (F1 where there is no object to find).
        interval: its 95 % interval, by drawing images (not questions) with replacement; None likewise.
        details: further numbers, plain values by name.
        sums: what each image adds; None where the value is no function of sums (ranked boxes).
    """

    value: float | None
    interval: tuple[float, float] | None
    details: Mapping[str, Any] = field(default_factory=dict)
    sums: ImageSums | None = None

    @classmethod
    def of_sums(
        cls,
        images: Sequence[str],
        rows: npt.ArrayLike,
        score: Callable[[Array], float | None],
        details: Mapping[str, Any] | None = None,
    ) -> Scores:
        """Value and interval of a score that is a function of sums.

        Args:
            images: the record of each question.
            rows: ``(questions, K)``, what each question adds.
            score: of ``(N, K)`` rows, by their sums alone.
            details: as above.
        """
        added = ImageSums(tuple(dict.fromkeys(images)), sum_by_image(images, rows), score)
        return cls(score(added.rows), bootstrap_interval(added.rows, score), details or {}, added)


def nothing_needed() -> None:
    """What a protocol checks that needs nothing but this package."""


@dataclass(frozen=True, slots=True)
class Protocol(Generic[T]):
    """A named way to score answers. Values of different protocols are never compared.

    Args:
        name: ``<task>/<rule>``; what tables print and `--protocol` takes.
        metric: name of the main value, ``accuracy`` for instance.
        rule: in a sentence, how answers are read and compared.
        score: a pure function of answered questions about one source, at least one.
        warning: what a reader of the value must know, where others measured by a faulty rule; printed below the table.
        sources: beginnings of the names of the sources that it is a rule for; empty: for all.
        check_ready: raises UserError with what to type where something that `score` needs is not installed; called
            before anything is generated.
    """

    name: str
    metric: str
    rule: str
    score: Callable[[Sequence[Answered[T]]], Scores]
    warning: str = ""
    sources: tuple[str, ...] = ()
    check_ready: Callable[[], None] = nothing_needed

    def scores_source(self, source: str) -> bool:
        """Whether it is a rule for that source."""
        return not self.sources or source.startswith(self.sources)


class Task(ABC, Generic[T]):
    """One task of the records: see the module."""

    name: ClassVar[str]
    built_for: ClassVar[str] = ""
    """The task of records that it asks about, where that has another name: it is then asked only where it is named."""
    follows: ClassVar[str] = ""
    """The task whose answers it asks about, in a second turn; that one is asked too wherever this one is."""
    max_new_tokens: ClassVar[int]
    """Longest answer where nothing else is asked for and no reference is longer."""
    boxes: ClassVar[BoxesAsked | None] = None
    """Whether an answer is one box, or lists boxes by class; None: neither. Other models are told how to write them."""

    @property
    @abstractmethod
    def protocols(self) -> tuple[Protocol[T], ...]:
        """Ways to score; a source's own is the first that is a rule for it, and the last is one for all."""

    @abstractmethod
    def ask(self, record: Record, form: AnswerForm) -> Iterator[tuple[str, T]]:
        """Prompt and truth of every question about an image of a source that is annotated for the task."""

    def ask_about(self, first: Answered[Any]) -> tuple[str, T]:
        """Prompt and truth of the question that an answer to the task it follows leads to.

        An empty prompt is not asked and counts as not answered, so that every run has the same questions to score.
        """
        raise NotImplementedError(f"task {self.name} follows no other")

    @abstractmethod
    def failures(self, answered: Answered[T]) -> Sequence[str]:
        """Why the answer cannot be read as one of this task, by name; nothing where it can."""

    @abstractmethod
    def constant_answers(self, questions: Sequence[Question[T]]) -> Sequence[str]:
        """What one would answer to each question without seeing the images: the row every score is compared with."""

    def reference(self, question: Question[T]) -> str:
        """The right answer as a model of ours would write it, as far as its length goes; empty where it is short."""
        return ""

    def asked_class(self, question: Question[T]) -> str | None:
        """The class that the prompt names, where it asks for the objects of one: an answer need not repeat it."""
        return None

    def earlier_turns(self, question: Question[T]) -> Sequence[tuple[str, str]]:
        """(prompt, answer) of each turn of the dialogue before the question; most questions begin theirs."""
        return ()

    def pattern(self, question: Question[T]) -> str | None:
        """Regular expression of all answers, for constrained generation; None where any text is one."""
        return answer_pattern(self.name, question.form.categories, question.form.dialect)

    def is_wrong(self, answered: Answered[T]) -> bool:
        """Whether nothing of the answer is right, as far as that can be told of one answer."""
        return False

    def quality(self, answered: Answered[T]) -> float:
        """How right one answer is, from 0 to 1, as far as that can be told of one: the order of a page's examples."""
        return 0.0 if self.is_wrong(answered) else 1.0

    def panels(self, pairs: Sequence[Answered[T]]) -> Sequence[Panel]:
        """What a page shows of the answers about one source beside their scores."""
        return ()

    def draw(self, canvas: Canvas, answered: Answered[T]) -> None:
        """Draw onto the image what can be shown of truth and answer. By default nothing: the texts stand below it."""
        return
