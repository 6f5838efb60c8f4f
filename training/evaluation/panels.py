"""What a page shows of the answers to a task beside its scores, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Cell = str | int | float | None


@dataclass(frozen=True, slots=True)
class TablePanel:
    """Rows of values; shares in 0 to 1 of the columns named in `shares` get a bar."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    shares: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class MatrixPanel:
    """How often each row's class (true) was answered with each column's."""

    title: str
    true: Sequence[str]
    said: Sequence[str]
    counts: Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True)
class CalibrationPanel:
    """Bins of confidence: (mean confidence, share that is right, how many)."""

    title: str
    bins: Sequence[tuple[float, float, int]]


Panel = TablePanel | MatrixPanel | CalibrationPanel
