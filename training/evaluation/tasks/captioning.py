"""Captions of images and of regions: BLEU, ROUGE-L, CIDEr-D and METEOR of the COCO tools, against all references.

The main value is CIDEr-D, the one of them that was made for captions and that weighs words by how rare they are in the
set; the others are in the details. It depends on the set: values of different splits are not comparable. References
are the source's sentences, repeated as often as the source repeats them; sentences without words are none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, ClassVar

import numpy as np

from mmrs.geometry import Array, SquareFrame
from mmrs.instructions import prompts
from mmrs.record import Record
from training.evaluation.captions.java import find_java, score_meteor, tokenize_by_jar
from training.evaluation.captions.ptb import common_words, tokenize_ptb
from training.evaluation.captions.scorers import (
    BLEU_ORDER,
    CaptionMetrics,
    bleu_from_counts,
    check_caption_scorers,
    score_captions,
)
from training.evaluation.captions.typical import most_typical_caption
from training.evaluation.metrics.intervals import bootstrap_interval, ratio, sum_by_image
from training.evaluation.task import Answered, AnswerForm, Protocol, Question, Scores, Task, Truth

Texts = tuple[str, ...]
References = tuple[Texts, ...]
Tokenizer = Callable[[Sequence[str]], list[str]]
# Rounds of the human row: more references than these are not each held out.
_MOST_ROUNDS = 5


@dataclass(frozen=True)
class TrueCaptions(Truth):
    """The sentences about one image or region, at least one, repeats included."""

    references: Texts


class _Captions(Task[TrueCaptions]):
    """What images and regions share; `unit` is what a reference describes, `family` begins the protocols' names."""

    max_new_tokens: ClassVar[int] = 64
    family: ClassVar[str]
    unit: ClassVar[str]

    @property
    def protocols(self) -> tuple[Protocol[TrueCaptions], ...]:
        return (
            Protocol(
                f"{self.family}/ptb-py",
                "cider",
                f"CIDEr-D of pycocoevalcap over {self.unit}s; tokens equal to its tokenizer's, without Java; no METEOR",
                partial(_score, tokenize=_tokenize_by_ptb, with_meteor=False),
                check_ready=check_caption_scorers,
            ),
            Protocol(
                f"{self.family}/coco",
                "cider",
                f"CIDEr-D of pycocoevalcap over {self.unit}s; its tokenizer, and METEOR 1.5 in the details",
                partial(_score, tokenize=tokenize_by_jar, with_meteor=True),
                check_ready=_check_coco,
            ),
        )

    def failures(self, answered: Answered[TrueCaptions]) -> Sequence[str]:
        return [] if tokenize_ptb(answered.answer.text) else ["no_words"]

    def constant_answers(self, questions: Sequence[Question[TrueCaptions]]) -> Sequence[str]:
        typical = most_typical_caption([question.truth.references for question in questions])
        return [typical] * len(questions)

    def reference(self, question: Question[TrueCaptions]) -> str:
        return max(question.truth.references, key=len)

    def is_wrong(self, answered: Answered[TrueCaptions]) -> bool:
        return self.quality(answered) == 0

    def quality(self, answered: Answered[TrueCaptions]) -> float:
        """F1 of the words with the nearest reference: what can be told of one caption without the others of its set."""
        return max(common_words(answered.answer.text, text) for text in answered.question.truth.references)


class Captioning(_Captions):
    """One question about each image with captions."""

    name: ClassVar[str] = "captioning"
    family: ClassVar[str] = "captions"
    unit: ClassVar[str] = "image"

    def ask(self, record: Record, form: AnswerForm) -> Iterator[tuple[str, TrueCaptions]]:
        if record.captions:
            counts = record.metadata.get("caption_counts", [1] * len(record.captions))
            references = tuple(text for text, count in zip(record.captions, counts, strict=True) for _ in range(count))
            yield prompts.CAPTIONING, TrueCaptions(" / ".join(record.captions), references)


class RegionCaptioning(_Captions):
    """One question about each referring expression: the box is shown, its phrase is the one reference."""

    name: ClassVar[str] = "region-captioning"
    family: ClassVar[str] = "region-captions"
    unit: ClassVar[str] = "region"

    def ask(self, record: Record, form: AnswerForm) -> Iterator[tuple[str, TrueCaptions]]:
        frame = SquareFrame(record.image.width, record.image.height)
        for expression in record.expressions:
            target = record.objects[expression.object]
            if not target.ignore:
                box = form.dialect.format_hbb([target.extent()], frame)
                yield prompts.REGION_CAPTIONING.format(box=box), TrueCaptions(expression.text, (expression.text,))


def _check_coco() -> None:
    check_caption_scorers()
    find_java()


def _tokenize_by_ptb(texts: Sequence[str]) -> list[str]:
    return [tokenize_ptb(text) for text in texts]


def _score(pairs: Sequence[Answered[TrueCaptions]], tokenize: Tokenizer, with_meteor: bool) -> Scores:
    pairs = sorted(pairs, key=lambda pair: pair.question.id)  # sums of fractions depend on their order
    references = _reference_tokens(tokenize, tuple(pair.question.truth.references for pair in pairs))
    answers = tokenize([pair.answer.text for pair in pairs])
    metrics = score_captions(answers, references)
    meteor = score_meteor(answers, references).value if with_meteor else "n/a"
    images = [pair.question.record.id for pair in pairs]
    counts = sum_by_image(images, metrics.bleu_counts)
    undefined = metrics.cider is None
    return Scores.of_sums(
        images,
        np.column_stack([metrics.cider_by_caption, np.ones(len(images))]),
        _undefined if undefined else ratio,
        {
            **_named(metrics),
            "meteor": meteor,
            "intervals_95": {
                **{
                    f"bleu_{order}": bootstrap_interval(counts, partial(_bleu, order=order))
                    for order in range(1, BLEU_ORDER + 1)
                },
                "rouge_l": _interval(images, metrics.rouge_by_caption),
            },
            "references": sum(map(len, references)),
            "human_leave_one_out": _human_row(references),
        },
    )


@lru_cache(maxsize=4)
def _reference_tokens(tokenize: Tokenizer, references: References) -> References:
    """Tokens of all references, found once for the answers and for the constant row."""
    flat = iter(tokenize([text for several in references for text in several]))
    return tuple(tuple(next(flat) for _ in several) for several in references)


@lru_cache(maxsize=4)
def _human_row(references: References) -> dict[str, Any] | None:
    """What the references score against each other: each in turn is the answer, the others are the references.

    Over the images with as many references as most have, mean of the rounds; None where that is one.
    """
    ((usual, _),) = Counter(map(len, references)).most_common(1)
    complete = [several for several in references if len(several) >= usual]
    if usual < 2:
        return None
    rounds = [
        score_captions([several[held] for several in complete], [_without(several, held) for several in complete])
        for held in range(min(usual, _MOST_ROUNDS))
    ]
    rows = [_named(metrics) for metrics in rounds]
    means = {name: None if rows[0][name] is None else float(np.mean([row[name] for row in rows])) for name in rows[0]}
    return means | {"images": len(complete), "rounds": len(rounds)}


def _bleu(rows: Array, order: int) -> float:
    return float(bleu_from_counts(rows)[order - 1])


def _without(texts: Texts, position: int) -> Texts:
    return texts[:position] + texts[position + 1 :]


def _named(metrics: CaptionMetrics) -> dict[str, float | None]:
    bleu = {f"bleu_{order}": value for order, value in enumerate(metrics.bleu, start=1)}
    return {**bleu, "rouge_l": metrics.rouge_l, "cider": metrics.cider}


def _undefined(rows: Array) -> None:
    return None


def _interval(images: Sequence[str], values: Any) -> tuple[float, float] | None:
    return bootstrap_interval(sum_by_image(images, np.column_stack([values, np.ones(len(images))])), ratio)
