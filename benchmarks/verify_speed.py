"""`verify` beside a bare decode of the same images: `python -m benchmarks.verify_speed SHARDS --out RESULT.json`.

SHARDS is any finished data set in a folder. Bare: every image read by its place in the index and decoded by Pillow, and
nothing else. Each trial is a fresh process with all imports done, one worker, files in the page cache; processor
seconds and peak memory are those of the process.
"""

from __future__ import annotations

import argparse
import io
import json
import os
from datetime import date
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.machine import describe
from benchmarks.trial import in_fresh_process, interleaved, measured, paired, warm
from mmrs.progress import Progress
from mmrs.shards.reader import ShardSet
from mmrs.verify.dataset import verify_dataset

TRIALS = ("bare", "verify")


def main() -> None:
    """Measure and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--trial", choices=TRIALS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.trial:
        work = {"bare": decode_all, "verify": verify_all}[given.trial]
        print(json.dumps(measured(lambda: work(given.shards))))
        return
    warm(sorted(path for path in given.shards.rglob("*") if path.is_file()))
    runs = interleaved(
        TRIALS,
        given.rounds,
        lambda trial: in_fresh_process("benchmarks.verify_speed", (given.shards, "--trial", trial)),
    )
    result: dict[str, Any] = {"date": date.today().isoformat(), "machine": describe(), "load": os.getloadavg()}
    result |= {"of_bare_speed": paired(runs["verify"], runs["bare"], "cpu_seconds"), "runs": runs}
    if given.out:
        given.out.write_text(json.dumps(result, indent=2) + "\n")
    peak = max(run["peak_rss_bytes"] for run in runs["verify"])
    print(json.dumps({"of_bare_speed": result["of_bare_speed"], "verify_peak_bytes": peak}, indent=2))


def decode_all(folder: Path) -> dict[str, Any]:
    """Decode every image."""
    shards, images = ShardSet(folder), 0
    for number in range(len(shards.manifest.shards)):
        for row in shards.rows([number], ("image_offset", "image_size")).to_pylist():
            with Image.open(io.BytesIO(shards.image(row))) as image:
                image.load()
            images += 1
    return {"images": images}


def verify_all(folder: Path) -> dict[str, Any]:
    """Verify every sample; refuse a data set with findings, whose figures would mean something else."""
    checked = verify_dataset(folder, 1, Progress(quiet=True))
    if checked.findings:
        raise RuntimeError(f"{folder} is not sound: {checked.findings[0]}")
    return {"images": checked.samples}


if __name__ == "__main__":
    main()
