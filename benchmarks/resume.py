"""What an epoch delivers and what a resume costs: `python -m benchmarks.resume --out RESULT.json`.

4,000 small generated images lie in 40 shards, as this project builds them and as plain WebDataset tars with the same
samples. Measured on them, in one run:

- how many samples of an epoch are seen once, more than once, never: by our stream on several numbers of ranks and
  workers, and by `webdataset` with resampled shards, the form that its documentation gives for distributed training;
- the same after stops: ours goes on with other numbers of ranks and workers and is stopped again; `datasets` streams
  the tars through its shuffle buffer and goes on from its `state_dict`;
- seconds from a restored state to the first batch, at several places of the epoch, without opening the data set,
  which is given apart.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from datetime import date
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.machine import describe
from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.progress import Progress
from mmrs.shards.reader import ShardSet
from training.data.loader import PackDataset, PackSampler, pack_loader
from training.data.planning.lengths import length_table, tokenizer_digest
from training.data.planning.plan import PlanSettings
from training.data.planning.pointer import Pointer
from training.data.planning.selection import Selection, select
from training.data.planning.sequence import PackSequence
from training.model.inputs.image_processor import EarthGPTImageProcessor
from training.model.processing import EarthGPTProcessor
from training.model.tokenizer import train_tokenizer
from training.stages.initial_model import training_texts

SAMPLES, SHARDS, SIDE, IMAGE_SLOTS = 4000, 40, 64, 18
PACKS_PER_STEP, TOKENS_PER_PACK = 4, 600
BUFFER = 1000
QUIET = Progress(quiet=True)


def main() -> None:
    """Write the data, measure, write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--repetitions", type=int, default=5, help="of every time to the first batch")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_data(work)
        result = {
            "date": date.today().isoformat(),
            "machine": describe(),
            "samples": SAMPLES,
            "shards": {"ours": len(ShardSet(work / "ours").manifest.shards), "tars": SHARDS},
            "one_epoch": {"ours": our_epochs(work), "webdataset, resampled": resampled_epochs(work)},
            "after_stops": {"ours": our_stops(work), "datasets": datasets_stops(work)},
            "first_batch": {
                "ours": our_first_batches(work, given.repetitions),
                "datasets": datasets_first_samples(work, given.repetitions),
            },
        }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def write_data(work: Path) -> None:
    """The images, our data set of them, and the same samples as tars of `webdataset.ShardWriter`."""
    import webdataset

    from converters.resolve import resolve

    random = np.random.default_rng(0)
    for number in range(SAMPLES):
        path = work / "images" / "train" / f"class{number % 10}" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(path)
    classes = {f"class{number}": f"kind {number}" for number in range(10)}
    content = {"name": "bench", "format": "folders", "sensor": "optical", "images": "train", "classes": classes}
    description = work / "images" / "mmrs.yaml"
    description.write_text(json.dumps(content | {"splits": {"train": 1.0}, "licence": "unknown"}))
    sources = [{"name": "generic", "root": str(work / "images"), "options": {"description": str(description)}}]
    size = sum(path.stat().st_size for path in work.rglob("*.jpg")) // SHARDS
    recipe = BuildRecipe.model_validate({"sources": sources, "shard_bytes": size})
    build(plan_build(resolve(recipe, {}).builds, recipe, 1, QUIET), recipe, work / "ours", 1, QUIET)
    data = ShardSet(work / "ours")
    (work / "tars").mkdir()
    with webdataset.ShardWriter(f"{work}/tars/%05d.tar", maxcount=SAMPLES // SHARDS, verbose=0) as writer:
        for row in data.table("train").to_pylist():
            writer.write({"__key__": row["key"], "jpg": data.image(row), "json": data.record_bytes(row)})


def coverage(seen: Iterable[str]) -> dict:
    """How often each of the samples was seen."""
    counts = Counter(seen)
    return {
        "delivered": sum(counts.values()),
        "seen": len(counts),
        "seen_share": round(len(counts) / SAMPLES, 4),
        "repeated": sum(counts.values()) - len(counts),
        "never": SAMPLES - len(counts),
    }


# --- ours -------------------------------------------------------------------------------------------------------------


def _open(work: Path) -> tuple[Selection, PackSequence, EarthGPTProcessor]:
    """What a run opens before its first batch; the tokenizer and the length table come from an earlier opening."""
    selection = select([work / "ours"], ["train"])
    folder = work / "processor"
    if not folder.is_dir():
        tokenizer = train_tokenizer(training_texts(selection), 512)
        EarthGPTProcessor(EarthGPTImageProcessor(SIDE), tokenizer, IMAGE_SLOTS).save_pretrained(folder)
    processor = EarthGPTProcessor.from_pretrained(folder)
    digest, prefix = tokenizer_digest(processor), len(processor.encode_prefix(True))
    lengths = length_table(selection, processor, digest, work / "lengths")
    settings = PlanSettings(selection.data_set_id, digest, 0, TOKENS_PER_PACK, prefix, TOKENS_PER_PACK, 256, 64, 4096)
    return selection, PackSequence(lengths, settings), processor


def _read(opened, pointer: Pointer, steps: int, ranks: int, workers: int) -> tuple[list[str], Pointer]:
    """Sample ids of the next steps on all ranks, and the pointer that each of them would save."""
    selection, stream, processor = opened
    dataset = PackDataset(selection, stream.lengths, processor, TOKENS_PER_PACK)
    ids: list[str] = []
    for rank in range(ranks):
        sampler = PackSampler(stream, pointer, steps, PACKS_PER_STEP, rank, ranks)
        for pack in pack_loader(dataset, sampler, workers):
            ids += pack.sample_ids
    return ids, stream.advance(pointer, steps * PACKS_PER_STEP)


def _whole_epoch(opened, legs: list[tuple[int, int, int]]) -> dict:
    """Coverage of epoch 0, read in legs of (steps, ranks, workers); the last leg takes what is left.

    Steps do not end with the epoch: what the last one borrows from epoch 1 is left out.
    """
    stream = opened[1]
    pointer, ids = stream.start(), []
    total = -(-len(stream.plan(0)) // PACKS_PER_STEP)
    done = 0
    for number, (steps, ranks, workers) in enumerate(legs):
        take = total - done if number == len(legs) - 1 else steps
        seen, pointer = _read(opened, pointer, take, ranks, workers)
        ids += seen
        done += take
    borrowed = total * PACKS_PER_STEP - len(stream.plan(0))
    names = Counter(ids)
    for number in range(borrowed):
        names.subtract(opened[0].sample_id(row) for row, *_ in stream.plan(1).pack(number))
    return coverage(names.elements())


def our_epochs(work: Path) -> dict:
    """One epoch without a stop, by ranks and workers."""
    opened = _open(work)
    return {
        f"ranks={ranks} workers={workers}": _whole_epoch(opened, [(0, ranks, workers)])
        for ranks, workers in ((1, 0), (1, 2), (2, 1), (4, 1))
    }


def our_stops(work: Path) -> dict:
    """One epoch with stops, each time going on with other ranks and workers. Legs are (steps, ranks, workers)."""
    opened = _open(work)
    plans = ([(13, 1, 2), (0, 2, 1)], [(7, 4, 1), (11, 1, 0), (0, 2, 2)], [(1, 2, 0), (1, 1, 1), (1, 4, 0), (0, 1, 2)])
    return {
        " -> ".join(f"{ranks} ranks {workers} workers" for _, ranks, workers in legs): _whole_epoch(opened, legs)
        for legs in plans
    }


def our_first_batches(work: Path, repetitions: int) -> dict:
    """Seconds to open, and from the pointer to the first pack, in this process and from a new worker process."""
    opening, first = [], {}
    for _ in range(repetitions):
        began = time.perf_counter()
        opened = _open(work)
        opened[1].plan(0)
        opening.append(time.perf_counter() - began)
    selection, stream, processor = opened
    dataset = PackDataset(selection, stream.lengths, processor, TOKENS_PER_PACK)
    for share in (0.1, 0.5, 0.9):
        steps = int(share * len(stream.plan(0)) / PACKS_PER_STEP)
        pointer = stream.advance(stream.start(), steps * PACKS_PER_STEP)
        for workers in (0, 1):
            seconds = []
            for _ in range(repetitions):
                began = time.perf_counter()
                stream.check(pointer)
                packs = iter(pack_loader(dataset, PackSampler(stream, pointer, 1, PACKS_PER_STEP), workers))
                next(packs)
                seconds.append(time.perf_counter() - began)
                del packs
            first[f"at {share:.0%} workers={workers}"] = _times(seconds)
    return {"open": _times(opening), "images_per_pack": round(SAMPLES / len(stream.plan(0)), 1), **first}


# --- the others -------------------------------------------------------------------------------------------------------


def resampled_epochs(work: Path) -> dict:
    """One "epoch" of as many samples as there are, with and without the shuffle buffer."""
    import webdataset

    shards = sorted(str(path) for path in (work / "tars").glob("*.tar"))
    result = {}
    for name, buffer in (("shards alone", 0), (f"shuffle({BUFFER})", BUFFER)):
        data = webdataset.WebDataset(shards, resampled=True, seed=0)
        data = data.shuffle(buffer) if buffer else data
        result[name] = coverage(sample["__key__"] for sample in data.with_epoch(SAMPLES))
    return result


def _datasets_stream(work: Path):
    import datasets

    files = sorted(str(path) for path in (work / "tars").glob("*.tar"))
    data = datasets.load_dataset("webdataset", data_files={"train": files}, split="train", streaming=True)
    return data.remove_columns(["jpg", "json"]).shuffle(seed=0, buffer_size=BUFFER)


def datasets_stops(work: Path) -> dict:
    """Read to a place, save the state, go on from it in a new stream to the end; and once more with two stops."""
    result = {"no stop": coverage(sample["__key__"] for sample in _datasets_stream(work))}
    for stops in ([2600], [1000, 1600]):
        seen, state = [], None
        for take in [*stops, None]:
            data = _datasets_stream(work)
            if state is not None:
                data.load_state_dict(state)
            seen += [sample["__key__"] for sample in islice(data, take)]
            state = data.state_dict()
        result["stop after " + " + ".join(map(str, stops))] = coverage(seen)
    return result


def datasets_first_samples(work: Path, repetitions: int) -> dict:
    """Seconds from the state to the first sample, which fills the shuffle buffer again; nothing is decoded."""
    result = {}
    for share in (0.1, 0.5, 0.9):
        data = _datasets_stream(work)
        for _ in islice(data, int(share * (SAMPLES - BUFFER))):
            pass
        state, seconds = data.state_dict(), []
        for _ in range(repetitions):
            resumed = _datasets_stream(work)
            began = time.perf_counter()
            resumed.load_state_dict(state)
            next(iter(resumed))
            seconds.append(time.perf_counter() - began)
        result[f"at {share:.0%}"] = _times(seconds)
    return result


def _times(seconds: list[float]) -> dict:
    return {"median_s": round(statistics.median(seconds), 4), "max_s": round(max(seconds), 4)}


if __name__ == "__main__":
    main()
