"""Decoded images per second of five loaders: `python -m benchmarks.loader --images FOLDER --out RESULT.json`.

The JPEG files below FOLDER become one data set in six forms: ours (built by this project), WebDataset tars written by
`webdataset`, Parquet with an image column for `datasets` streaming, litdata chunks, MDS shards of mosaicml-streaming,
and the bare bytes in memory. `--hit-uav` reads FOLDER as a HIT-UAV root, so that samples carry genuine detection
dialogues; otherwise an image's class is the name of its folder. `--mosaic SIDE` makes larger images of four each first.

Every loader delivers uint8 batches (32, 3, 448, 448), decoded by Pillow and resized by the same function, from one and
from two worker processes, with the record's JSON text. Ours comes twice: "ours" does just that, in the planned and
shuffled order of an epoch where the others read in file order; "ours, whole packs" is what training reads, which
validates each record, tokenises its dialogues and lays them out as well. The limit is decoding and resizing alone, the
same bytes held in memory by as many processes, without any hand-over.

Each timing runs in a fresh process, all loaders in turn within a round. Rates count from the first batch on; the time
to it is given apart. A loader that is not installed is listed with the reason.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from benchmarks.machine import describe
from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.progress import Progress
from mmrs.shards.reader import ShardSet
from training.data.collate import empty_pixels
from training.data.loader import PackDataset, PackSampler, pack_loader
from training.data.planning.lengths import length_table, tokenizer_digest
from training.data.planning.plan import PlanSettings
from training.data.planning.selection import Selection, select
from training.data.planning.sequence import PackReference, PackSequence
from training.model.inputs.image_processor import EarthGPTImageProcessor, pad_and_resize
from training.model.processing import EarthGPTProcessor
from training.model.tokenizer import train_tokenizer
from training.stages.initial_model import training_texts

SIZE, BATCH = 448, 32
# Positions per image of the paper-size model with merged tokens.
IMAGE_SLOTS = 258
QUIET = Progress(quiet=True)
OURS = ("ours", "ours, whole packs")
PEERS = {"webdataset": "webdataset", "datasets": "datasets", "litdata": "litdata", "mosaicml-streaming": "streaming"}


def main() -> None:
    """Write the stores, run the rounds, write one JSON file; or, with `--one`, a single timing."""
    given = _arguments()
    if given.one:
        print(json.dumps(timing(given.one, given.store, given.workers[0])))
        return
    with tempfile.TemporaryDirectory() as folder:
        store = given.store or Path(folder)
        facts = write_stores(given, store)
        absent = {name: reason for name, package in PEERS.items() if (reason := _absent(package))}
        names = ["bare decode", *OURS, *(name for name in PEERS if name not in absent)]
        rows = []
        for round_number in range(given.rounds):
            for workers in given.workers:
                for name in names:
                    rows.append({"round": round_number, **_in_a_process(name, store, workers)})
                    print(json.dumps(rows[-1]), flush=True)
    result = {"date": date.today().isoformat(), "machine": describe() | {"peers": _versions(absent)}, "images": facts}
    result |= {"absent": absent, "rows": rows, "summary": summary(rows)}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result["summary"], indent=2))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of class folders with JPEG files, or a HIT-UAV root")
    parser.add_argument("--hit-uav", action="store_true", help="--images is a HIT-UAV root")
    parser.add_argument("--mosaic", type=int, help="make images of this side out of four each")
    parser.add_argument("--count", type=int, default=1024, help="samples of a timing; images repeat until there are")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--store", type=Path, help="folder for the stores; default: a temporary one")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser.parse_args()


def _absent(package: str) -> str | None:
    try:
        _import(package)
    except Exception as error:  # whatever a foreign package raises while it is imported
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return None


def _import(package: str) -> ModuleType:
    """A peer's module. mosaicml-streaming imports torchvision, of which nothing here is used, for its vision data sets;
    where torchvision has no build for the installed torch, an empty stand-in takes its place."""
    if package == "streaming" and _torchvision_broken():
        for name in (
            "torchvision",
            "torchvision.datasets",
            "torchvision.transforms",
            "torchvision.transforms.functional",
        ):
            sys.modules[name] = ModuleType(name)
        sys.modules["torchvision.datasets"].VisionDataset = object  # type: ignore[attr-defined]
        sys.modules["torchvision.transforms.functional"].to_tensor = None  # type: ignore[attr-defined]
    return import_module(package)


def _torchvision_broken() -> bool:
    try:
        import_module("torchvision")
    except Exception:  # an operator that is not registered raises RuntimeError, a missing package ImportError
        return True
    return False


def _versions(absent: dict[str, str]) -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in PEERS if name not in absent}


def _in_a_process(name: str, store: Path, workers: int) -> dict:
    words = [sys.executable, "-W", "ignore", "-m", "benchmarks.loader", "--one", name, "--store", str(store)]
    result = subprocess.run([*words, "--workers", str(workers)], capture_output=True, text=True, timeout=600)
    if result.returncode:
        sys.exit(f"{name} with {workers} workers ended with {result.returncode}:\n{result.stderr}")
    return json.loads(result.stdout.splitlines()[-1])


# --- the stores -------------------------------------------------------------------------------------------------------


def write_stores(given: argparse.Namespace, store: Path) -> dict:
    """Build ours from the images, then write the very same bytes and records in every other form."""
    from converters.resolve import resolve

    if given.hit_uav:
        content = {"sources": [{"name": "hit-uav", "tasks": ["detection-hbb"], "splits": ["train"]}]}
        roots = {"hit-uav": given.images}
    else:
        root = store / "images"
        classes = _copy_images(given.images, root / "train", given.mosaic)
        _describe_folders(root / "mmrs.yaml", classes)
        options = {"description": str(root / "mmrs.yaml")}
        content = {"sources": [{"name": "generic", "root": str(root), "options": options}]}
        roots = {}
    recipe = BuildRecipe.model_validate(content | {"shard_bytes": 8 * 2**20})
    build(plan_build(resolve(recipe, roots).builds, recipe, 1, QUIET), recipe, store / "ours", 1, QUIET)
    samples = list(stored(store / "ours"))
    copies = max(1, round(given.count / len(samples)))
    (store / "facts.json").write_text(json.dumps({"copies": copies}))
    for name, write in _WRITERS.items():
        if not _absent(PEERS[name]):
            write(store / name, samples * copies)
    sizes = [Image.open(io.BytesIO(data)).size for data, _ in samples]
    return {
        "images": len(samples),
        "copies": copies,
        "mean_bytes": round(float(np.mean([len(data) for data, _ in samples]))),
        "mean_width_height": [round(float(side)) for side in np.mean(sizes, axis=0)],
        "mean_record_bytes": round(float(np.mean([len(record) for _, record in samples]))),
    }


def stored(folder: Path) -> Iterator[tuple[bytes, bytes]]:
    """(image bytes, record JSON) of every training sample, as stored."""
    data = ShardSet(folder)
    for row in data.table("train").to_pylist():
        yield data.image(row), data.read(row["shard"], row["record_offset"], row["record_size"])


def _copy_images(source: Path, target: Path, mosaic: int | None) -> list[str]:
    """The images in class folders; with `mosaic`, four of any class side by side, re-encoded as colour JPEG."""
    classes = sorted(path.name for path in source.iterdir() if path.is_dir())
    files = {name: sorted((source / name).glob("*.jpg")) for name in classes}
    everything = [path for name in classes for path in files[name]]
    random = np.random.default_rng(0)
    for name in classes:
        (target / name).mkdir(parents=True)
        for number, path in enumerate(files[name]):
            if mosaic is None:
                (target / name / path.name).write_bytes(path.read_bytes())
                continue
            for turn in range(4):
                picture = _mosaic([path, *(everything[i] for i in random.integers(0, len(everything), 3))], mosaic)
                picture.save(target / name / f"{number:04d}-{turn}.jpg", quality=90, subsampling="4:2:0")
    return classes


def _mosaic(paths: list[Path], side: int) -> Image.Image:
    canvas, half = Image.new("RGB", (side, side)), side // 2
    for place, path in enumerate(paths):
        with Image.open(path) as image:
            canvas.paste(image.convert("RGB").resize((half, half)), (place % 2 * half, place // 2 * half))
    return canvas


def _describe_folders(path: Path, classes: list[str]) -> None:
    labels = {name: name.lower() for name in classes}
    content = {"name": "bench", "format": "folders", "sensor": "optical", "images": "train", "classes": labels}
    path.write_text(json.dumps(content | {"splits": {"train": 1.0}, "licence": "unknown"}))


def _write_webdataset(folder: Path, samples: list[tuple[bytes, bytes]]) -> None:
    webdataset = _import("webdataset")
    folder.mkdir()
    with webdataset.ShardWriter(f"{folder}/%05d.tar", maxcount=-(-len(samples) // 8), verbose=0) as writer:
        for number, (image, record) in enumerate(samples):
            writer.write({"__key__": f"{number:08d}", "jpg": image, "json": record})


def _write_datasets(folder: Path, samples: list[tuple[bytes, bytes]]) -> None:
    datasets = _import("datasets")
    datasets.disable_progress_bars()
    folder.mkdir()
    features = datasets.Features({"image": datasets.Image(), "json": datasets.Value("string")})
    step = -(-len(samples) // 8)
    for number, first in enumerate(range(0, len(samples), step)):
        part = samples[first : first + step]
        rows = {"image": [{"bytes": image} for image, _ in part], "json": [record.decode() for _, record in part]}
        datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / f"{number:05d}.parquet")


def _litdata_sample(sample: tuple[bytes, bytes]) -> dict:
    return {"image": sample[0], "json": sample[1]}


def _write_litdata(folder: Path, samples: list[tuple[bytes, bytes]]) -> None:
    litdata = _import("litdata")
    litdata.optimize(
        fn=_litdata_sample, inputs=samples, output_dir=str(folder), chunk_bytes="8MB", num_workers=1, verbose=False
    )


def _write_streaming(folder: Path, samples: list[tuple[bytes, bytes]]) -> None:
    streaming = _import("streaming")
    columns = {"image": "jpeg", "json": "bytes"}
    with streaming.MDSWriter(out=str(folder), columns=columns, size_limit=8 * 2**20) as writer:
        for image, record in samples:
            writer.write({"image": image, "json": record})


_WRITERS: dict[str, Callable[[Path, list[tuple[bytes, bytes]]], None]] = {
    "webdataset": _write_webdataset,
    "datasets": _write_datasets,
    "litdata": _write_litdata,
    "mosaicml-streaming": _write_streaming,
}


# --- the loaders ------------------------------------------------------------------------------------------------------


def decode(image: bytes | Image.Image, out_CHW: np.ndarray | None = None) -> np.ndarray:
    """JPEG bytes or an opened image -> uint8 (3, 448, 448), written to `out_CHW` where that is given."""
    if isinstance(image, bytes):
        image = Image.open(io.BytesIO(image))
    return pad_and_resize(image, SIZE, out_CHW)


def _decoded(sample: dict) -> tuple[torch.Tensor, str | bytes]:
    image = sample["jpg"] if "jpg" in sample else sample["image"]
    return torch.from_numpy(decode(image)), sample["json"]


def _batched(items: list) -> tuple[torch.Tensor, list]:
    """The default collation for images, which stacks them in shared memory; texts stay a list."""
    return torch.utils.data.default_collate([image for image, _ in items]), [text for _, text in items]


def _torch_loader(data, workers: int, loader=DataLoader) -> Iterator[torch.Tensor]:
    batches = loader(data, batch_size=BATCH, num_workers=workers, collate_fn=_batched, prefetch_factor=2)
    return (images for images, _ in batches)


def _webdataset(store: Path, workers: int) -> Iterator[torch.Tensor]:
    webdataset = _import("webdataset")
    shards = sorted(str(path) for path in store.glob("*.tar"))
    data = webdataset.WebDataset(shards, shardshuffle=False, empty_check=False).map(_decoded)
    return _torch_loader(data, workers)


def _datasets(store: Path, workers: int) -> Iterator[torch.Tensor]:
    datasets = _import("datasets")
    files = sorted(str(path) for path in store.glob("*.parquet"))
    data = datasets.load_dataset("parquet", data_files={"train": files}, split="train", streaming=True)
    data = data.map(_with_pixels, remove_columns=["image"])
    batches = DataLoader(data, batch_size=BATCH, num_workers=workers, collate_fn=_batched_rows, prefetch_factor=2)
    return (images for images, _ in batches)


def _with_pixels(sample: dict) -> dict:
    return {"pixels": decode(sample["image"])}


def _batched_rows(rows: list[dict]) -> tuple[torch.Tensor, list]:
    return _batched([(torch.from_numpy(row["pixels"]), row["json"]) for row in rows])


def _litdata(store: Path, workers: int) -> Iterator[torch.Tensor]:
    litdata = _import("litdata")
    data = litdata.StreamingDataset(str(store), shuffle=False, transform=_decoded)
    return _torch_loader(data, workers, litdata.StreamingDataLoader)


def _streaming(store: Path, workers: int) -> Iterator[torch.Tensor]:
    streaming = _import("streaming")

    class Decoded(streaming.StreamingDataset):
        def __getitem__(self, index):
            return _decoded(super().__getitem__(index))

    return _torch_loader(Decoded(local=str(store), shuffle=False, batch_size=BATCH), workers)


@dataclass
class Images(Dataset):
    """The images and record texts of planned packs, read as the trainer's loader reads them."""

    selection: Selection

    def __getitem__(self, reference: PackReference) -> tuple[torch.Tensor, list[bytes]]:
        rows = [row for row, _ in reference.units]
        self.selection.fetch(rows)
        pixels_NCHW = empty_pixels(len(rows), SIZE)
        for row, room_CHW in zip(rows, pixels_NCHW.numpy(), strict=True):
            decode(self.selection.image(row), room_CHW)
        return pixels_NCHW, [self.selection.record_bytes(row) for row in rows]


def _opened(store: Path) -> tuple[PackDataset, PackSampler]:
    """Packs of about 32 images over as many epochs as there are copies."""
    selection = select([store], ["train"])
    tokenizer = train_tokenizer(training_texts(selection), 1024)
    processor = EarthGPTProcessor(EarthGPTImageProcessor(SIZE), tokenizer, IMAGE_SLOTS)
    digest, prefix = tokenizer_digest(processor), len(processor.encode_prefix(True))
    lengths = length_table(selection, processor, digest, store.parent / "lengths")
    tokens_per_pack = BATCH * (prefix + int(lengths.tokens.sum()) // len(selection))
    settings = PlanSettings(selection.data_set_id, digest, 0, tokens_per_pack, prefix, tokens_per_pack, 256, 64, 4096)
    stream = PackSequence(lengths, settings)
    copies = json.loads((store.parent / "facts.json").read_text())["copies"]
    sampler = PackSampler(stream, stream.start(), stream.steps(copies, 1), 1)
    return PackDataset(selection, lengths, processor, tokens_per_pack), sampler


def _ours(store: Path, workers: int) -> Iterator[torch.Tensor]:
    packs, sampler = _opened(store)
    batches = DataLoader(
        Images(packs.selection),
        batch_size=None,
        sampler=sampler,
        num_workers=workers,
        collate_fn=_unchanged,
        prefetch_factor=2,
    )
    return (images for images, _ in batches)


def _unchanged(batch):
    return batch


def _whole_packs(store: Path, workers: int) -> Iterator[torch.Tensor]:
    return (pack.pixel_values_NCHW for pack in pack_loader(*_opened(store), workers))


_LOADERS: dict[str, Callable[[Path, int], Iterator[torch.Tensor]]] = {
    "ours": _ours,
    "ours, whole packs": _whole_packs,
    "webdataset": _webdataset,
    "datasets": _datasets,
    "litdata": _litdata,
    "mosaicml-streaming": _streaming,
}


def timing(name: str, store: Path, workers: int) -> dict:
    """Images per second of one loader, from its first batch on, and the seconds to that batch."""
    torch.set_num_threads(1)
    if name == "bare decode":
        return {"name": name, "workers": workers, **_bare_decode(store, workers)}
    batches = _LOADERS[name](store / ("ours" if name in OURS else name), workers)
    began = time.perf_counter()
    first = len(next(batches))
    opened = time.perf_counter()
    images, total = 0, 0
    for batch in batches:
        if batch.dtype != torch.uint8 or tuple(batch.shape[1:]) != (3, SIZE, SIZE):
            raise ValueError(f"{name} delivered {batch.dtype} {tuple(batch.shape)}")
        images += len(batch)
        total += int(batch[0, 0, 0, 0])
    seconds = time.perf_counter() - opened
    return {
        "name": name,
        "workers": workers,
        "images": images + first,
        "images_per_second": round(images / seconds, 2),
        "first_batch_seconds": round(opened - began, 4),
    }


def _bare_decode(store: Path, workers: int) -> dict:
    samples = [image for image, _ in stored(store / "ours")]
    samples *= json.loads((store / "facts.json").read_text())["copies"]
    parts = [samples[number::workers] for number in range(workers)]
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(workers), context.Queue()
    processes = [context.Process(target=_decode_part, args=(part, barrier, results)) for part in parts]
    for process in processes:
        process.start()
    seconds = [results.get(timeout=600) for _ in processes]
    for process in processes:
        process.join()
    return {"images": len(samples), "images_per_second": round(len(samples) / max(seconds), 2)}


def _decode_part(samples: list[bytes], barrier, results) -> None:
    decode(samples[0])
    barrier.wait()
    began = time.perf_counter()
    for data in samples:
        decode(data)
    results.put(time.perf_counter() - began)


def summary(rows: list[dict]) -> dict:
    """Per number of workers: minimum and median of every loader, ours over the best peer and over bare decoding."""
    result = {}
    for workers in sorted({row["workers"] for row in rows}):
        rates: dict[str, list[float]] = {}
        for row in rows:
            if row["workers"] == workers:
                rates.setdefault(row["name"], []).append(row["images_per_second"])
        median = {name: statistics.median(values) for name, values in rates.items()}
        peers = {name: value for name, value in median.items() if name in PEERS}
        best = max(peers, key=peers.__getitem__) if peers else None
        result[f"workers={workers}"] = {
            "images_per_second_median": median,
            "images_per_second_min": {name: min(values) for name, values in rates.items()},
            "best_peer": best,
            "over_best_peer": {name: round(median[name] / median[best], 3) for name in OURS} if best else None,
            "over_bare_decode": {name: round(median[name] / median["bare decode"], 3) for name in OURS},
        }
    return result


if __name__ == "__main__":
    main()
