"""What a fetch would do: the files of every source that are not there yet, their bytes, and the space they need."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mmrs.errors import RunFailure, UserError
from mmrs.fetch.archives.volumes import ARCHIVE_NAME
from mmrs.fetch.catalogue import DownloadPart, FileFacts, HubPart, SourceDownload, listed_files
from mmrs.fetch.record import FetchRecord
from mmrs.fetch.remote_file import RemoteFile
from mmrs.fetch.services.endpoints import Endpoints
from mmrs.fetch.services.hub import HubSilent, quiet_library
from mmrs.fetch.services.listing import list_part
from mmrs.storage.retry import Patience
from mmrs.text import bytes_text, shorten, table

_LISTERS = 8
# A service that does not answer is said, and the plan goes on.
LISTING_PATIENCE = Patience(tries=3)
_MOST_SHOWN_FILES = 40


@dataclass(frozen=True, slots=True)
class SourceRequest:
    """A source to be fetched. `variant` is empty where the source has none; the licence is that of its facts."""

    download: SourceDownload
    variant: str
    licence: str
    licence_evidence: str

    @property
    def name(self) -> str:
        return self.download.name

    @property
    def terms(self) -> str:
        """What is accepted: the licence, why it is thought to be that, and what the copy's page says."""
        copy = f"; the copy that is fetched: {self.download.terms}" if self.download.terms else ""
        return f"{self.licence} ({self.licence_evidence}){copy}"


@dataclass(frozen=True, slots=True)
class PartPlan:
    """One part. `files` are those still to be fetched, of all `names`.

    `fault` says why they are not known; `is_silent` where the service does not answer at all.
    """

    part: DownloadPart
    files: tuple[RemoteFile, ...] = ()
    names: tuple[str, ...] = ()
    is_there: bool = False
    fault: str = ""
    is_silent: bool = False


@dataclass(frozen=True, slots=True)
class SourcePlan:
    """One source, part by part."""

    request: SourceRequest
    parts: tuple[PartPlan, ...]

    @property
    def files(self) -> tuple[RemoteFile, ...]:
        return tuple(file for part in self.parts for file in part.files)

    @property
    def faults(self) -> tuple[str, ...]:
        return tuple(part.fault for part in self.parts if part.fault)

    @property
    def is_there(self) -> bool:
        """Whether nothing is left to fetch automatically."""
        return all(part.is_there for part in self.parts)


@dataclass(frozen=True, slots=True)
class FetchPlan:
    """All sources, for one data folder."""

    data: Path
    sources: tuple[SourcePlan, ...]

    @property
    def files(self) -> tuple[RemoteFile, ...]:
        return tuple(file for source in self.sources for file in source.files)

    @property
    def download_bytes(self) -> int:
        """Of the files whose size is known."""
        return sum(file.planned_bytes or 0 for file in self.files)

    def needed_bytes(self, keep_archives: bool, parallel: int) -> int:
        """Disk space that the fetch takes at its highest, as far as sizes are known.

        Archives of images come out about as large as they are. Those that are not kept lie beside what came out of
        them only while they are unpacked, `parallel` at a time.
        """
        archives = [file.planned_bytes or 0 for file in self.files if is_archive(file)]
        beside = sum(archives) if keep_archives else sum(heapq.nlargest(parallel, archives))
        return self.download_bytes + beside


def is_archive(file: RemoteFile) -> bool:
    """Whether a file is unpacked, by its name."""
    return file.unpack and ARCHIVE_NAME.fullmatch(file.name) is not None


def plan_fetch(
    requests: Sequence[SourceRequest],
    record: FetchRecord,
    endpoints: Endpoints,
    patience: Patience = LISTING_PATIENCE,
) -> FetchPlan:
    """Ask the services for the files that are not there yet. What cannot be listed is a fault of its part."""
    asked = [(request, part) for request in requests for part in request.download.chosen(request.variant)]

    def plan_part(position: int, silence: str = "") -> PartPlan:
        request, part = asked[position]
        if record.is_there(request.name, part):
            return PartPlan(part, is_there=True)
        if silence:
            return PartPlan(part, fault=silence, is_silent=True)
        return _listed(request, part, record, endpoints, patience)

    # Threads of huggingface_hub share one client, and take it from each other when a connection fails.
    of_hub = [position for position, (_, part) in enumerate(asked) if isinstance(part, HubPart)]
    others = [position for position, (_, part) in enumerate(asked) if not isinstance(part, HubPart)]
    with quiet_library(), ThreadPoolExecutor(_LISTERS) as pool:
        hub_plans = pool.submit(_one_after_the_other, plan_part, of_hub)
        plans = dict(zip(others, pool.map(plan_part, others), strict=True)) | hub_plans.result()
    by_source: dict[str, list[PartPlan]] = {request.name: [] for request in requests}
    for position, (request, _) in enumerate(asked):
        by_source[request.name].append(plans[position])
    return FetchPlan(record.data, tuple(SourcePlan(request, tuple(by_source[request.name])) for request in requests))


def _one_after_the_other(plan_part: Callable[[int, str], PartPlan], positions: Sequence[int]) -> dict[int, PartPlan]:
    plans: dict[int, PartPlan] = {}
    silence = ""
    for position in positions:
        plans[position] = plan_part(position, silence)
        silence = plans[position].fault if plans[position].is_silent else ""
    return plans


def _listed(
    request: SourceRequest, part: DownloadPart, record: FetchRecord, endpoints: Endpoints, patience: Patience
) -> PartPlan:
    try:
        files = list_part(part, endpoints, record.pins(request.name).revisions, patience)
    except (RunFailure, UserError) as error:
        return PartPlan(part, fault=str(error), is_silent=isinstance(error, HubSilent))
    missing = tuple(file for file in files if not record.holds(request.name, file.name))
    return PartPlan(part, missing, tuple(file.name for file in files), is_there=not missing)


def describe_fetch_plan(plan: FetchPlan, with_files: bool) -> str:
    """The plan as a table of sources, with the files of each where they are asked for, and what is done by hand."""
    rows = [_row(source) for source in plan.sources]
    lines = [table(("source", "kind", "to fetch", "bytes", "licence"), rows, "<<><<")]
    for source in plan.sources:
        name = source.request.name
        if with_files:
            lines += [f"{name}: {line}" for line in _file_lines(source)]
        lines.append(f"{name}: licence {source.request.terms}")
        lines += [f"{name}: note: {note}" for note in source.request.download.notes]
        lines += [f"{name}: fault: {fault}" for fault in source.faults]
        lines += _manual_lines(source, plan.data)
    lines.append(
        f"{len(plan.files)} files of {bytes_text(plan.download_bytes)} to fetch"
        + (", and some whose size is not known" if any(file.planned_bytes is None for file in plan.files) else "")
    )
    return "\n".join(lines)


def _row(source: SourcePlan) -> tuple[str, ...]:
    request = source.request
    name = f"{request.name} ({request.variant})" if request.variant else request.name
    licence = shorten(request.licence, 40)
    if not source.parts:
        return name, request.download.kind, "by hand", "", licence
    if source.is_there:
        return name, request.download.kind, "all there", "", licence
    # Of a part that could not be listed, what the catalogue says.
    of_catalogue = (file for part in source.parts if part.fault for file in listed_files(part.part))
    files: tuple[RemoteFile | FileFacts, ...] = (*source.files, *of_catalogue)
    sizes = [file.planned_bytes for file in files]
    known = [size for size in sizes if size is not None]
    size = bytes_text(sum(known)) + (" and more" if len(known) < len(sizes) else "") if known else "?"
    number = [f"{len(files)} files" if len(files) != 1 else "1 file"] if files else []
    return name, request.download.kind, ", ".join(number + ["not listed"] * bool(source.faults)), size, licence


def _file_lines(source: SourcePlan) -> list[str]:
    lines = []
    for file in source.files[:_MOST_SHOWN_FILES]:
        size = f"{file.size:,} bytes" if file.size is not None else "size not known"
        if file.size is None and file.about_bytes is not None:
            size = f"about {bytes_text(file.about_bytes)}"
        known = "git hashes of its files" if file.tree else ", ".join(sorted(file.digests)) or "pinned when it comes"
        lines.append(f"{file.name}, {size}, sum: {known}")
    for facts in (facts for part in source.parts if part.fault for facts in listed_files(part.part)):
        size = bytes_text(facts.planned_bytes) if facts.planned_bytes is not None else "size not known"
        known = " and ".join(key for key in ("md5", "sha256") if getattr(facts, key)) or "not known"
        lines.append(f"{facts.name}, {size}, sum: {known}, by the catalogue alone")
    if len(source.files) > _MOST_SHOWN_FILES:
        lines.append(f"... and {len(source.files) - _MOST_SHOWN_FILES} more files")
    return lines


def _manual_lines(source: SourcePlan, data: Path) -> list[str]:
    lines = []
    for step in source.request.download.manual:
        lines.append(f"{source.request.name}: by hand: {step.do}")
        lines.append(f"{source.request.name}:   from  {step.where}")
        lines.append(f"{source.request.name}:   files {', '.join(step.files)}")
        lines.append(f"{source.request.name}:   into  {data / source.request.name}; archives there are then unpacked")
    return lines
