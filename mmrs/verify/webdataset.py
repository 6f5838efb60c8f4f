"""Check shards that `mmrs build` did not write, and make the index that they lack."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mmrs.engines.processes import run_tasks
from mmrs.errors import UserError
from mmrs.progress import Progress
from mmrs.shards.webdataset import find_tars, scan_tar, write_foreign_index
from mmrs.verify.shard import VerifyFinding

_SHOWN_FINDINGS = 20


@dataclass(frozen=True, slots=True)
class ForeignVerification:
    """The outcome. `indexed` are the indexes that were written, relative to the folder."""

    shards: int
    samples: int
    findings: tuple[VerifyFinding, ...]
    indexed: tuple[str, ...]


def verify_webdataset(
    folder: Path, workers: int, progress: Progress, repair_index: bool = False
) -> ForeignVerification:
    """Read every tar under `folder` (or the one file) as a WebDataset reader would, and say what it would trip over.

    Args:
        folder: searched for ``*.tar``.
        workers: processes.
        repair_index: write ``NAME.tar.index.parquet`` beside each tar. Nothing else is changed, ever.

    Raises:
        UserError: there is no tar.
    """
    tars = list(find_tars(folder))
    if not tars:
        lacks = (
            "holds neither a manifest.json nor a *.tar file" if folder.is_dir() else "is neither a folder nor a *.tar"
        )
        raise UserError(f"{folder} {lacks}. Name a data set of `mmrs build`, a folder of WebDataset tars, or one tar.")
    findings: list[VerifyFinding] = []
    keys: Counter[str] = Counter()
    samples, indexed = 0, []
    names = [path.name if folder.is_file() else str(path.relative_to(folder)) for path in tars]
    with progress.stage("verify", len(tars), "tars") as advance:
        for position, (found, shard_keys, index) in run_tasks(partial(_check, repair_index), tars, workers):
            findings += [VerifyFinding(names[position], key, what) for key, what in found]
            keys.update(set(shard_keys))
            samples += len(shard_keys)
            indexed += [f"{names[position]}{index}"] if index else []
            advance(1)
    shared = sorted(key for key, count in keys.items() if count > 1)
    if shared:
        what = f"{len(shared)} keys occur in more than one tar, for instance this one"
        findings.append(VerifyFinding(names[0] if len(names) == 1 else ".", shared[0], what))
    findings.sort(key=lambda finding: (finding.path, finding.key or "", finding.what))
    return ForeignVerification(len(tars), samples, tuple(findings), tuple(sorted(indexed)))


def _check(repair_index: bool, path: Path) -> tuple[list[tuple[str | None, str]], list[str], str]:
    try:
        scan = scan_tar(path)
    except OSError as error:
        return [(None, f"cannot be read: {error}")], [], ""
    written = write_foreign_index(path, scan).name.removeprefix(path.name) if repair_index and scan.samples else ""
    return list(scan.findings), [sample.key for sample in scan.samples], written


def describe_webdataset(result: ForeignVerification) -> str:
    """The outcome in words; the first findings in full."""
    lines = [str(finding) for finding in result.findings[:_SHOWN_FINDINGS]]
    if len(result.findings) > _SHOWN_FINDINGS:
        lines.append(f"... and {len(result.findings) - _SHOWN_FINDINGS} more")
    where = f"{result.samples} samples in {result.shards} tars that mmrs did not write"
    lines.append(f"{len(result.findings)} findings: {where}" if result.findings else f"ok: {where}")
    if result.indexed:
        lines.append(f"wrote {len(result.indexed)} indexes, {result.indexed[0]} first")
    return "\n".join(lines)
