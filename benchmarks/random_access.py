"""Undecoded reading beside its peers: `python -m benchmarks.random_access --images DIR --folder DIR --out RESULT.json`.

Every reader delivers each sample once: the image's bytes and its record's, nothing decoded. Ours reads by index in
random order. A `webdataset` user has no random access; the nearest thing is its stream with shuffled shards and a
shuffle buffer, and for one given sample a scan of its shard. `datasets` streams our tars, and Parquet of its own; its
memory-mapped Arrow file, which is no streaming but random access, is measured too.

Files are in the page cache for all of them. Each run is a fresh process, opening is timed apart, runs take turns; every
reader's images are compared with the source files by digest, outside the timing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow

from benchmarks.build_speed import SHARD_BYTES, prepared_datasets, prepared_mmrs
from benchmarks.corpus import generated, genuine, open_corpus, write_corpus
from benchmarks.machine import describe
from benchmarks.trial import in_fresh_process, interleaved, measured, paired, warm

READERS = (
    "mmrs_random",
    "webdataset_shuffled",
    "webdataset_in_order",
    "datasets_stream_tars",
    "datasets_stream_parquet",
    "datasets_arrow_random",
)
SCANNED = 20
Sample = tuple[bytes, Any]


def main() -> None:
    """Write the data once in every form, measure every reader, and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder with genuine JPEGs; generated ones otherwise")
    parser.add_argument("--files", type=int, default=6000)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--folder", type=Path, required=True, help="work folder; deleted at the end")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--trial", help=argparse.SUPPRESS)
    parser.add_argument("--check", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    os.environ["HF_HOME"] = str(given.folder / "home")
    if given.trial:
        print(json.dumps(trial(given.trial, given.folder, given.check)))
        return
    pictures = genuine(given.images) if given.images else generated(64, 512, 90)
    try:
        corpus = write_corpus(given.folder / "corpus", pictures, given.files)
        for form in ("mmrs", "parquet"):
            in_fresh_process("benchmarks.random_access", ("--trial", f"write_{form}", "--folder", given.folder))
        result: dict[str, Any] = {"date": date.today().isoformat(), "machine": describe(), "shard_bytes": SHARD_BYTES}
        result |= {"load_average_before": os.getloadavg()}
        result |= {"pictures": "genuine" if given.images else "generated", "files": corpus.files}
        result |= {"mean_file_bytes": corpus.bytes / corpus.files} | compare(given.folder, given.repetitions)
    finally:
        shutil.rmtree(given.folder, ignore_errors=True)
    if given.out:
        given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def compare(folder: Path, repetitions: int) -> dict[str, Any]:
    """Runs of every reader in turn, samples per second, and the ratios to ours."""
    expected = digest(path.read_bytes() for path in open_corpus(folder / "corpus").paths())
    stored = [path for path in folder.rglob("*") if path.suffix in (".tar", ".parquet", ".arrow")]
    unchecked = set(READERS)

    def run(name: str) -> dict[str, Any]:
        warm(stored)
        check = ("--check",) if name in unchecked else ()
        measurement = in_fresh_process("benchmarks.random_access", ("--trial", name, "--folder", folder, *check))
        if check and measurement.pop("digest") != expected:
            sys.exit(f"{name}: the images read are not those of the source")
        unchecked.discard(name)
        return measurement

    runs = interleaved(READERS, repetitions, run)
    best = {name: min(runs[name], key=lambda one: one["seconds"]) for name in READERS}
    return {
        "samples_per_second": {name: one["samples"] / one["seconds"] for name, one in best.items()},
        "open_seconds": {name: one["open_seconds"] for name, one in best.items()},
        "times_as_fast_as": {name: paired(runs["mmrs_random"], runs[name]) for name in READERS[1:]},
        "one_given_sample": in_fresh_process("benchmarks.random_access", ("--trial", "given", "--folder", folder)),
        "runs": runs,
    }


def trial(name: str, folder: Path, check: bool) -> dict[str, Any]:
    """One reader in this process, or the writing of one form."""
    if name == "write_mmrs":
        prepared_mmrs(open_corpus(folder / "corpus"), folder / "shards", "L0", 1)()
        return {}
    if name == "write_parquet":
        prepared_datasets(folder, "parquet")(open_corpus(folder / "corpus").paths())
        return {}
    # With its first value pyarrow imports pandas where that is installed (datasets brings it): no part of opening.
    pyarrow.scalar(0)
    if name == "given":
        return given_samples(folder)
    started = time.perf_counter()
    read = globals()[name](folder)
    open_seconds = time.perf_counter() - started

    def work() -> dict[str, int]:
        samples = size = 0
        for image, _ in read():
            samples, size = samples + 1, size + len(image)
        return {"samples": samples, "image_bytes": size}

    result = measured(work) | {"open_seconds": open_seconds}
    return result | ({"digest": digest(image for image, _ in read())} if check else {})


def digest(images: Iterator[bytes]) -> str:
    """Digest of a set of images, whatever their order."""
    return hashlib.sha256("".join(sorted(hashlib.sha256(image).hexdigest() for image in images)).encode()).hexdigest()


def mmrs_random(folder: Path) -> Callable[[], Iterator[Sample]]:
    """Every sample by index, in random order over all shards."""
    from mmrs.shards.reader import ShardSet

    data = ShardSet(folder / "shards")
    rows = data.table("train").to_pylist()
    random.Random(0).shuffle(rows)
    return lambda: ((data.image(row), data.record_bytes(row)) for row in rows)


def webdataset_shuffled(folder: Path) -> Callable[[], Iterator[Sample]]:
    """The usual training stream: shards shuffled, then a buffer of 1,000 samples."""
    import webdataset

    urls = [str(path) for path in sorted((folder / "shards").rglob("*.tar"))]
    stream = webdataset.WebDataset(urls, shardshuffle=len(urls), seed=0).shuffle(1000)
    return lambda: ((sample["jpg"], sample["json"]) for sample in stream)


def webdataset_in_order(folder: Path) -> Callable[[], Iterator[Sample]]:
    """The stream without any shuffle: its greatest speed."""
    import webdataset

    urls = [str(path) for path in sorted((folder / "shards").rglob("*.tar"))]
    stream = webdataset.WebDataset(urls, shardshuffle=False)
    return lambda: ((sample["jpg"], sample["json"]) for sample in stream)


def datasets_stream_tars(folder: Path) -> Callable[[], Iterator[Sample]]:
    """`load_dataset("webdataset", streaming=True)` on our tars, images undecoded."""
    import datasets

    files = {"train": str(folder / "shards" / "*" / "train-*.tar")}
    stream = datasets.load_dataset("webdataset", data_files=files, split="train", streaming=True)
    stream = stream.cast_column("jpg", datasets.Image(decode=False))
    return lambda: ((sample["jpg"]["bytes"], sample["json"]) for sample in stream)


def datasets_stream_parquet(folder: Path) -> Callable[[], Iterator[Sample]]:
    """`load_dataset("parquet", streaming=True)` on what `datasets` itself wrote: image and label alone."""
    import datasets

    files = {"train": str(folder / "train.parquet")}
    stream = datasets.load_dataset("parquet", data_files=files, split="train", streaming=True)
    stream = stream.cast_column("image", datasets.Image(decode=False))
    return lambda: ((sample["image"]["bytes"], sample["label"]) for sample in stream)


def datasets_arrow_random(folder: Path) -> Callable[[], Iterator[Sample]]:
    """The memory-mapped Arrow file that `from_generator` wrote, row by row in random order."""
    import datasets

    (file,) = (folder / "cache").rglob("*.arrow")
    data = datasets.Dataset.from_file(str(file)).cast_column("image", datasets.Image(decode=False))
    order = list(range(len(data)))
    random.Random(0).shuffle(order)
    return lambda: ((sample["image"]["bytes"], sample["label"]) for sample in map(data.__getitem__, order))


def given_samples(folder: Path) -> dict[str, float]:
    """Seconds to get one given sample: by index, and by a scan of the shard that is known to hold it."""
    import webdataset

    from mmrs.shards.reader import ShardSet

    data = ShardSet(folder / "shards")
    rows = random.Random(1).sample(data.table("train").to_pylist(), SCANNED)
    started = time.perf_counter()
    ours = [data.image(row) for row in rows]
    indexed = time.perf_counter() - started
    urls = [str(folder / "shards" / data.manifest.shards[row["shard"]].path) for row in rows]
    started = time.perf_counter()
    theirs = [
        next(sample["jpg"] for sample in webdataset.WebDataset(url, shardshuffle=False) if sample["__key__"] == key)
        for url, key in zip(urls, (row["key"] for row in rows), strict=True)
    ]
    scanned = time.perf_counter() - started
    if ours != theirs:
        sys.exit("one given sample: the readers disagree")
    return {"by_index_seconds": indexed / SCANNED, "by_scan_seconds": scanned / SCANNED}


if __name__ == "__main__":
    main()
