"""Compare: how far a data set that was rebuilt from its sources agrees with an ingested release, source by source.

Images are matched by source and normalised name, pairs within an image by task and text: first exactly, then in
`plain_text`, where wording that carries no content is equal. Of each side, what is left over is counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pyarrow.compute as pc

from mmrs.record import Record
from mmrs.release.names import normal, normal_path, tile_of
from mmrs.release.store import Release, StoredFile, load_release, release_files, stored_rows
from mmrs.shards.reader import ShardSet
from mmrs.text import shorten, table

Pairs = Counter[tuple[str, str, str]]
_SHOWN = 3
# What may stand before a mark is only looked at from its own start: a long run is gone through once.
_NUMBER = re.compile(r"(?:(?<!\d)\d+)?\.\d+")
_MARK = re.compile(r"(?:(?<!\s)\s+)?([\[\],;:.?!])\s*")
_TAIL = " answer the question using a single word or phrase"


@dataclass(slots=True)
class Agreement:
    """How one task of one source agrees. Pairs are counted on matched images only; the rest is `*_unmatched`."""

    exact: int = 0
    normalised: int = 0
    only_release: int = 0
    only_rebuilt: int = 0
    release_unmatched: int = 0
    rebuilt_unmatched: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def share(self) -> float | None:
        """Share of the release's pairs on matched images that the rebuild has, exactly or normalised."""
        total = self.exact + self.normalised + self.only_release
        return (self.exact + self.normalised) / total if total else None


@dataclass(slots=True)
class SourceComparison:
    """One source: images on either side, and the agreement by task. `same_bytes` images are identical files."""

    source: str
    images_both: int = 0
    images_only_release: int = 0
    images_only_rebuilt: int = 0
    same_bytes: int = 0
    tasks: dict[str, Agreement] = field(default_factory=dict)

    def task(self, name: str) -> Agreement:
        return self.tasks.setdefault(name, Agreement())


@dataclass(frozen=True, slots=True)
class CompareReport:
    """Every source of the release or of the rebuild, sorted by name."""

    sources: tuple[SourceComparison, ...]
    notes: tuple[str, ...] = ()

    def render(self, as_json: bool) -> str:
        """Text for a person, or JSON with everything."""
        if as_json:
            return orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode()
        images = [
            (one.source, one.images_both, one.same_bytes, one.images_only_release, one.images_only_rebuilt)
            for one in self.sources
        ]
        lines = [table(("source", "images in both", "same bytes", "only in release", "only in rebuild"), images), ""]
        rows = [
            (one.source, task, part.exact, part.normalised, part.only_release, part.only_rebuilt, _percent(part.share))
            for one in self.sources
            for task, part in sorted(one.tasks.items())
        ]
        columns = ("source", "task", "equal", "equal normalised", "only in release", "only in rebuild", "agreement")
        lines += ["pairs on images that both have", table(columns, rows)]
        for one in self.sources:
            for task, part in sorted(one.tasks.items()):
                lines += [f"{one.source} {task}: {example}" for example in part.examples]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def compare_release(ingested: Path, dataset: Path | str) -> CompareReport:
    """Compare an ingested release with a finished data set, in a folder or at a URL; one source is in memory at a time.

    Raises:
        UserError: `ingested` is no finished ingest, or `dataset` no finished data set.
    """
    release = load_release(ingested)
    shards = ShardSet(dataset)
    rebuilt = {normal(name): name for name in shards.manifest.sources}
    files = _files_by_source(ingested, release)
    released = {normal(name): name for name in files}
    digests = _digests(ingested)
    sources = []
    for key in sorted(rebuilt.keys() | released.keys()):
        left = _released(ingested, files[released[key]], released[key]) if key in released else {}
        right, names, shas = _rebuilt(shards, rebuilt[key]) if key in rebuilt else ({}, {}, {})
        one = _compare_source(released.get(key) or rebuilt[key], left, right, names)
        one.same_bytes = sum(
            bool(digests.get(path)) and digests[path] == shas[_match(name, right, names)]  # type: ignore[index]
            for name, (path, _) in left.items()
            if _match(name, right, names) is not None
        )
        sources.append(one)
    shards.close()
    notes = ["a rebuild is never byte-identical: the release's prompts, splits and tile sizes are only partly known"]
    missing = [released[key] for key in sorted(released.keys() - rebuilt.keys())]
    if missing:
        notes.append(f"not in the rebuild: {', '.join(missing)}")
    return CompareReport(tuple(sources), tuple(notes))


def image_name(path: str) -> str:
    """The name under which images are matched: the file's stem without case; a tile of rate 1 as ``name__x___y``."""
    tile = tile_of(path)
    if tile is not None:
        scale = "" if float(tile.rate) == 1 else f"__{tile.rate}"
        return f"{tile.parent}{scale}__{tile.left}___{tile.up}".casefold()
    return normal_path(path).rsplit("/", 1)[-1].rsplit(".", 1)[0].casefold()


def plain_text(text: str) -> str:
    """Text without what carries no content: case, spacing, closing stop, ``<p>`` tags, VQA tail, third decimal."""
    text = text.casefold().replace("<p>", "").replace("</p>", "").replace("an one-sentence", "a one-sentence")
    text = " ".join(text.replace("_", " ").split()).rstrip(" .").removesuffix(_TAIL)
    text = _NUMBER.sub(lambda match: f"{round(float(match[0]), 2):.2f}", text)
    return _MARK.sub(r"\1", text).rstrip(".?")


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _files_by_source(ingested: Path, release: Release) -> dict[str, list[StoredFile]]:
    files: dict[str, list[StoredFile]] = {}
    for file in release.files:
        for source in {line["source"] for line in stored_rows(ingested, file, ["source"]) if line["source"]}:
            files.setdefault(source, []).append(file)
    return files


def _digests(ingested: Path) -> dict[str, str]:
    files = release_files(ingested)
    images = files.filter(pc.is_valid(files["width"]))
    return dict(zip(images["path"].to_pylist(), images["sha256"].to_pylist(), strict=True))


def _released(ingested: Path, files: list[StoredFile], source: str) -> dict[str, tuple[str, Pairs]]:
    """Image name -> (path, pairs) of one source. Copies of an image in several folders are one image."""
    images: dict[str, tuple[str, Pairs]] = {}
    for file in files:
        for line in stored_rows(ingested, file, ["image", "source", "pairs"]):
            if line["source"] == source:
                path = normal_path(line["image"])
                pairs = images.setdefault(image_name(path), (path, Counter()))[1]
                pairs.update((pair["task"], pair["prompt"], pair["answer"]) for pair in line["pairs"] or ())
    return images


def _rebuilt(shards: ShardSet, source: str) -> tuple[dict[str, Pairs], dict[str, str], dict[str, str]]:
    """Image name -> pairs of one source, other names of the same images -> image name, image name -> sha256."""
    images: dict[str, Pairs] = {}
    names: dict[str, str] = {}
    shas: dict[str, str] = {}
    for record in _records(shards, source):
        stem = record.id.split("/", 2)[2]
        # The stem has no suffix, and what follows a dot in it is no suffix either.
        name = image_name(f"{stem}.x")
        pairs = images.setdefault(name, Counter())
        shas[name] = record.image.sha256
        if record.image.window is None and record.provenance.original_id:
            names.setdefault(image_name(record.provenance.original_id), name)
        for dialogue in record.dialogues:
            texts = [turn.value for turn in dialogue.turns]
            pairs.update((dialogue.task, *pair) for pair in zip(texts[::2], texts[1::2], strict=True))
    return images, names, shas


def _records(shards: ShardSet, source: str) -> Iterator[Record]:
    for split in sorted({shard.split for shard in shards.manifest.shards if shard.source == source}):
        rows: list[dict[str, Any]] = shards.table(split, (source,)).to_pylist()
        for row in rows:
            yield shards.record(row)


def _match(name: str, right: dict[str, Pairs], names: dict[str, str]) -> str | None:
    return name if name in right else names.get(name)


def _compare_source(
    source: str, left: dict[str, tuple[str, Pairs]], right: dict[str, Pairs], names: dict[str, str]
) -> SourceComparison:
    one = SourceComparison(source)
    matched: set[str] = set()
    for name, (path, pairs) in left.items():
        other = _match(name, right, names)
        if other is None:
            one.images_only_release += 1
            for (task, _, _), count in pairs.items():
                one.task(task).release_unmatched += count
            continue
        one.images_both += 1
        matched.add(other)
        _compare_pairs(one, path, pairs, right[other])
    for name in right.keys() - matched:
        one.images_only_rebuilt += 1
        for (task, _, _), count in right[name].items():
            one.task(task).rebuilt_unmatched += count
    return one


def _compare_pairs(one: SourceComparison, path: str, left: Pairs, right: Pairs) -> None:
    for (task, _, _), count in (left & right).items():
        one.task(task).exact += count
    rest_left, rest_right = _normalised(left - right), _normalised(right - left)
    for (task, _, _), count in (rest_left & rest_right).items():
        one.task(task).normalised += count
    for side, pairs in (("only_release", rest_left - rest_right), ("only_rebuilt", rest_right - rest_left)):
        for (task, prompt, answer), count in pairs.items():
            part = one.task(task)
            setattr(part, side, getattr(part, side) + count)
            if side == "only_release" and len(part.examples) < _SHOWN:
                part.examples.append(f"{shorten(path, 200)}: only in the release: {prompt[:100]!r} {answer[:100]!r}")


def _normalised(pairs: Pairs) -> Pairs:
    plain: Pairs = Counter()
    for (task, prompt, answer), count in pairs.items():
        plain[task, plain_text(prompt), plain_text(answer)] += count
    return plain
