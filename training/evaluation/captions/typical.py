"""The caption that one would give without seeing the images: the reference that is nearest to all others."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from math import log, sqrt

from training.evaluation.captions.ptb import tokenize_ptb

_ORDER = 4
_Words = tuple[str, ...]


def most_typical_caption(references: Sequence[Sequence[str]]) -> str:
    """The reference with the greatest mean similarity to the references of all images, of equals the first by letters.

    Similarity is CIDEr's, but for its clipping and its penalty on length: the cosine of counts of one to four words in
    a row, weighed by how few images have them, mean over the four. The mean over all is then one product with the sum
    of the unit vectors, so that all references are compared in one pass; a scoring of each would take hours.
    """
    counts = {text: _counts(text) for several in references for text in several}
    images_with = Counter(words for several in references for words in {w for text in several for w in counts[text]})
    weights = {words: log(len(references) / images) for words, images in images_with.items()}
    vectors = {text: _unit_vectors(found, weights) for text, found in counts.items()}
    total: dict[_Words, float] = defaultdict(float)
    for several in references:
        for text in several:
            for words, value in vectors[text].items():
                total[words] += value / len(several)
    nearness = {text: sum(value * total[words] for words, value in vector.items()) for text, vector in vectors.items()}
    return min(nearness, key=lambda text: (-nearness[text], text))


def _counts(text: str) -> Counter[_Words]:
    words = tokenize_ptb(text).split()
    return Counter(
        tuple(words[start : start + order]) for order in range(1, _ORDER + 1) for start in range(len(words) - order + 1)
    )


def _unit_vectors(counts: Mapping[_Words, int], weights: Mapping[_Words, float]) -> dict[_Words, float]:
    """Weighed counts, those of each order with length 1; none where all words are in every image."""
    values = {words: count * weights[words] for words, count in counts.items()}
    squares = [0.0] * (_ORDER + 1)
    for words, value in values.items():
        squares[len(words)] += value * value
    return {words: value / sqrt(squares[len(words)]) for words, value in values.items() if squares[len(words)]}
