"""Evaluate a saved model on a split of a data set.

answers.jsonl  what was said (written first)      predictions.png      scores.json  the rows (written last)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch

from mmrs.progress import Progress
from mmrs.shards.reader import ShardSet
from training.evaluation.answers import ANSWERS_NAME, write_answers
from training.evaluation.generate import Decoding, generate_answers
from training.evaluation.questions import QuestionScope, load_questions
from training.evaluation.score_file import AnswerOrigin, EvaluationResult, publish_scores
from training.evaluation.tasks import check_protocols
from training.model import EarthGPTForConditionalGeneration, EarthGPTProcessor
from training.model.folder import check_model_folder, quiet_transformers


@dataclass(frozen=True, slots=True)
class EvaluationConfig:
    """What `evaluate` asks, how, and by which protocols it scores; a task of which none is named has its own.

    `data` is a folder or a URL.
    """

    model: Path
    data: Path | str
    out: Path
    scope: QuestionScope = field(default_factory=QuestionScope)
    decoding: Decoding = field(default_factory=Decoding)
    protocols: tuple[str, ...] = ()


def evaluate(config: EvaluationConfig, progress: Progress) -> EvaluationResult:
    """Answer every question of the scope and write the three files into `config.out`.

    Raises:
        UserError: no model or no finished data set where the config says, unknown split, source, task or protocol.
    """
    check_protocols(config.protocols)
    data = ShardSet(config.data)
    questions = load_questions(data, config.scope)
    check_model_folder(config.model)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with quiet_transformers():
        model = EarthGPTForConditionalGeneration.from_pretrained(config.model, use_safetensors=True).to(device)
        processor = EarthGPTProcessor.from_pretrained(config.model)
    with progress.stage("generate", len(questions)) as advance:
        answers = generate_answers(model, processor, data, questions, config.decoding, advance)
    write_answers(config.out / ANSWERS_NAME, answers)
    notes = {"model": str(config.model), "decoding": config.decoding.describe()}
    origin = AnswerOrigin(config.out / ANSWERS_NAME, notes)
    return publish_scores(data, config.scope, questions, answers, origin, config.protocols, config.out)
