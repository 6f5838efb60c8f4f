"""Ratios, sums by image, and intervals by the bootstrap over images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

_RESAMPLES = 1000
# Bounds the memory of one round of draws, in numbers of 8 bytes.
_DRAWN_AT_ONCE = 4_000_000


def ratio(counts: npt.ArrayLike) -> float:
    """Sum of the first column of ``(N, 2)`` rows over that of the second: right answers over questions."""
    right, of = np.asarray(counts, dtype=np.float64).reshape(-1, 2).sum(axis=0)
    return float(right / of) if of else 0.0


def sum_by_image(images: Sequence[str], rows: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Rows of questions ``(Q, K)`` added up by image, in order of first appearance: ``(images, K)``."""
    number = {image: position for position, image in enumerate(dict.fromkeys(images))}
    values = np.asarray(rows, dtype=np.float64).reshape(len(images), -1)
    sums = np.zeros((len(number), values.shape[1]))
    np.add.at(sums, [number[image] for image in images], values)
    return sums


def bootstrap_interval(
    rows: npt.ArrayLike, score: Callable[[npt.NDArray[np.float64]], float | None], seed: int = 0
) -> tuple[float, float] | None:
    """95 % interval of ``score(rows)`` when images are drawn with replacement.

    Args:
        rows: ``(images, K)``, what each image adds.
        score: a function of the rows' sums alone; it is given one row that is the sum of a draw's images. None where
            the score of a draw is undefined: such draws are left out.

    Returns:
        None where no draw has a score.
    """
    values = np.asarray(rows, dtype=np.float64)
    values = values.reshape(len(values), -1)
    # How often each of the different rows is drawn is multinomial: the same draws as of the images one by one, at the
    # cost of the different rows. A million right or wrong answers have few.
    different, counts = np.unique(values, axis=0, return_counts=True)
    generator = np.random.default_rng(seed)
    at_once = max(1, _DRAWN_AT_ONCE // len(different))
    defined: list[float] = []
    for start in range(0, _RESAMPLES, at_once):
        draws = min(at_once, _RESAMPLES - start)
        sums = generator.multinomial(len(values), counts / len(values), size=draws) @ different
        scores = [score(row[None, :]) for row in sums]
        defined += [value for value in scores if value is not None]
    return percentile_interval(defined)


def image_draws(images: int, seed: int = 0) -> Iterator[npt.NDArray[np.int64]]:
    """How often each image is drawn ``(images,)``, for each draw of a bootstrap: for scores that no sums give."""
    generator = np.random.default_rng(seed)
    shares = np.full(images, 1 / images)
    for _ in range(_RESAMPLES):
        yield generator.multinomial(images, shares)


def percentile_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The middle 95 % of the values; None where there are none."""
    if not len(values):
        return None
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
