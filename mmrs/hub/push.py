"""Publish a finished data set on the Hugging Face Hub.

Shards go first, in commits of limited size; manifest, plots and card go last, in one commit. So a card never names
shards that are not there. What the repository already holds (same sha256, or same git blob) is not sent again: a push
that was stopped continues, and a second push of the same data sends nothing and makes no commit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmrs.errors import RunFailure, UserError
from mmrs.hub.card import SourceNote, make_card
from mmrs.hub.client import HubClient, HubFile, made_file, missing
from mmrs.hub.croissant import CROISSANT_NAME, croissant_json
from mmrs.hub.scores import read_card_scores
from mmrs.hub.viewer import VIEWER_LIST_NAME, ViewerTable, listed_tables, viewer_card, viewer_list
from mmrs.progress import Progress
from mmrs.shards.manifest import MANIFEST_NAME, Manifest, done_path, load_manifest
from mmrs.shards.quarantine import QUARANTINE_NAME
from mmrs.text import bytes_text

CARD_NAME = "README.md"
UNKNOWN_LICENCE = "unknown"
DEFAULT_HUB = "https://huggingface.co"
# The Hub's published limits: files of a repository, entries of a folder, bytes of a file.
MAX_FILES, MAX_FOLDER_ENTRIES, MAX_FILE_BYTES = 100_000, 10_000, 20 * 10**9
_COMMIT_FILES, _COMMIT_BYTES = 96, 4 * 2**30
_SHOWN_PATHS = 5


@dataclass(frozen=True, slots=True)
class PushResult:
    """What a push did, or with `dry_run` would do. `uploaded` and `deleted` are paths in the repository.

    `not_asked` is why a dry run knows nothing of the repository: the Hub could not be reached. All files then count as
    lacking.
    """

    repo: str
    url: str
    dry_run: bool
    created: bool
    uploaded: tuple[str, ...]
    uploaded_bytes: int
    unchanged: int
    deleted: tuple[str, ...]
    commits: int
    not_asked: str = ""


@dataclass(frozen=True, slots=True)
class PushOptions:
    """How to publish, and where.

    `private` makes the repository private; an existing public one is refused. `dry_run` says what would be uploaded
    and writes nothing; without a connection it goes by the manifest alone. `allow_unknown_licences` publishes sources
    that state no licence, too. `endpoint` is another Hub than the library's (``HF_ENDPOINT``). `token` is by default
    the one that ``hf auth login`` or ``HF_TOKEN`` gave. `waits_seconds` lie before each new try after a failed request;
    tries start anew after a success.
    """

    private: bool = False
    dry_run: bool = False
    allow_unknown_licences: bool = False
    endpoint: str | None = None
    token: str | None = field(default=None, repr=False)
    waits_seconds: tuple[float, ...] = (2.0, 15.0, 60.0)


@dataclass(frozen=True, slots=True)
class BesideShards:
    """What is published with the shards.

    Args:
        notes: what the card says of each source beyond the manifest.
        plots: PNG images for the card, by name without suffix.
        scores: ``scores.json`` files of this data set, for the card.
    """

    notes: Mapping[str, SourceNote] = field(default_factory=dict)
    plots: Mapping[str, bytes] = field(default_factory=dict)
    scores: Sequence[Path] = ()


def push(
    folder: Path,
    repo: str,
    options: PushOptions,
    progress: Progress,
    beside: BesideShards | None = None,
) -> PushResult:
    """Upload a data set that `mmrs build` finished.

    Args:
        folder: the data set.
        repo: ``ORG/NAME``; made when it does not exist.
        options: how.
        beside: what is published with the shards.

    Raises:
        UserError: no finished data set, a source without licence, a limit of the Hub, no token or no right to write,
            a public repository where a private one is asked for.
        RunFailure: the Hub failed for good, or a shard is not the one that the manifest names. What was uploaded
            stays; the same call continues.
    """
    manifest = load_manifest(folder)
    check_licences(manifest, options.allow_unknown_licences)
    beside = beside or BesideShards()
    shards, last = publication(folder, manifest, repo, beside, options.endpoint)
    check_limits([*shards, *last])
    client = HubClient(repo, options.endpoint, options.token, () if options.dry_run else options.waits_seconds)
    return _publish(client, shards, last, client.older_files, options, progress)


def push_viewer(
    manifest: Manifest,
    repo: str,
    tables: Sequence[ViewerTable],
    options: PushOptions,
    progress: Progress,
    notes: Mapping[str, SourceNote] | None = None,
) -> PushResult:
    """Upload the viewer's tables of a data set into the repository ``REPO-viewer``; tables of an older push go.

    Raises:
        UserError: there is such a repository and no push of tables made it; otherwise as `push`.
        RunFailure: as `push`.
    """
    name = f"{repo}-viewer"
    client = HubClient(name, options.endpoint, options.token, () if options.dry_run else options.waits_seconds)
    card = viewer_card(manifest, repo, tables, notes)
    last = [made_file(VIEWER_LIST_NAME, viewer_list(tables)), made_file(CARD_NAME, card.encode())]
    files = [HubFile(table.name, table.bytes, table.sha256, table.path) for table in tables]

    def older() -> set[str]:
        listed = listed_tables(client.content(VIEWER_LIST_NAME))
        if not listed and client.held().keys() - {".gitattributes"}:
            raise UserError(f"{name} exists and holds other things than tables of a viewer. Move it, or push without.")
        return {table for table, digest in listed.items() if client.held().get(table) == digest}

    return _publish(client, files, last, older, options, progress)


def _publish(
    client: HubClient,
    first: list[HubFile],
    last: list[HubFile],
    older: Callable[[], set[str]],
    options: PushOptions,
    progress: Progress,
) -> PushResult:
    """Bring a repository to hold the files; of the `older` ones of ours, those that are none of them are removed."""
    files = [*first, *last]
    try:
        _check_access(client, options)
        created = client.private is None
        held = {} if created else client.held()
        stale = [] if created else sorted((older() & set(held)) - {file.name for file in files})
    except RunFailure as error:
        if not options.dry_run:
            raise
        return _offline(client, files, str(error).partition("\n")[0])
    lacking = missing(files, held)
    commits = 0
    if not options.dry_run and (lacking or stale):
        if created:
            client.create(options.private)
        commits = _upload(client, first, last, stale, progress)
    uploaded, size = tuple(file.name for file in lacking), sum(file.size for file in lacking)
    unchanged = len(files) - len(lacking)
    return PushResult(
        client.repo, client.url, options.dry_run, created, uploaded, size, unchanged, tuple(stale), commits
    )


def _offline(client: HubClient, files: Sequence[HubFile], reason: str) -> PushResult:
    """What a push would send to a repository of which nothing is known."""
    names, size = tuple(file.name for file in files), sum(file.size for file in files)
    return PushResult(client.repo, client.url, True, False, names, size, 0, (), 0, not_asked=reason)


def _check_access(client: HubClient, options: PushOptions) -> None:
    if not options.dry_run and not client.logged_in:
        raise UserError("not logged in to the Hub. Type `hf auth login`, or set HF_TOKEN to a token that may write.")
    if options.private and client.private is False:
        raise UserError(
            f"{client.repo} exists and is public. Make it private in its settings on the Hub, take another name, or "
            "push without --private."
        )


def check_licences(manifest: Manifest, allow_unknown: bool) -> None:
    """Raises `UserError` when a source states no licence and that was not allowed."""
    unknown = sorted(name for name, source in manifest.sources.items() if source.licence == UNKNOWN_LICENCE)
    if unknown and not allow_unknown:
        raise UserError(
            f"{', '.join(unknown)}: no licence is known, so nothing says that the data may be passed on. Leave "
            f"{'it' if len(unknown) == 1 else 'them'} out of the build, or push with --allow-unknown-licences if you "
            "know better."
        )


def check_limits(files: Sequence[HubFile]) -> None:
    """Raises `UserError` when the Hub would refuse the files or serve them badly."""
    if len(files) > MAX_FILES:
        raise UserError(f"{len(files)} files, the Hub takes {MAX_FILES}: rebuild with a larger `shard_bytes`.")
    folder, entries = Counter(file.name.rpartition("/")[0] for file in files).most_common(1)[0]
    if entries > MAX_FOLDER_ENTRIES:
        raise UserError(
            f"{entries} files in {folder}, the Hub takes {MAX_FOLDER_ENTRIES} in a folder: rebuild with a larger "
            "`shard_bytes`."
        )
    for file in files:
        if file.size > MAX_FILE_BYTES:
            raise UserError(
                f"{file.name} has {bytes_text(file.size)}, the Hub takes {bytes_text(MAX_FILE_BYTES)}: rebuild with a "
                "smaller `shard_bytes`."
            )


def publication(
    folder: Path, manifest: Manifest, repo: str, beside: BesideShards, endpoint: str | None = None
) -> tuple[list[HubFile], list[HubFile]]:
    """The files of a publication: shards with index and done-file, and what is committed last.

    Raises:
        RunFailure: a file is missing or has not the size that the manifest states.
    """
    shards = []
    for shard in manifest.shards:
        tar = HubFile(shard.path, shard.bytes, shard.sha256, folder / shard.path)
        index = HubFile(shard.index_path, shard.index_bytes, shard.index_sha256, folder / shard.index_path)
        shards += [tar, index]
        for file, path in ((tar, folder / shard.path), (index, folder / shard.index_path)):
            size = path.stat().st_size if path.is_file() else None
            if size != file.size:
                found = "is missing" if size is None else f"has {size} bytes"
                raise RunFailure(
                    f"{path} {found}, the manifest says {file.size} bytes. Run `mmrs verify {folder}`, then the "
                    "build again."
                )
        done = done_path(shard.path)
        if not (folder / done).is_file():
            raise RunFailure(f"{folder / done} is missing. Run the same `mmrs build` again.")
        shards.append(made_file(done, (folder / done).read_bytes()))
    images = {f"assets/{name}.png": data for name, data in sorted(beside.plots.items())}
    last = [made_file(name, data) for name, data in images.items()]
    if (folder / QUARANTINE_NAME).is_file():
        last.append(made_file(QUARANTINE_NAME, (folder / QUARANTINE_NAME).read_bytes()))
    scores = read_card_scores(beside.scores, manifest)
    card = make_card(manifest, repo, beside.notes, list(images), scores)
    last.append(made_file(MANIFEST_NAME, manifest.to_json()))
    last.append(made_file(CROISSANT_NAME, croissant_json(manifest, repo, endpoint or DEFAULT_HUB, beside.notes)))
    last.append(made_file(CARD_NAME, card.encode()))
    return shards, last


def batches(files: Sequence[HubFile]) -> Iterator[list[HubFile]]:
    """Consecutive files in groups of limited count and size; a commit is the unit that an interruption can lose."""
    batch: list[HubFile] = []
    for file in files:
        if batch and (len(batch) >= _COMMIT_FILES or sum(f.size for f in batch) + file.size > _COMMIT_BYTES):
            yield batch
            batch = []
        batch.append(file)
    if batch:
        yield batch


def _upload(client: HubClient, shards: list[HubFile], last: list[HubFile], stale: list[str], progress: Progress) -> int:
    """Upload what the repository lacks, then look whether all of it is there; the number of commits."""
    to_send = list(batches(missing(shards, client.held())))
    with progress.stage("push", sum(file.size for batch in to_send for file in batch), "bytes") as advance:
        for number, batch in enumerate(to_send, 1):
            client.commit(batch, [], f"Shards, part {number} of {len(to_send)}")
            advance(sum(file.size for file in batch))
    final = missing(last, client.held())
    if final or stale:
        client.commit(final, stale, "Manifest and card")
    if lacking := missing([*shards, *last], client.held(again=True)):
        names = ", ".join(file.name for file in lacking[:_SHOWN_PATHS])
        raise RunFailure(
            f"{client.repo}: {len(lacking)} files are not there after the upload, or differ: {names}. Someone else may "
            "have written to it; run the same `mmrs push` again."
        )
    return len(to_send) + bool(final or stale)


def describe_push(result: PushResult) -> str:
    """What was done, or would be, in words."""
    verb = "would upload" if result.dry_run else "uploaded"
    lines = []
    if result.created:
        lines.append(f"{'would create' if result.dry_run else 'created'} {result.repo}")
    if result.uploaded:
        amount = f"{len(result.uploaded)} files, {bytes_text(result.uploaded_bytes)}"
        there = "what is there already is not known" if result.not_asked else f"{result.unchanged} are there already"
        lines.append(f"{verb} {amount} ({there})")
        shown = [f"  {name}" for name in result.uploaded[:_SHOWN_PATHS]]
        rest = len(result.uploaded) - len(shown)
        lines += [*shown, f"  ... and {rest} more"] if rest else shown
    else:
        lines.append(f"nothing to upload: all {result.unchanged} files are there already")
    if result.deleted:
        lines.append(f"{'would remove' if result.dry_run else 'removed'} {len(result.deleted)} files of an older push")
    if result.not_asked:
        lines.append(f"the Hub was not asked, this is by the manifest alone: {result.not_asked}")
    lines.append(result.url)
    return "\n".join(lines)
