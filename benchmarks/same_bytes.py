"""Whether two states of the project build the same bytes: shards, indexes, manifests, quarantine files, done-files.

    python -m benchmarks.same_bytes --before OTHER_CHECKOUT --genuine hit-uav=DIR --out RESULT.json

Every source's generated sample, and each genuine set that is named, is built once by the code of OTHER_CHECKOUT and
once by this one, in processes of their own with the same Python. The state of builds (``.build/``) holds times of files
and is left out. Exit code 1 where anything differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import machine
from converters import catalog

HERE = Path(__file__).resolve().parents[1]


def main() -> None:
    """Build both, compare, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="Another checkout of the project.")
    parser.add_argument("--genuine", nargs="*", default=[], metavar="SOURCE=DIR", help="Genuine sets to build too.")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    genuine = dict(pair.split("=", 1) for pair in given.genuine)
    with tempfile.TemporaryDirectory() as folder:
        before = build_all(given.before.resolve(), Path(folder) / "before", genuine)
        after = build_all(HERE, Path(folder) / "after", genuine)
    result = {"machine": machine.describe(), **compare(before, after)}
    given.out.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
    print(f"{result['sets']} sets, {result['files']} files compared; sets that differ: {len(result['differ'])}")
    for name, files in result["differ"].items():
        print(f"{name}: {', '.join(files)}")
    sys.exit(1 if result["differ"] else 0)


def build_all(checkout: Path, work: Path, genuine: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Digest of every file by name, for every set, as `checkout` builds it."""
    names = [name for name in catalog.names() if name != "generic"]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        sets = dict(zip(names, pool.map(partial(_build_sample, checkout, work), names), strict=True))
    for name, root in genuine.items():
        sets[f"genuine {name}"] = _build(checkout, name, Path(root).resolve(), work / "genuine" / name)
    return sets


def compare(before: Mapping[str, Mapping[str, str]], after: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """How many sets and files were compared, and the files that differ or are missing, by set."""
    differ = {name: _different(files, after[name]) for name, files in before.items()}
    return {
        "sets": len(before),
        "files": sum(len(files) for files in before.values()),
        "differ": {name: files for name, files in differ.items() if files},
    }


def _different(first: Mapping[str, str], second: Mapping[str, str]) -> list[str]:
    return sorted(file for file in first.keys() | second.keys() if first.get(file) != second.get(file))


def _build_sample(checkout: Path, work: Path, name: str) -> dict[str, str]:
    raw = work / "raw" / name
    _mmrs(checkout, "sample", name, "--out", str(raw))
    return _build(checkout, name, raw, work / "sets" / name)


def _build(checkout: Path, name: str, root: Path, out: Path) -> dict[str, str]:
    # Samples hold a damaged file among a few: far beyond the ceiling of a real set.
    words = ("build", name, "--root", f"{name}={root}", "--out", str(out), "--set", "quarantine_ceiling=1")
    _mmrs(checkout, *words)
    files = (path for path in sorted(out.rglob("*")) if path.is_file() and ".build" not in path.parts)
    return {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _mmrs(checkout: Path, *words: str) -> None:
    program = [sys.executable, "-c", "import cli; cli.main()", "--quiet", *words]
    run = subprocess.run(program, cwd=checkout, env={**os.environ, "PYTHONPATH": str(checkout)}, capture_output=True)
    if run.returncode:
        sys.exit(
            f"{checkout}: mmrs {' '.join(words)} ended with {run.returncode}: {run.stderr.decode(errors='replace')}"
        )


if __name__ == "__main__":
    main()
