"""Score answers that are there already: of an earlier evaluation, or of anybody. Needs no model and no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from mmrs.shards.reader import ShardSet
from training.evaluation.answers import read_answers
from training.evaluation.questions import QuestionScope, load_questions
from training.evaluation.score_file import AnswerOrigin, EvaluationResult, publish_scores
from training.evaluation.tasks import check_protocols, check_ready


@dataclass(frozen=True, slots=True)
class RescoreConfig:
    """Answers in a file, and the questions that they are to. Every question of the scope counts, answered or not."""

    answers: Path
    data: Path | str
    out: Path
    scope: QuestionScope = field(default_factory=QuestionScope)
    protocols: tuple[str, ...] = ()


def rescore(config: RescoreConfig) -> EvaluationResult:
    """Write ``scores.json`` and ``predictions.png`` for the answers.

    Raises:
        UserError: no finished data set, unknown split, source, task or protocol, no such answers, or none to the
            questions of the scope, or something that a protocol needs is not installed.
    """
    check_protocols(config.protocols)
    data = ShardSet(config.data)
    questions = load_questions(data, config.scope)
    check_ready(questions, config.protocols)
    answers = read_answers(config.answers)
    origin = AnswerOrigin(config.answers, {"answers": str(config.answers)})
    return publish_scores(data, config.scope, questions, answers, origin, config.protocols, config.out)
