"""Export: the JSON files of an ingested release again, byte for byte, checked against their digests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mmrs.errors import RunFailure, UserError
from mmrs.release.store import StoredFile, load_release, stored_rows
from mmrs.storage.atomic import atomic_folder
from mmrs.storage.plain_files import plain_member_path
from mmrs.text import bytes_text


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was written: `files` and their `bytes` in all."""

    folder: Path
    files: int
    bytes: int

    def render(self) -> str:
        """One line for a person."""
        return f"{self.files} JSON files, {bytes_text(self.bytes)}, written to {self.folder}; all digests agree"


def export_release(ingested: Path, out: Path) -> ExportReport:
    """Write every JSON file of the ingest under `out`, at its path in the archive. Ignored files are not written.

    Raises:
        UserError: `ingested` is no finished ingest, or `out` is not empty.
        RunFailure: a file whose bytes are not those that were ingested; nothing is left at `out` then.
    """
    release = load_release(ingested)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is not an empty folder; choose another --out.")
    with atomic_folder(out) as folder:
        for file in release.files:
            target = folder / plain_member_path(file.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            digest = hashlib.sha256()
            with target.open("wb") as written:
                for data in file_bytes(ingested, file):
                    digest.update(data)
                    written.write(data)
            if digest.hexdigest() != file.sha256:
                raise RunFailure(
                    f"{ingested / file.stored} was damaged after the ingest: the bytes of {file.path} are not those "
                    "that were read. Ingest the archive again."
                )
    return ExportReport(out, len(release.files), sum(file.bytes for file in release.files))


def file_bytes(ingested: Path, file: StoredFile) -> Iterator[bytes]:
    """The exact bytes of one JSON file in pieces."""
    if file.problem is not None:
        try:
            yield (ingested / plain_member_path(file.stored)).read_bytes()
        except OSError as error:
            raise RunFailure(f"{ingested / file.stored} cannot be read: {error}. Ingest the archive again.") from error
        return
    for line in stored_rows(ingested, file, ["before", "raw"]):
        yield line["before"]
        if line["raw"] is not None:
            yield line["raw"]
