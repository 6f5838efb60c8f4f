"""Build speed beside its peers: `python -m benchmarks.build_speed --images DIR --place NAME=DIR --out RESULT.json`.

The same JPEG files go through `mmrs build`, `webdataset.ShardWriter`, tar writing as img2dataset does it, and
`datasets`; each run is a fresh process whose imports are done before the clock starts, and the runs take turns. Peers
write the same image bytes (checked by digest in the first round) and a small JSON or row for each.

Page cache: sources are read once and earlier output is deleted and synced before each run, so all read from memory. A
place on a RAM disk shows what a core can do; on a disk all of them end with an fsync of every file that they wrote.

The floor of a pass-through build is what any writer does that digests each image and each tar: read, two sha256, write;
no tar structure, no record, no index. The limit of a validated build is the bare decode at 1/8 scale with the
perceptual hash, in workers that already run.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import shutil
import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import orjson

from benchmarks.corpus import CLASSES, Corpus, generated, genuine, open_corpus, write_corpus
from benchmarks.machine import describe
from benchmarks.trial import in_fresh_process, interleaved, measured, paired, warm

SHARD_BYTES = 32 * 2**20
PEERS = (
    "webdataset",
    "webdataset_defaults",
    "webdataset_same_facts",
    "img2dataset_style_1",
    "img2dataset_style_2",
    "datasets_parquet",
    "datasets_arrow",
)
PASS_THROUGH = ("mmrs_L0_1", "mmrs_L0_2", "floor", *PEERS)
VALIDATED = ("mmrs_L1_1", "mmrs_L1_2", "decode_limit_1", "decode_limit_2")


def main() -> None:
    """Measure in every place and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder with genuine JPEGs; generated ones otherwise")
    parser.add_argument("--generated", type=int, default=256, help="side of generated pictures in pixels")
    parser.add_argument("--files", type=int, default=4000, help="files of the pass-through part; 0 leaves it out")
    parser.add_argument("--validated-files", type=int, default=0, help="files of the L1 part; 0 leaves it out")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--place", action="append", default=[], metavar="NAME=DIR", help="where to write; repeatable")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--trial", help=argparse.SUPPRESS)
    parser.add_argument("--corpus", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--target", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.trial:
        print(json.dumps(trial(given.trial, open_corpus(given.corpus), given.target)))
        return
    pictures = genuine(given.images) if given.images else generated(64, given.generated, 90)
    result: dict[str, Any] = {"date": date.today().isoformat(), "machine": describe(), "shard_bytes": SHARD_BYTES}
    result["load_average_before"] = os.getloadavg()
    result["pictures"] = "genuine" if given.images else f"generated, {given.generated} pixels"
    for place in given.place:
        name, _, folder = place.partition("=")
        work = Path(folder)
        try:
            parts = (("pass_through", given.files, PASS_THROUGH), ("validated", given.validated_files, VALIDATED))
            for part, files, names in parts:
                if files:
                    corpus = write_corpus(work / part, pictures, files)
                    result[f"{part}, {name}"] = compare(corpus, work / "target", names, given.repetitions)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    if given.out:
        given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def compare(corpus: Corpus, target: Path, names: Sequence[str], repetitions: int) -> dict[str, Any]:
    """Runs of every name in turn, with samples per second and the ratios of the design's bars."""
    expected, paths, unchecked = corpus.digests(), corpus.paths(), set(names)

    def run(name: str) -> dict[str, Any]:
        shutil.rmtree(target, ignore_errors=True)
        warm(paths)
        words = ("--trial", name, "--corpus", corpus.root, "--target", target)
        measurement = in_fresh_process("benchmarks.build_speed", words)
        if name in unchecked and not name.startswith(("decode", "floor")):
            unchecked.discard(name)
            if sorted(stored_digests(target)) != expected:
                sys.exit(f"{name}: the stored images are not those of the {len(expected)} files")
        measurement["written_bytes"] = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
        return measurement

    runs = interleaved(names, repetitions, run)
    best = {name: min(runs[name], key=lambda one: one["seconds"]) for name in names}
    result = {"files": corpus.files, "mean_file_bytes": corpus.bytes / corpus.files}
    result["samples_per_second"] = {name: corpus.files / one["seconds"] for name, one in best.items()}
    result["cpu_microseconds_per_sample"] = {
        name: 1e6 * min(one["cpu_seconds"] for one in runs[name]) / corpus.files for name in names
    }
    return result | {"ratios": ratios(runs), "runs": runs}


def ratios(runs: dict[str, list[dict]]) -> dict[str, Any]:
    """The figures that the bars are about, round by round."""
    found: dict[str, Any] = {}
    for peer in (*PEERS, "floor"):
        ours = "mmrs_L0_2" if peer.endswith("_2") else "mmrs_L0_1"
        if peer in runs:
            for field in ("seconds", "cpu_seconds"):
                found[f"{peer} / {ours}, {field}"] = paired(runs[ours], runs[peer], field)
    if "mmrs_L1_2" in runs:
        found["one process / two, seconds"] = paired(runs["mmrs_L1_2"], runs["mmrs_L1_1"])
        for workers in (1, 2):
            share = paired(runs[f"mmrs_L1_{workers}"], runs[f"decode_limit_{workers}"])
            found[f"share of the decode-bound limit, {workers} processes"] = share
        found |= from_processor_seconds(runs)
    return found


def from_processor_seconds(runs: dict[str, list[dict]]) -> dict[str, float]:
    """The same two figures for cores that nobody else uses, by the least processor seconds of each part.

    Two processes take what the parent does alone and half of what its workers do, their start included; the clock of a
    machine that others use too says more about them than about us.
    """
    alone = min(one["cpu_seconds"] for one in runs["mmrs_L1_1"])
    two = min(one["cpu_seconds"] - one["children_cpu_seconds"] / 2 for one in runs["mmrs_L1_2"])
    limit = min(one["cpu_seconds"] for one in runs["decode_limit_1"])
    return {
        "one process / two, by processor seconds": alone / two,
        "share of the decode-bound limit, 1 processes, by processor seconds": limit / alone,
        "share of the decode-bound limit, 2 processes, by processor seconds": limit / 2 / two,
    }


def trial(name: str, corpus: Corpus, target: Path) -> dict[str, Any]:
    """One run of one writer in this process."""
    target.mkdir(parents=True)
    paths = corpus.paths()
    if name.startswith("decode_limit"):
        return decode_limit(paths, int(name[-1]))
    if name.startswith("mmrs"):
        _, validation, workers = name.split("_")
        return measured(prepared_mmrs(corpus, target, validation, int(workers)))
    prepare: dict[str, Callable[[], Callable[[Sequence[Path]], None]]] = {
        "floor": lambda: partial(floor, target=target),
        "webdataset": lambda: prepared_webdataset(target),
        "webdataset_defaults": lambda: prepared_webdataset_defaults(target),
        "webdataset_same_facts": lambda: prepared_webdataset_with_facts(target),
        "img2dataset_style_1": lambda: prepared_img2dataset_style(target, 1),
        "img2dataset_style_2": lambda: prepared_img2dataset_style(target, 2),
        "datasets_parquet": lambda: prepared_datasets(target, "parquet"),
        "datasets_arrow": lambda: prepared_datasets(target, "arrow"),
    }
    return measured(partial(_then_durable, target, prepare[name](), paths))


def prepared_mmrs(corpus: Corpus, target: Path, validation: str, workers: int) -> Callable[[], dict[str, float]]:
    """`mmrs build` by its functions: discovery, headers, plan, shards, indexes, manifest."""
    import pyarrow

    import converters
    from mmrs.builder.recipe import BuildRecipe
    from mmrs.builder.run import build, plan_build
    from mmrs.progress import Progress
    from mmrs.source import SourceBuild

    # With its first value pyarrow imports pandas where that is installed (datasets brings it): before the clock starts.
    pyarrow.scalar(0)
    words = {"sources": [{"name": "generic"}], "validation": validation, "shard_bytes": SHARD_BYTES}
    recipe, quiet = BuildRecipe.model_validate(words), Progress(quiet=True)
    source = converters.get("generic", description=str(corpus.description))

    def work() -> dict[str, float]:
        started = time.perf_counter()
        plan = plan_build([SourceBuild(source, corpus.root, ("train",))], recipe, workers, quiet)
        planned = time.perf_counter()
        build(plan, recipe, target, workers, quiet)
        return {"plan_seconds": planned - started, "build_seconds": time.perf_counter() - planned}

    return work


def prepared_webdataset(target: Path) -> Callable[[Sequence[Path]], None]:
    """The loop of webdataset's manual, on bytes: no encoder, a fixed time, a buffer of 1 MiB below the tar stream."""
    from webdataset import ShardWriter

    def write(paths: Sequence[Path]) -> None:
        pattern = str(target / "train-%05d.tar")
        options = {"encoder": False, "mtime": 0.0, "verbose": 0, "maxsize": SHARD_BYTES}
        with ShardWriter(pattern, opener=lambda path: open(path, "wb", buffering=1 << 20), **options) as writer:
            for number, path in enumerate(paths):
                note = orjson.dumps({"label": path.parent.name, "file": path.name})
                writer.write({"__key__": f"{number:08d}", "jpg": path.read_bytes(), "json": note})

    return write


def prepared_webdataset_defaults(target: Path) -> Callable[[Sequence[Path]], None]:
    """The same loop as most scripts have it: default encoder, file and time, the note as a dictionary."""
    from webdataset import ShardWriter

    def write(paths: Sequence[Path]) -> None:
        with ShardWriter(str(target / "train-%05d.tar"), maxsize=SHARD_BYTES, verbose=0) as writer:
            for number, path in enumerate(paths):
                note = {"label": path.parent.name, "file": path.name}
                writer.write({"__key__": f"{number:08d}", "jpg": path.read_bytes(), "json": note})

    return write


def prepared_webdataset_with_facts(target: Path) -> Callable[[Sequence[Path]], None]:
    """`ShardWriter` at its best, and what our build also gives: size and digest of each image, digest of each tar."""
    from PIL import Image
    from webdataset import ShardWriter

    digests = {}

    def finished(path: str) -> None:
        with open(path, "rb") as file:
            digests[path] = hashlib.file_digest(file, "sha256").hexdigest()

    def write(paths: Sequence[Path]) -> None:
        options = {"encoder": False, "mtime": 0.0, "verbose": 0, "maxsize": SHARD_BYTES, "post": finished}
        with ShardWriter(str(target / "train-%05d.tar"), **options) as writer:
            for number, path in enumerate(paths):
                data = path.read_bytes()
                with Image.open(io.BytesIO(data)) as image:
                    facts = {"label": path.parent.name, "file": path.name, "width": image.width, "height": image.height}
                facts["sha256"] = hashlib.sha256(data).hexdigest()
                writer.write({"__key__": f"{number:08d}", "jpg": data, "json": orjson.dumps(facts)})
        (target / "digests.json").write_bytes(orjson.dumps(digests))

    return write


def floor(paths: Sequence[Path], target: Path) -> None:
    """Read every file, digest it alone and as a part of the output, write it; nothing else."""
    whole = hashlib.sha256()
    with open(target / "all.bin", "wb", buffering=0) as file:
        for path in paths:
            data = path.read_bytes()
            hashlib.sha256(data).digest()
            whole.update(data)
            file.write(data)


def prepared_img2dataset_style(target: Path, workers: int) -> Callable[[Sequence[Path]], None]:
    """Shards as img2dataset writes them without re-encoding, in a pool where there is more than one worker."""
    import pyarrow.parquet
    import webdataset  # noqa: F401 - before the clock starts

    pyarrow.scalar(0)
    return partial(img2dataset_style, target=target, workers=workers)


def img2dataset_style(paths: Sequence[Path], target: Path, workers: int) -> None:
    """One tar, one Parquet file of the samples' facts and one JSON of counts for each shard."""
    per_shard = max(1, SHARD_BYTES * len(paths) // max(1, sum(path.stat().st_size for path in paths)))
    tasks = [(start // per_shard, paths[start : start + per_shard]) for start in range(0, len(paths), per_shard)]
    if workers == 1:
        for number, part in tasks:
            _img2dataset_shard(number, part, target)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        list(pool.map(_img2dataset_shard, *zip(*tasks, strict=True), [target] * len(tasks)))


def _img2dataset_shard(number: int, paths: Sequence[Path], target: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image
    from webdataset import TarWriter

    started, rows = time.time(), []
    with open(target / f"{number:05d}.tar", "wb", buffering=1 << 20) as file, TarWriter(file, mtime=0.0) as writer:
        for place, path in enumerate(paths):
            data = path.read_bytes()
            with Image.open(io.BytesIO(data)) as image:
                width, height = image.size
            facts = {"url": str(path), "caption": path.parent.name, "key": f"{number:05d}{place:04d}"}
            facts |= {"status": "success", "error_message": None, "width": width, "height": height}
            facts |= {"sha256": hashlib.sha256(data).hexdigest()}
            writer.write({"__key__": facts["key"], "jpg": data, "txt": facts["caption"], "json": orjson.dumps(facts)})
            rows.append(facts)
    pq.write_table(pa.Table.from_pylist(rows), target / f"{number:05d}.parquet")
    counts = {"count": len(rows), "successes": len(rows), "start_time": started, "end_time": time.time()}
    (target / f"{number:05d}_stats.json").write_bytes(orjson.dumps(counts))


def prepared_datasets(target: Path, form: str) -> Callable[[Sequence[Path]], None]:
    """`Dataset.from_generator`, nothing decoded; `parquet` goes on to `to_parquet`, `arrow` stops at its cache file."""
    os.environ["HF_HOME"] = str(target / "home")
    import datasets

    datasets.disable_progress_bars()
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES))})

    def write(paths: Sequence[Path]) -> None:
        made = datasets.Dataset.from_generator(
            _rows, features=features, gen_kwargs={"paths": list(paths)}, cache_dir=str(target / "cache")
        )
        if form == "parquet":
            made.to_parquet(str(target / "train.parquet"))

    return write


def _rows(paths: Sequence[Path]):
    for path in paths:
        yield {"image": {"bytes": path.read_bytes(), "path": path.name}, "label": path.parent.name}


def decode_limit(paths: Sequence[Path], workers: int) -> dict[str, Any]:
    """Bare decode at 1/8 scale and perceptual hash of every file, by `workers` processes that are already running."""
    parts = [paths[start : start + 64] for start in range(0, len(paths), 64)]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        list(pool.map(decode_and_hash, [paths[:64]] * 4 * workers))
        result = measured(lambda: {"worker_cpu_seconds": sum(pool.map(decode_and_hash, parts))})
    # The processor time of children counts once they have ended, and that is after the clock: they say it themselves.
    return result | {"cpu_seconds": result["worker_cpu_seconds"]}


def decode_and_hash(paths: Sequence[Path]) -> float:
    """Read, decode at 1/8 scale and hash each file; the processor seconds that it took."""
    from PIL import Image

    from mmrs.imaging.hashing import fingerprint, reduced_size

    started = time.process_time()
    for path in paths:
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            image.draft("L", reduced_size(*image.size))
            image.load()
            fingerprint(image)
    return time.process_time() - started


def stored_digests(target: Path) -> list[str]:
    """sha256 of every stored image, whoever wrote it."""
    import pyarrow.parquet as pq
    from datasets import Dataset

    found = []
    tars = sorted(target.rglob("*.tar"))
    for path in tars:
        with tarfile.open(path) as archive:
            members = [member for member in archive if member.name.endswith(".jpg")]
            found += [hashlib.sha256(archive.extractfile(member).read()).hexdigest() for member in members]
    if tars:
        return found
    for path in target.glob("*.parquet"):
        images = pq.read_table(path, columns=["image"])["image"].to_pylist()
        found += [hashlib.sha256(image["bytes"]).hexdigest() for image in images]
    if not found:
        for path in target.rglob("*.arrow"):
            images = Dataset.from_file(str(path)).data["image"].to_pylist()
            found += [hashlib.sha256(image["bytes"]).hexdigest() for image in images]
    return found


def _then_durable(target: Path, write: Callable[..., None], *arguments: Any) -> None:
    # Our build syncs every file before it counts as written; a peer's file is worth no less.
    write(*arguments)
    for path in target.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)


if __name__ == "__main__":
    main()
