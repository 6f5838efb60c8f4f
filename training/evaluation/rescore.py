"""Score answers that are there already: of an earlier evaluation, or of anybody. Needs no model and no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from shlex import quote
from typing import Any

from mmrs.errors import UserError
from mmrs.shards.reader import ShardSet
from mmrs.storage.atomic import check_own
from training.evaluation.adapters import find_adapter
from training.evaluation.adapters.adapter import Adapter
from training.evaluation.answers import ANSWERS_NAME, write_answers
from training.evaluation.layouts import find_layout
from training.evaluation.layouts.layout import JoinedLayout, TruthLayout
from training.evaluation.layouts.mmrs import OwnLines
from training.evaluation.questions import QuestionScope, following_questions, load_questions
from training.evaluation.score_file import AnswerOrigin, EvaluationResult, check_own_scores, publish_scores
from training.evaluation.task import Answer, Question
from training.evaluation.tasks import check_protocols, check_ready


@dataclass(frozen=True, slots=True)
class RescoreConfig:
    """Answers in a file, and the questions that they are to. Every question of the scope counts, answered or not.

    `data` is None where the layout's files carry their truth, and with it the questions. `adapter` names the family of
    models whose own words the answers of our layout are in; empty: they are in ours.
    """

    answers: Path
    data: Path | str | None
    out: Path
    scope: QuestionScope = field(default_factory=QuestionScope)
    protocols: tuple[str, ...] = ()
    layout: str = OwnLines.name
    adapter: str = ""


def rescore(config: RescoreConfig) -> EvaluationResult:
    """Write ``scores.json``, ``evaluation.html`` and, with a data set, ``predictions.png`` for the answers.

    Answers to questions of a data set that are in other words than ours are kept in ours beside them, as
    ``answers.jsonl``.

    Raises:
        UserError: no finished data set, unknown split, source, task, protocol or layout, no such answers, or none to
            the questions of the scope, or something that a protocol needs is not installed, or DATA where the file
            carries its truth, or none where it does not.
    """
    check_protocols(config.protocols)
    check_own_scores(config.out)
    layout = find_layout(config.layout)
    if config.adapter and not isinstance(layout, OwnLines):
        raise UserError(f"the layout {layout.name} says itself how boxes are written; leave --adapter out.")
    if isinstance(layout, TruthLayout):
        return _score_alone(config, layout)
    if config.data is None or not isinstance(layout, JoinedLayout):
        raise UserError(
            f"answers of the layout {layout.name} carry no truth; name the data set: "
            f"`mmrs score {quote(str(config.answers))} DATA --layout {layout.name} --out {quote(str(config.out))}`"
        )
    data = ShardSet(config.data)
    questions = load_questions(data, config.scope)
    check_ready(questions, config.protocols)
    answers = layout.read(config.answers, questions)
    notes = {"answers": str(config.answers), "layout": layout.name}
    if config.adapter:
        notes["adapter"] = config.adapter
        adapter = find_adapter(config.adapter)
        answers = _translated(adapter, questions, answers)
        answers = _translated(adapter, following_questions(config.scope, questions, answers), answers)
    questions += following_questions(config.scope, questions, answers)
    origin = AnswerOrigin(config.answers, notes)
    if config.adapter or not isinstance(layout, OwnLines):
        _check_not_over(config.answers, config.out / ANSWERS_NAME)
        config.out.mkdir(parents=True, exist_ok=True)
        origin = AnswerOrigin(config.out / ANSWERS_NAME, notes)
        write_answers(origin.path, answers)
    return publish_scores(data, config.scope, questions, answers, origin, config.protocols, config.out)


def _translated(adapter: Adapter, questions: Sequence[Question[Any]], answers: Sequence[Answer]) -> list[Answer]:
    """The answers in our words, read from what was said. Probabilities belong to boxes of the text as it was."""
    asked = {question.id: question for question in questions}
    translated = []
    for answer in answers:
        said = answer.said if answer.said is not None else answer.text
        if answer.id in asked:
            text = adapter.read(asked[answer.id], said).text
            answer = replace(answer, text=text, said=said, box_log_probabilities=None)
        translated.append(answer)
    return translated


def _check_not_over(answers: Path, kept: Path) -> None:
    if answers.resolve() == kept.resolve():
        raise UserError(f"{answers} would be written over by the same answers in our words; choose another --out.")
    # A line of ours that was said in other words has both.
    check_own(kept, b'"said":')


def _score_alone(config: RescoreConfig, layout: TruthLayout) -> EvaluationResult:
    if config.data is not None:
        raise UserError(
            f"answers of the layout {layout.name} carry their truth and are joined to no data set: "
            f"`mmrs score {quote(str(config.answers))} --layout {layout.name} --out {quote(str(config.out))}`"
        )
    pairs = layout.read(config.answers)
    if not pairs:
        raise UserError(f"{config.answers} holds no answers.")
    notes = {"answers": str(config.answers), "layout": layout.name, "intervals": layout.intervals}
    questions, answers = [pair.question for pair in pairs], [pair.answer for pair in pairs]
    check_ready(questions, config.protocols)
    origin = AnswerOrigin(config.answers, notes)
    return publish_scores(None, config.scope, questions, answers, origin, config.protocols, config.out)
