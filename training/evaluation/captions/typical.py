"""The caption that one would give without seeing the images: a reference whose words stand in most of the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from training.evaluation.captions.ptb import tokenize_ptb

_BORDER = ""


def most_typical_caption(references: Sequence[Sequence[str]]) -> str:
    """The reference whose pairs of neighbouring words occur, on average, in the references of most images.

    Beginning and end count as words. Shorter references than the median are left out: a few common words in a row are
    no caption. Of equals the first in the alphabet. One pass over all words, where the best of all captions by CIDEr
    would take a scoring for each.
    """
    pairs_of = {text: _pairs(text) for several in references for text in several}
    images_with = Counter(pair for several in references for pair in {p for text in several for p in pairs_of[text]})
    usual = median(len(pairs_of[text]) for several in references for text in several)
    return min(
        (text for text, pairs in pairs_of.items() if len(pairs) >= usual),
        key=lambda text: (-sum(images_with[pair] for pair in pairs_of[text]) / len(pairs_of[text]), text),
    )


def _pairs(text: str) -> list[tuple[str, str]]:
    words = [_BORDER, *tokenize_ptb(text).split(), _BORDER]
    return list(pairwise(words))
