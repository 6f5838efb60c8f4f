"""What a data folder knows of its fetches: whose terms were accepted, the sums of first fetches, what lies where.

``DATA/mmrs-fetch.lock.json`` has the sum of every file at its first fetch, and the revision of every repository that
the catalogue does not pin; it is made to be kept and shared, for whoever fetches with it gets the same bytes or an
error. ``DATA/.mmrs-fetch/`` is of this folder alone: a record per source, written last of all, by which a second run
finds that there is nothing to do, and files on their way.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import orjson
from pydantic import BaseModel, Field, ValidationError

from mmrs.config import StrictModel
from mmrs.errors import UserError
from mmrs.fetch.catalogue import DownloadPart
from mmrs.fetch.placing import PlacedFile, holds_all
from mmrs.record import canonical_json
from mmrs.storage.atomic import remove_temporaries, write_atomic
from mmrs.storage.locks import whole_file_lock
from mmrs.storage.plain_files import read_plain_file
from mmrs.text import not_writable, removal

LOCK_FILE = "mmrs-fetch.lock.json"
FETCH_STATE_FOLDER = ".mmrs-fetch"
KEPT_FOLDER = "mmrs-archives"
Model = TypeVar("Model", bound=BaseModel)


class Pin(StrictModel):
    """A file at its first fetch."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0)
    first_fetched: str


class SourcePins(StrictModel):
    """Pins by file name, and revisions by part (`mmrs.fetch.services.listing.part_name`)."""

    revisions: dict[str, str] = Field(default_factory=dict)
    files: dict[str, Pin] = Field(default_factory=dict)


class LockFile(StrictModel):
    """The content of `LOCK_FILE`."""

    sources: dict[str, SourcePins] = Field(default_factory=dict)


class FileRecord(StrictModel):
    """A file that came whole, and the files that it became."""

    sha256: str
    size: int
    placed: tuple[tuple[str, int], ...]


class SourceRecord(StrictModel):
    """What was fetched of a source: digest of each part of the catalogue -> its files."""

    parts: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    files: dict[str, FileRecord] = Field(default_factory=dict)


class AcceptedTerms(StrictModel):
    """Source -> the terms that were shown when they were accepted."""

    sources: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FetchRecord:
    """The record of one data folder. Its methods may be called by several threads."""

    data: Path
    _guard: threading.Lock = field(default_factory=threading.Lock)

    @property
    def state(self) -> Path:
        return self.data / FETCH_STATE_FOLDER

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder for one fetch, and remove what killed ones left.

        Raises:
            UserError: another fetch holds it, or nothing can be written there.
        """
        try:
            self.state.mkdir(parents=True, exist_ok=True)
            if self.state.is_symlink():
                raise UserError(f"{self.state} is a symbolic link; what is fetched must lie there: remove it.")
            # whole-file lock: threads share it with the process
            with whole_file_lock(self.state / "lock"):
                remove_temporaries(self.state)
                yield
        except BlockingIOError as error:
            raise UserError(f"another `mmrs fetch` is writing to {self.data}; wait for it.") from error
        except PermissionError as error:
            raise UserError(not_writable(self.data, error)) from error

    def download_path(self, source: str, name: str) -> Path:
        """Where a file of a source lies until it is placed; its own for each name."""
        digest = hashlib.sha256(name.encode()).hexdigest()[:12]
        return self.state / "downloads" / source / f"{digest}-{name.rpartition('/')[2][-100:]}"

    def kept_path(self, source: str, name: str) -> Path:
        """Where an archive lies that is kept: outside of the source's folder, which converters look through."""
        return self.data / KEPT_FOLDER / source / name

    def accepted(self) -> Mapping[str, str]:
        return self._read("accepted.json", AcceptedTerms).sources

    def accept(self, terms: Mapping[str, str]) -> None:
        """Remember that the user took these terms, by source."""
        with self._guard:
            self._write("accepted.json", AcceptedTerms(sources={**self.accepted(), **terms}))

    def pins(self, source: str) -> SourcePins:
        return self._locked().sources.get(source, SourcePins())

    def pin(self, source: str, name: str, sha256: str, size: int) -> None:
        """Keep the sum of a file at its first fetch."""
        with self._guard:
            known = self.pins(source)
            if name not in known.files:
                fetched = datetime.now(UTC).strftime("%Y-%m-%d")
                files = known.files | {name: Pin(sha256=sha256, size=size, first_fetched=fetched)}
                self._write_pins(source, SourcePins(revisions=known.revisions, files=files))

    def pin_revision(self, source: str, part: str, revision: str) -> None:
        """Keep the revision that a part was first fetched at."""
        with self._guard:
            known = self.pins(source)
            if revision and part not in known.revisions:
                revisions = known.revisions | {part: revision}
                self._write_pins(source, SourcePins(revisions=revisions, files=known.files))

    def source(self, name: str) -> SourceRecord:
        return self._read(f"sources/{name}.json", SourceRecord)

    def is_there(self, source: str, part: DownloadPart) -> bool:
        """Whether all files of a part were fetched and lie where they were placed."""
        record = self.source(source)
        files = record.parts.get(part_digest(part))
        return files is not None and all(self._holds(source, record, name) for name in files)

    def holds(self, source: str, name: str) -> bool:
        """Whether a file was fetched and lies where it was placed."""
        return self._holds(source, self.source(source), name)

    def add_file(self, source: str, name: str, sha256: str, size: int, placed: tuple[PlacedFile, ...]) -> None:
        """Note a file that was fetched and placed."""
        with self._guard:
            known = self.source(source)
            files = known.files | {name: FileRecord(sha256=sha256, size=size, placed=placed)}
            self._write(f"sources/{source}.json", SourceRecord(parts=known.parts, files=files))

    def add_part(self, source: str, part: DownloadPart, names: tuple[str, ...]) -> None:
        """Note that a part has these files."""
        with self._guard:
            known = self.source(source)
            parts = known.parts | {part_digest(part): names}
            self._write(f"sources/{source}.json", SourceRecord(parts=parts, files=known.files))

    def _holds(self, source: str, record: SourceRecord, name: str) -> bool:
        file = record.files.get(name)
        return file is not None and holds_all(self.data / source, file.placed)

    def _locked(self) -> LockFile:
        return _parsed(self.data / LOCK_FILE, LockFile)

    def _write_pins(self, source: str, pins: SourcePins) -> None:
        content = LockFile(sources={**self._locked().sources, source: pins}).model_dump(mode="json")
        options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
        write_atomic(self.data / LOCK_FILE, orjson.dumps(content, option=options))

    def _read(self, name: str, model: type[Model]) -> Model:
        return _parsed(self.state / name, model)

    def _write(self, name: str, content: BaseModel) -> None:
        write_atomic(self.state / name, canonical_json(content.model_dump(mode="json")))


def part_digest(part: DownloadPart) -> str:
    """sha256 of what the catalogue says of a part."""
    return hashlib.sha256(canonical_json(part.model_dump(mode="json"))).hexdigest()


def _parsed(path: Path, model: type[Model]) -> Model:
    try:
        return model.model_validate(orjson.loads(read_plain_file(path)))
    except FileNotFoundError:
        return model()
    except (OSError, orjson.JSONDecodeError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} cannot be read ({reason}); mend it, or begin it anew with {removal(path)}") from error
