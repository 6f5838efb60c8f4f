"""Evaluate a saved model on a split of a data set: answers, scores, picture."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson
import torch

from mmrs.instructions.grammar import answer_pattern
from mmrs.progress import Progress
from mmrs.shards.reader import ShardSet
from mmrs.storage.atomic import write_atomic
from training.evaluation.generate import generate_answers
from training.evaluation.picture import draw_predictions
from training.evaluation.questions import Question, load_questions
from training.evaluation.scores import score
from training.model import EarthGPTForConditionalGeneration, EarthGPTProcessor
from training.model.folder import check_model_folder, quiet_transformers


@dataclass(frozen=True, slots=True)
class EvaluationConfig:
    """What to score. `limit` is a number of images of each source, None for all.

    With `constrained` no answer can leave its task's grammar; such scores are not comparable with any others.
    """

    model: Path
    data: Path
    out: Path
    split: str = "test"
    sources: tuple[str, ...] | None = None
    tasks: tuple[str, ...] = ("classification", "detection-hbb")
    limit: int | None = None
    batch_size: int = 32
    max_new_tokens: int = 256
    constrained: bool = False


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """Scores as written to `scores.json`, and the files."""

    scores: dict[str, Any]
    scores_path: Path
    predictions_path: Path
    picture_path: Path


def evaluate(config: EvaluationConfig, progress: Progress) -> EvaluationResult:
    """Answer every question of the split and write ``predictions.jsonl``, ``scores.json`` and ``predictions.png``.

    Raises:
        UserError: no model or no finished data set where the config says, unknown split, source or task.
    """
    data = ShardSet(config.data)
    questions = load_questions(data, config.split, config.sources, config.tasks, config.limit)
    check_model_folder(config.model)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with quiet_transformers():
        model = EarthGPTForConditionalGeneration.from_pretrained(config.model, use_safetensors=True).to(device)
        processor = EarthGPTProcessor.from_pretrained(config.model)
    categories = {name: source.categories for name, source in data.manifest.sources.items()}

    def pattern_of(question: Question) -> str | None:
        return answer_pattern(question.task, categories[question.record.source], question.dialect)

    with progress.stage("generate", len(questions)) as advance:
        answers = generate_answers(
            model,
            processor,
            data,
            questions,
            config.batch_size,
            config.max_new_tokens,
            advance,
            pattern_of if config.constrained else None,
        )
    how = "constrained to the answer grammar" if config.constrained else "unconstrained"
    content = {
        "model": str(config.model),
        "data_set": data.manifest.id,
        "split": config.split,
        "protocol": f"greedy generation, {how}; one-to-one matching; unreadable boxes are false positives",
        "settings": {key: value for key, value in asdict(config).items() if key in ("limit", "max_new_tokens")},
        "scores": score(questions, answers, categories),
    }
    result = EvaluationResult(
        scores=content,
        scores_path=config.out / "scores.json",
        predictions_path=config.out / "predictions.jsonl",
        picture_path=config.out / "predictions.png",
    )
    lines = [
        orjson.dumps({"id": q.id, "prompt": q.prompt, "reference": q.reference, "answer": answer}) + b"\n"
        for q, answer in zip(questions, answers, strict=True)
    ]
    write_atomic(result.predictions_path, b"".join(lines))
    draw_predictions(result.picture_path, data, questions, answers, categories)
    write_atomic(result.scores_path, orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
    return result


def describe_scores(result: EvaluationResult) -> str:
    """The scores, one line each, with their 95 % intervals."""
    lines = []
    for task, by_source in result.scores["scores"].items():
        for source, values in by_source.items():
            name = "accuracy" if task == "classification" else "f1"
            low, high = values[f"{name}_95"]
            label = "accuracy" if name == "accuracy" else f"F1 at IoU {values['iou_threshold']}"
            line = f"{task:15} {source:10} {label} {values[name]:.3f} (95 % {low:.3f} to {high:.3f}), "
            lines.append(line + f"{values['images']} images")
    lines.append(f"scores in {result.scores_path}, answers in {result.predictions_path}, picture {result.picture_path}")
    return "\n".join(lines)
