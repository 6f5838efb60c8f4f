"""What is known of where a source can be downloaded, as it stands in YAML: services, files, sums, licences' tags.

Three kinds. *checksummed*: a sum of every file is known beforehand, by the catalogue or by a commit's own hashes.
*automatic*: sums are not; those of the first fetch are pinned (`mmrs.fetch.record`). *manual*: something has to be
fetched by hand, and the catalogue says what, where and which files. Nothing here asks a network.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from mmrs.config import StrictModel, load_shipped_rows
from mmrs.errors import RunFailure
from mmrs.record import Text
from mmrs.storage.plain_files import plain_member_path


def _relative(path: str) -> str:
    try:
        return plain_member_path(path)
    except RunFailure as error:
        raise ValueError(str(error)) from error


RelativePath = Annotated[str, AfterValidator(_relative)]
FolderPath = Annotated[str, AfterValidator(lambda path: _relative(path) if path else path)]
RepositoryName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*$")]
Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{7,40}$")]
HostName = Annotated[str, Field(pattern=r"^(\*\.)?[a-z0-9.-]+$")]


class FileFacts(StrictModel):
    """One file at its service.

    Args:
        name: at the service, with its folders.
        to: below the source's folder: the folder that an archive is unpacked into, or the path of any other file
            (default: the folder itself, and `name`).
        size: in bytes, exactly.
        about_bytes: where only this is known; for the plan alone.
        md5, sha256: as published.
        unpack: whether an archive is unpacked.
    """

    name: RelativePath
    to: FolderPath = ""
    size: int | None = Field(default=None, ge=0)
    about_bytes: int | None = Field(default=None, ge=0)
    md5: str | None = Field(default=None, pattern=r"^[0-9a-f]{32}$")
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    unpack: bool = True

    @property
    def planned_bytes(self) -> int | None:
        """Size in bytes, exact where it is known."""
        return self.size if self.size is not None else self.about_bytes

    @property
    def has_sum(self) -> bool:
        return self.md5 is not None or self.sha256 is not None


class DriveFile(FileFacts):
    """A file of Google Drive: `name` is ours, `id` is that of its link."""

    id: str = Field(pattern=r"^[\w-]{10,80}$")


class WebFile(FileFacts):
    """A file at an address of its own."""

    url: str = Field(pattern=r"^https?://[^\s?#@]+$")


class HubPart(StrictModel):
    """Files of a data set on the Hugging Face Hub. Without `revision`, that of the first fetch is pinned."""

    service: Literal["hub"]
    repo: RepositoryName
    revision: Commit | None = None
    files: tuple[FileFacts, ...] = ()
    patterns: tuple[Text, ...] = ()
    """Of more files, as `fnmatch` takes them; each has the sum that the Hub states."""
    unpack: bool = True
    """Whether archives among those are unpacked."""


class ZenodoPart(StrictModel):
    """All files of a Zenodo record, or those listed. Zenodo states the md5 of each."""

    service: Literal["zenodo"]
    record: int = Field(gt=0)
    files: tuple[FileFacts, ...] = ()


class GithubTreePart(StrictModel):
    """The files of a git commit below some folders; each is compared with its hash in the commit's tree."""

    service: Literal["github-tree"]
    repo: RepositoryName
    commit: Commit
    folders: tuple[RelativePath, ...] = ()
    """Folders or files; none: the whole tree."""
    to: FolderPath = ""
    """Folder, below the source's, that the tree goes to."""


class GithubReleasePart(StrictModel):
    """Files attached to a release."""

    service: Literal["github-release"]
    repo: RepositoryName
    tag: Text
    files: Annotated[tuple[FileFacts, ...], Field(min_length=1)]


class GithubLfsPart(StrictModel):
    """Large files of a commit; the pointers in the commit have their sums."""

    service: Literal["github-lfs"]
    repo: RepositoryName
    commit: Commit | None = None
    files: Annotated[tuple[FileFacts, ...], Field(min_length=1)]


class DrivePart(StrictModel):
    """Files that people share on Google Drive."""

    service: Literal["drive"]
    files: Annotated[tuple[DriveFile, ...], Field(min_length=1)]


class WebPart(StrictModel):
    """Files at plain addresses. `hosts` may deliver them beside those of the addresses themselves."""

    service: Literal["https"]
    files: Annotated[tuple[WebFile, ...], Field(min_length=1)]
    hosts: tuple[HostName, ...] = ()


DownloadPart = Annotated[
    HubPart | ZenodoPart | GithubTreePart | GithubReleasePart | GithubLfsPart | DrivePart | WebPart,
    Field(discriminator="service"),
]


class DownloadVariant(StrictModel):
    """One form of a source. `options` are those of its converter that read it."""

    parts: Annotated[tuple[DownloadPart, ...], Field(min_length=1)]
    options: dict[str, str] = Field(default_factory=dict)
    about: Text | None = None


class ManualStep(StrictModel):
    """What a person fetches: the page, what to do there, and the files to put into the source's folder."""

    where: Text
    do: Text
    files: Annotated[tuple[Text, ...], Field(min_length=1)]


class SourceDownload(StrictModel):
    """Where one source comes from.

    Args:
        evidence: where it was read that the files are there; `read` on this day.
        terms: what the copy's own page says of the licence, where that differs from the source's.
        parts: what is fetched whatever the variant.
        variants: forms of which one is fetched, the first by default.
        manual: what has to be fetched by hand.
        notes: what a user should know before; one sentence each.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
    kind: Literal["checksummed", "automatic", "manual"]
    evidence: Text
    read: date
    terms: str = ""
    parts: tuple[DownloadPart, ...] = ()
    variants: dict[str, DownloadVariant] = Field(default_factory=dict)
    manual: tuple[ManualStep, ...] = ()
    notes: tuple[Text, ...] = ()

    @field_validator("variants", mode="before")
    @classmethod
    def _names_are_text(cls, variants: Any) -> Any:
        return {str(name): variant for name, variant in variants.items()} if isinstance(variants, dict) else variants

    @model_validator(mode="after")
    def _kind_holds(self) -> SourceDownload:
        if (self.kind == "manual") != bool(self.manual):
            raise ValueError(f"{self.name}: kind {self.kind!r} and {len(self.manual)} manual steps do not agree")
        for variant in self.variants or ("",):
            names = [file.name for part in self.chosen(variant) for file in listed_files(part)]
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{self.name}: {twice[0]} is listed twice")
        every = (*self.parts, *(part for variant in self.variants.values() for part in variant.parts))
        if not every and not self.manual:
            raise ValueError(f"{self.name}: neither parts nor manual steps")
        unknown = [_label(part) for part in every if not is_summed(part)]
        if (self.kind == "checksummed" and unknown) or (self.kind == "automatic" and not unknown):
            raise ValueError(f"{self.name}: kind {self.kind} does not agree with parts without sums: {unknown}")
        return self

    def chosen(self, variant: str) -> tuple[DownloadPart, ...]:
        """The parts of one variant; of a source without variants, all of them."""
        return (*self.parts, *(self.variants[variant].parts if variant else ()))


def listed_files(part: DownloadPart) -> tuple[FileFacts, ...]:
    """The files of a part that the catalogue lists by name."""
    return () if isinstance(part, GithubTreePart) else part.files


def is_summed(part: DownloadPart) -> bool:
    """Whether the sum of each file of a part is known beforehand, or is that of a commit which is."""
    if isinstance(part, GithubTreePart):
        return True
    if isinstance(part, GithubLfsPart):
        return part.commit is not None
    if isinstance(part, HubPart) and part.revision is not None:
        return True
    if not part.files or getattr(part, "patterns", None):
        return False
    return all(file.has_sum for file in part.files)


def _label(part: DownloadPart) -> str:
    place = getattr(part, "repo", None) or getattr(part, "record", "")
    return f"{part.service} {place}".strip()


def load_downloads(folder: Path) -> dict[str, SourceDownload]:
    """Name -> facts of every YAML file of a folder, sorted by name.

    Raises:
        ValueError: malformed facts (`pydantic.ValidationError`), or a source that stands in two files.
    """
    return {name: SourceDownload(name=name, **row) for name, row in load_shipped_rows(folder).items()}
