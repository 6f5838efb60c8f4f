"""Measures as pure functions of answers and references; each module holds one family of them."""

from training.evaluation.metrics.intervals import bootstrap_interval, ratio, sum_by_image
from training.evaluation.metrics.matching import f1, f1_score
from training.evaluation.metrics.words import normalise_answer

__all__ = [
    "bootstrap_interval",
    "f1",
    "f1_score",
    "normalise_answer",
    "ratio",
    "sum_by_image",
]
