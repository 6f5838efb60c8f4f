"""BLEU-1..4, ROUGE-L and CIDEr-D of tokenized captions, by pycocoevalcap's scorers: the numbers that papers mean.

Corpus values are the library's. What it keeps of each caption is handed on, so that images can be drawn anew for an
interval: BLEU's counts are summed and the formula is applied again, ROUGE-L and CIDEr-D are means. The document
frequencies of CIDEr-D stay those of the whole set in each draw, so its interval is that of the mean alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmrs.errors import UserError
from mmrs.geometry import Array

BLEU_ORDER = 4
# pycocoevalcap's, so that nothing is divided by zero.
_TINY, _SMALL = 1e-15, 1e-9


@dataclass(frozen=True, slots=True)
class CaptionMetrics:
    """What is measured of one answer to each image.

    Args:
        bleu: BLEU-1 to BLEU-4, each 0 to 1.
        rouge_l: 0 to 1.
        cider: CIDEr-D as pycocoevalcap prints it, 0 to 10 (papers: times 100); None for one image alone, where every
            word is in all documents and its weight is 0.
        bleu_counts: ``(captions, 10)``: words of the answer and of the closest reference, n-grams of the answer for
            n = 1 to 4, those of them that a reference has.
        rouge_by_caption, cider_by_caption: ``(captions,)``.
    """

    bleu: tuple[float, ...]
    rouge_l: float
    cider: float | None
    bleu_counts: Array
    rouge_by_caption: Array
    cider_by_caption: Array


def check_caption_scorers() -> None:
    """Raise UserError with what to type where pycocoevalcap is not installed."""
    try:
        import pycocoevalcap.cider.cider_scorer  # noqa: F401
    except ModuleNotFoundError as error:
        raise UserError(
            "captions are scored by pycocoevalcap, which is not installed: pip install 'mmrs[eval]', or leave captions "
            "out by naming other tasks with --task."
        ) from error


def score_captions(answers: Sequence[str], references: Sequence[Sequence[str]]) -> CaptionMetrics:
    """Score tokenized answers against the tokenized references of each, at least one; no answer may be NaN-worthy:
    an empty one scores 0.

    Raises:
        UserError: pycocoevalcap is not installed.
    """
    check_caption_scorers()
    from pycocoevalcap.bleu.bleu_scorer import BleuScorer
    from pycocoevalcap.cider.cider_scorer import CiderScorer
    from pycocoevalcap.rouge.rouge import Rouge

    bleu, cider, rouge = BleuScorer(n=BLEU_ORDER), CiderScorer(n=4, sigma=6.0), Rouge()
    rouge_by_caption = np.zeros(len(answers))
    for position, (answer, several) in enumerate(zip(answers, references, strict=True)):
        bleu += (answer, list(several))
        cider += (answer, list(several))
        rouge_by_caption[position] = rouge.calc_score([answer], list(several))
    values, _ = bleu.compute_score(option="closest", verbose=0)
    mean_cider, cider_by_caption = cider.compute_score()
    return CaptionMetrics(
        bleu=tuple(float(value) for value in values),
        rouge_l=float(rouge_by_caption.mean()),
        cider=float(mean_cider) if len(answers) > 1 else None,
        bleu_counts=np.array([_bleu_row(counts) for counts in bleu.ctest], dtype=np.float64),
        rouge_by_caption=rouge_by_caption,
        cider_by_caption=np.asarray(cider_by_caption, dtype=np.float64),
    )


def bleu_from_counts(rows: Array) -> Array:
    """BLEU-1 to BLEU-4 of summed `CaptionMetrics.bleu_counts`.

    BLEU-n = min(1, exp(1 - r / c)) * (p_1 * ... * p_n) ** (1 / n), for c words of answers, r of the closest references.
    """
    sums = rows.sum(axis=0)
    said, wanted = sums[0] + _TINY, sums[1] + _SMALL
    precisions = (sums[6:] + _TINY) / (sums[2:6] + _SMALL)
    means = np.cumprod(precisions) ** (1 / np.arange(1, BLEU_ORDER + 1))
    return means * np.exp(min(0.0, 1 - wanted / said))


def _bleu_row(counts: dict) -> list[float]:
    said = counts["testlen"]
    closest = min((abs(length - said), length) for length in counts["reflen"])[1]
    return [said, closest, *counts["guess"], *counts["correct"]]
