"""Which images are shown, and in which order: a query as the address of the page has it, and the rows that it finds."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field, ValidationError

from mmrs.config import StrictModel
from mmrs.errors import UserError
from mmrs.viewer.answers import AnswerTable
from mmrs.viewer.catalogue import Catalogue, RowMask
from mmrs.viewer.contents import Contents, ContentsReader

Order = Literal["stored", "objects", "size", "score", "best"]
ANY = "any"
_WORDS = ("source", "split", "sensor", "task", "class", "reencoded")
_REMEMBERED = 8
_MOST_LETTERS = 500


class ViewQuery(StrictModel):
    """Every field narrows what is shown; lists are alternatives.

    `text` are words that all stand in the id or in captions, questions, answers and expressions. Sizes are those of an
    object of the image, as the square root of its area in pixels. `curation` is ``group``, ``leak`` or ``fault``;
    `quarantine` a part of a reason, or ``any``; `failure` a reason, ``any``, or ``none``: it could be read.
    """

    source: tuple[str, ...] = ()
    split: tuple[str, ...] = ()
    sensor: tuple[str, ...] = ()
    task: tuple[str, ...] = ()
    class_: tuple[str, ...] = Field(default=(), alias="class")
    reencoded: tuple[str, ...] = ()
    text: str = Field(default="", max_length=_MOST_LETTERS)
    objects_from: int | None = None
    objects_to: int | None = None
    size_from: float | None = None
    size_to: float | None = None
    quarantine: str = Field(default="", max_length=_MOST_LETTERS)
    curation: tuple[Literal["group", "leak", "fault"], ...] = ()
    group_of: str = ""
    excluded: bool = False
    failure: tuple[str, ...] = ()
    score_from: float | None = None
    score_to: float | None = None
    order: Order = "stored"

    @property
    def needs_contents(self) -> bool:
        """Whether records must have been read."""
        return bool(self.text.strip()) or self.size_from is not None or self.size_to is not None


def parse_query(values: Mapping[str, list[str]]) -> ViewQuery:
    """A query from the parameters of an address, each of which may stand several times.

    Raises:
        UserError: a parameter that is none, or a value that is none of its values.
    """
    fields = {field.alias or name: field for name, field in ViewQuery.model_fields.items()}
    taken: dict[str, Any] = {}
    for name, several in values.items():
        field = fields.get(name)
        if field is not None and str(field.annotation).startswith("tuple"):
            taken[name] = tuple(several)
        else:
            taken[name] = several[-1]
    try:
        return ViewQuery.model_validate(taken)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise UserError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


@dataclass(frozen=True)
class FoundRows:
    """Rows in the order in which they are shown; `read` of `total` shards were searched for texts and sizes."""

    rows: npt.NDArray[np.uint32]
    read: int
    total: int
    failure: str = ""


class Finder:
    """Answers queries; the last ones are remembered. Threads may share it.

    Args:
        catalogue: the images.
        contents: of their records.
        answers: of a model, or none.
        excluded: ids that are on the list now.
    """

    def __init__(
        self, catalogue: Catalogue, contents: ContentsReader, answers: AnswerTable | None, excluded: Mapping[str, str]
    ):
        self._catalogue, self._contents, self._answers, self._excluded = catalogue, contents, answers, excluded
        self._known: OrderedDict[str, FoundRows] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, query: ViewQuery) -> FoundRows:
        """The rows of a query."""
        contents = self._contents.contents() if query.needs_contents else None
        state = (contents.read, contents.failure) if contents else ()
        key = f"{query.model_dump_json()} {state} {hash(tuple(self._excluded)) if query.excluded else ''}"
        known = self._known.get(key)
        if known is None:
            rows = self._ordered(np.flatnonzero(self._mask(query, contents)), query.order)
            read, total, failure = (contents.read, contents.total, contents.failure) if contents else (0, 0, "")
            known = FoundRows(rows.astype(np.uint32), read, total, failure)
            with self._lock:
                self._known[key] = known
                while len(self._known) > _REMEMBERED:
                    self._known.popitem(last=False)
        return known

    def _mask(self, query: ViewQuery, contents: Contents | None) -> RowMask:
        catalogue, total = self._catalogue, len(self._catalogue)
        mask = np.ones(total, bool)
        for name in _WORDS:
            wanted = getattr(query, "class_" if name == "class" else name)
            if wanted:
                column = catalogue.words[name]
                mask &= column.rows_with(column.words if ANY in wanted else wanted, total)
        objects = catalogue.frame["objects"].to_numpy()
        mask &= _between(objects, query.objects_from, query.objects_to)
        if contents is not None:
            mask &= _with_contents(catalogue.frame["id"], contents, query)
        for rows in self._row_sets(query):
            mask &= rows
        return mask

    def _row_sets(self, query: ViewQuery) -> list[RowMask]:
        findings = self._catalogue.findings
        sets: list[list[int]] = []
        if query.quarantine:
            wanted = "" if query.quarantine == ANY else query.quarantine.lower()
            sets.append(
                [
                    row
                    for row, entries in findings.quarantine.items()
                    if any(wanted in str(entry.get("reason", "")).lower() for entry in entries)
                ]
            )
        if query.curation:
            kinds: dict[str, Mapping[int, Any]] = {
                "group": findings.group,
                "leak": findings.leaks,
                "fault": findings.faults,
            }
            sets.append([row for kind in query.curation for row in kinds[kind]])
        if query.group_of:
            row = self._catalogue.number_of(query.group_of)
            group = findings.group.get(row) if row is not None else None
            sets.append(findings.groups[group] if group is not None else [])
        if query.excluded:
            sets.append(list(self._catalogue.rows_of(self._excluded).values()))
        if query.failure or query.score_from is not None or query.score_to is not None:
            found = self._answers.rows_with(query.failure, query.score_from, query.score_to) if self._answers else []
            sets.append(found)
        return [self._as_mask(rows) for rows in sets]

    def _as_mask(self, rows: list[int]) -> RowMask:
        mask = np.zeros(len(self._catalogue), bool)
        mask[rows] = True
        return mask

    def _ordered(self, rows: npt.NDArray[np.intp], order: Order) -> npt.NDArray[np.intp]:
        frame = self._catalogue.frame
        if order == "objects":
            return rows[np.argsort(-frame["objects"].to_numpy()[rows], kind="stable")]
        if order == "size":
            pixels = frame["width"].cast(pl.Int64).to_numpy()[rows] * frame["height"].to_numpy()[rows]
            return rows[np.argsort(-pixels, kind="stable")]
        if order in ("score", "best") and self._answers is not None:
            score = self._answers.scores(len(self._catalogue))[rows]
            return rows[
                np.argsort(np.where(np.isnan(score), np.inf, score if order == "score" else -score), kind="stable")
            ]
        return rows


def _between(values: npt.NDArray[Any], least: float | None, most: float | None) -> RowMask:
    mask = np.ones(len(values), bool)
    if least is not None:
        mask &= values >= least
    if most is not None:
        mask &= values <= most
    return mask


def _with_contents(ids: pl.Series, contents: Contents, query: ViewQuery) -> RowMask:
    mask = np.ones(len(ids), bool)
    for word in query.text.lower().split():
        frame = pl.select(
            found=pl.lit(contents.texts).str.contains(word, literal=True).fill_null(False)
            | pl.lit(ids).str.to_lowercase().str.contains(word, literal=True)
        )
        mask &= frame["found"].to_numpy()
    if query.size_from is not None or query.size_to is not None:
        fitting = _between(contents.object_side, query.size_from, query.size_to)
        shown = np.zeros(len(ids), bool)
        shown[contents.object_row[fitting]] = True
        mask &= shown
    return mask
