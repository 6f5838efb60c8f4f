"""Ingest: one pass over the archive, JSON rows kept byte for byte with their parsed content beside them.

Images stream by: their headers give the sizes that boxes need, their digests go into the list of files, and nothing of
them is written. ``release.json`` is written last, so a killed ingest leaves none and is simply run again.
"""

from __future__ import annotations

import hashlib
import io
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

import mmrs
from mmrs.errors import RunFailure, UserError
from mmrs.imaging.probe import FORMATS
from mmrs.imaging.suffixes import SOURCE_SUFFIXES
from mmrs.progress import Progress
from mmrs.release.archive import Entry, entries, find_origin
from mmrs.release.content import Content, Pair, Sizes, parse_row
from mmrs.release.json_lines import NoArray, RawRow, read_rows
from mmrs.release.names import is_aggregate, normal_path, place_of_file, place_of_image, tile_of
from mmrs.release.parts import Limits
from mmrs.release.store import FILES_NAME, FILES_SCHEMA, RELEASE_NAME, ROWS_SCHEMA, IgnoredFile, Release, StoredFile
from mmrs.storage.atomic import atomic_writer, file_sha256, is_temporary, remove_temporaries, write_atomic
from mmrs.storage.locks import whole_file_lock
from mmrs.text import bytes_text, not_writable, table

WORK_FOLDER = ".ingest"
STORED_FOLDERS = ("rows", "verbatim")
_HEAD_BYTES = 1 << 18
_BATCH_ROWS = 4096
_BATCH_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What was ingested, and where it lies."""

    folder: Path
    release: Release

    def render(self, as_json: bool) -> str:
        """Text for a person, or the content of ``release.json``."""
        release = self.release
        if as_json:
            return release.to_json().decode().rstrip()
        rows = [(file.path, file.family or "?", file.rows, file.pairs, file.bad_rows) for file in release.files]
        lines = [table(("file", "family", "rows", "pairs", "bad rows"), rows)]
        lines += [f"kept whole: {file.path}: {file.problem}" for file in release.files if file.problem]
        lines += [f"ignored: {file.path}: {file.reason}" for file in release.ignored]
        lines += [f"note: {note}" for note in release.notes]
        lines.append(f"{release.images:,} images ({bytes_text(release.image_bytes)}) seen, none kept")
        lines.append(f"next: `mmrs release audit {self.folder}`")
        return "\n".join(lines)


def ingest(source: Path, out: Path, progress: Progress, limits: Limits | None = None) -> IngestReport:
    """Ingest the release at `source` into the folder `out`.

    Args:
        source: a part, the folder of the parts, or a folder where the archive was unpacked.
        out: a new folder, or one that a killed ingest left.
        progress: where the reading stands.
        limits: see `Limits`; the usual ones by default.

    Raises:
        UserError: nothing to read, a missing part, or an `out` that holds something else.
        RunFailure: truncated, damaged or hostile archive.
    """
    origin = find_origin(source)
    limits = limits or Limits()
    with _workspace(out) as work:
        collected = _Collected(work, limits)
        with progress.stage("read", origin.total_bytes(), "bytes") as advance:
            for entry in entries(origin, limits, advance):
                collected.take(entry)
        if not collected.spooled:
            raise UserError(f"{source} has no JSON file under data/json; it is not the release's archive.")
        _refuse_files_as_folders(set(collected.spooled))
        stored = []
        with progress.stage("rows", len(collected.spooled), "files") as advance:
            for path, (spool, digest) in sorted(collected.spooled.items()):
                stored.append(_store(path, spool, digest, out, collected.sizes))
                advance(1)
        _write_files(out / FILES_NAME, collected.files)
        release = Release(
            tool_version=mmrs.__version__,
            origin=origin.kind,
            parts={path.name: path.stat().st_size for path in origin.paths} if origin.kind == "archive" else {},
            files=tuple(stored),
            ignored=tuple(sorted(collected.ignored, key=lambda file: file.path)),
            images=collected.images,
            image_bytes=collected.image_bytes,
            stored_sha256={name: file_sha256(out / name) for name in [FILES_NAME, *(file.stored for file in stored)]},
            notes=origin.notes,
        ).with_id()
        write_atomic(out / RELEASE_NAME, release.to_json())
    return IngestReport(out, release)


def _refuse_files_as_folders(paths: set[str]) -> None:
    for path in paths:
        folder = path.rpartition("/")[0]
        while folder:
            if folder in paths:
                raise RunFailure(f"member {folder!r} is a file and the folder of {path!r}; the archive is refused.")
            folder = folder.rpartition("/")[0]


class _Collected:
    """What one pass over the files leaves: JSON files on disk, image sizes, and the list of all files."""

    def __init__(self, work: Path, limits: Limits):
        self._work = work
        self._json_left = limits.json_bytes
        self.spooled: dict[str, tuple[Path, str]] = {}
        self.ignored: list[IgnoredFile] = []
        self.sizes: dict[str, tuple[int, int]] = {}
        self.files: list[tuple[str, int, str, int | None, int | None]] = []
        self.images = 0
        self.image_bytes = 0

    def take(self, entry: Entry) -> None:
        """Read one file to its end."""
        path, size = entry.path, None
        lower = path.casefold()
        digest = hashlib.sha256()
        if lower.endswith(".json") and "/json/" in f"/{lower}":
            self._take_json(entry, digest.update)
            if is_aggregate(path):
                reason = "repeats the rows of the other files; reading both would count them twice"
                self.ignored.append(IgnoredFile(path=path, bytes=entry.size, sha256=digest.hexdigest(), reason=reason))
            else:
                self.spooled[path] = (self._spool(), digest.hexdigest())
        else:
            head = bytearray()
            for data in entry.chunks():
                digest.update(data)
                if len(head) < _HEAD_BYTES:
                    head += data
            if lower.endswith(tuple(SOURCE_SUFFIXES)):
                self.images += 1
                self.image_bytes += entry.size
                size = image_size(bytes(head))
        if size is not None:
            self.sizes[path] = size
        self.files.append((path, entry.size, digest.hexdigest(), *(size or (None, None))))

    def _take_json(self, entry: Entry, update: Callable[[bytes], object]) -> None:
        if is_aggregate(entry.path):
            for data in entry.chunks():
                update(data)
            return
        self._json_left -= entry.size
        if self._json_left < 0:
            raise RunFailure(f"{entry.path}: the JSON files together pass the limit; that is no MMRS-1M.")
        with self._spool().open("wb") as file:
            for data in entry.chunks():
                update(data)
                file.write(data)

    def _spool(self) -> Path:
        # Numbered, so that no name of the archive becomes a path here.
        return self._work / f"{len(self.spooled):06d}.json"


def image_size(head: bytes) -> tuple[int, int] | None:
    """(width, height) in pixels by the first bytes of an image file, None where they do not tell."""
    try:
        with Image.open(io.BytesIO(head), formats=FORMATS) as image:
            return image.size if min(image.size) > 0 else None
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, Image.DecompressionBombError):
        return None


def _store(path: str, spool: Path, digest: str, out: Path, sizes: Sizes) -> StoredFile:
    place = place_of_file(path)
    counts: Counter[str] = Counter()
    size = spool.stat().st_size

    def lines(rows: Iterator[RawRow]) -> Iterator[dict[str, Any]]:
        for row in rows:
            if row.raw is None:
                yield {"before": row.before}
                continue
            content = parse_row(row.raw, place.family, sizes)
            counts.update(rows=1, pairs=len(content.pairs), bad_rows=content.problem is not None)
            yield _line(row, content, sizes)

    stored, problem = f"rows/{path}.parquet", None
    try:
        with spool.open("rb") as file, atomic_writer(out / stored) as target:
            _write_rows(lines(read_rows(file)), target)
    except NoArray as error:
        counts.clear()
        stored, problem = f"verbatim/{path}", str(error)
        with spool.open("rb") as file, atomic_writer(out / stored) as target:
            shutil.copyfileobj(file, target)
    spool.unlink()
    return StoredFile(
        path=path,
        family=place.family,
        bytes=size,
        sha256=digest,
        rows=counts["rows"],
        pairs=counts["pairs"],
        bad_rows=counts["bad_rows"],
        stored=stored,
        problem=problem,
    )


def _line(row: RawRow, content: Content, sizes: Sizes) -> dict[str, Any]:
    line: dict[str, Any] = {"before": row.before, "raw": row.raw, "problem": content.problem}
    if content.extra_keys and content.problem is None:
        line["problem"] = f"unexpected keys: {', '.join(content.extra_keys)}"
    if content.image is not None:
        place, tile = place_of_image(content.image), tile_of(content.image)
        width, height = sizes.get(normal_path(content.image), (None, None))
        line |= {"image": content.image, "source": place.source, "sensor": place.sensor}
        line |= {"width": width, "height": height}
        line["tile"] = None if tile is None else {name: getattr(tile, name) for name in tile.__slots__}
    line["pairs"] = [_plain(pair) for pair in content.pairs]
    return line


def _plain(pair: Pair) -> dict[str, Any]:
    groups = [{name: getattr(group, name) for name in group.__slots__} for group in pair.groups]
    return {"task": pair.task, "prompt": pair.prompt, "answer": pair.answer, "groups": groups}


def _write_rows(lines: Iterator[dict[str, Any]], target: Any) -> None:
    with pq.ParquetWriter(target, ROWS_SCHEMA, compression="zstd") as writer:
        batch: list[dict[str, Any]] = []
        waiting = 0
        for line in lines:
            batch.append(line)
            waiting += len(line.get("raw") or b"")
            if len(batch) >= _BATCH_ROWS or waiting >= _BATCH_BYTES:
                writer.write_table(pa.Table.from_pylist(batch, schema=ROWS_SCHEMA))
                batch, waiting = [], 0
        if batch:
            writer.write_table(pa.Table.from_pylist(batch, schema=ROWS_SCHEMA))


def _write_files(path: Path, files: list[tuple[str, int, str, int | None, int | None]]) -> None:
    columns = zip(*sorted(files), strict=True)
    arrays = [pa.array(list(column), field.type) for column, field in zip(columns, FILES_SCHEMA, strict=True)]
    with atomic_writer(path) as file:
        pq.write_table(pa.Table.from_arrays(arrays, schema=FILES_SCHEMA), file, compression="zstd")


def _entries(out: Path) -> list[Path]:
    """What lies in `out`, without temporary files of a killed ingest; a link there is no work of ours."""
    links = [path for path in out.iterdir() if path.is_symlink()]
    if links:
        raise UserError(f"{links[0]} is a symbolic link; choose another --out.")
    return [path for path in out.iterdir() if not is_temporary(path.name)]


@contextmanager
def _workspace(out: Path) -> Iterator[Path]:
    """The empty work folder of an ingest into `out`, locked while in use and removed afterwards."""
    work = out / WORK_FOLDER
    if (out / RELEASE_NAME).exists():
        raise UserError(f"{out} already holds an ingest; choose another --out, or delete it first.")
    # A killed ingest leaves its work folder, and beside it only what the next one writes again.
    allowed = {WORK_FOLDER, FILES_NAME, *STORED_FOLDERS} if work.is_dir() else set()
    if out.exists() and (not out.is_dir() or any(path.name not in allowed for path in _entries(out))):
        raise UserError(f"{out} is not empty; choose another --out.")
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(not_writable(out, error)) from error
    with ExitStack() as held:
        try:
            # whole-file lock: two ingests of one process exclude each other, too
            held.enter_context(whole_file_lock(work / "lock"))
        except BlockingIOError as error:
            raise UserError(f"another `mmrs release ingest` is writing to {out}; wait for it.") from error
        except OSError as error:
            raise UserError(not_writable(out, error)) from error
        # A killed ingest, perhaps of another archive, may have left files.
        remove_temporaries(out)
        for name in STORED_FOLDERS:
            shutil.rmtree(out / name, ignore_errors=True)
        spool = work / "spool"
        shutil.rmtree(spool, ignore_errors=True)
        spool.mkdir()
        yield spool
        shutil.rmtree(work)
