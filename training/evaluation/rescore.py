"""Score answers that are there already: of an earlier evaluation, or of anybody. Needs no model and no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from mmrs.errors import UserError
from mmrs.shards.reader import ShardSet
from training.evaluation.answers import ANSWERS_NAME, write_answers
from training.evaluation.layouts import find_layout
from training.evaluation.layouts.layout import JoinedLayout, TruthLayout
from training.evaluation.layouts.mmrs import OwnLines
from training.evaluation.questions import QuestionScope, load_questions
from training.evaluation.score_file import AnswerOrigin, EvaluationResult, publish_scores
from training.evaluation.tasks import check_protocols, check_ready


@dataclass(frozen=True, slots=True)
class RescoreConfig:
    """Answers in a file, and the questions that they are to. Every question of the scope counts, answered or not.

    `data` is None where the layout's files carry their truth, and with it the questions.
    """

    answers: Path
    data: Path | str | None
    out: Path
    scope: QuestionScope = field(default_factory=QuestionScope)
    protocols: tuple[str, ...] = ()
    layout: str = OwnLines.name


def rescore(config: RescoreConfig) -> EvaluationResult:
    """Write ``scores.json``, ``evaluation.html`` and, with a data set, ``predictions.png`` for the answers.

    Answers of other layouts to questions of a data set are kept in our words beside them, as ``answers.jsonl``.

    Raises:
        UserError: no finished data set, unknown split, source, task, protocol or layout, no such answers, or none to
            the questions of the scope, or something that a protocol needs is not installed, or DATA where the file
            carries its truth, or none where it does not.
    """
    check_protocols(config.protocols)
    layout = find_layout(config.layout)
    if isinstance(layout, TruthLayout):
        return _score_alone(config, layout)
    if config.data is None or not isinstance(layout, JoinedLayout):
        raise UserError(
            f"answers of the layout {layout.name} carry no truth; name the data set: "
            f"mmrs score {config.answers} DATA --layout {layout.name} --out {config.out}"
        )
    data = ShardSet(config.data)
    questions = load_questions(data, config.scope)
    check_ready(questions, config.protocols)
    answers = layout.read(config.answers, questions)
    notes = {"answers": str(config.answers), "layout": layout.name}
    origin = AnswerOrigin(config.answers, notes)
    if not isinstance(layout, OwnLines):
        config.out.mkdir(parents=True, exist_ok=True)
        origin = AnswerOrigin(config.out / ANSWERS_NAME, notes)
        write_answers(origin.path, answers)
    return publish_scores(data, config.scope, questions, answers, origin, config.protocols, config.out)


def _score_alone(config: RescoreConfig, layout: TruthLayout) -> EvaluationResult:
    if config.data is not None:
        raise UserError(
            f"answers of the layout {layout.name} carry their truth and are joined to no data set: "
            f"mmrs score {config.answers} --layout {layout.name} --out {config.out}"
        )
    pairs = layout.read(config.answers)
    if not pairs:
        raise UserError(f"{config.answers} holds no answers.")
    notes = {"answers": str(config.answers), "layout": layout.name, "intervals": layout.intervals}
    questions, answers = [pair.question for pair in pairs], [pair.answer for pair in pairs]
    check_ready(questions, config.protocols)
    origin = AnswerOrigin(config.answers, notes)
    return publish_scores(None, config.scope, questions, answers, origin, config.protocols, config.out)
