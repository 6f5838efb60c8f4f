"""Real tokens per second of three trainers over the same samples: `python -m benchmarks.trainer --out RESULT.json`.

(a) a plain loop, one dialogue per sequence, padded to the longest of the batch;
(b) `transformers.Trainer` on the same sequences, grouped by length;
(c) ours: all dialogues of an image behind one copy of its visual tokens, several images per pack.

On a CPU the tiny model trains in full, in interleaved rounds. On a GPU, with nothing but torch and transformers beside
this project (numpy, pyarrow, pillow, pyyaml, safetensors; pydantic, orjson and click):

    python3 -m benchmarks.trainer --device cuda --preset 7b --stage b --minutes 8 --out RESULT.json

random weights are made in bf16 on the GPU, nothing is read from a disk, and ours is tried in several settings until the
minutes are used up. `--shards FOLDER` adds ours through the real loader. The file is written after every part.

Counted are target tokens (those with a loss) and real input tokens; padding never counts. The padded trainers read an
image's tokens once per dialogue, so their input tokens per second are not to be compared with ours: targets are.
`mfu_4n` is 4 N operations per real input token over the peak, N the language model's parameters; `mfu` counts every
part by formula (`training.model.accounting`).
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch

from benchmarks import dialogues, padded
from benchmarks.machine import describe
from benchmarks.padded import Clock, Counts
from training.config import ParallelConfig, TrainConfig, load_config
from training.data.collate import EncodedUnit, Pack, collate_packs
from training.data.loader import PackDataset, PackSampler, pack_loader
from training.data.planning.lengths import length_table, tokenizer_digest
from training.data.planning.plan import Lengths, PlanSettings
from training.data.planning.selection import select
from training.data.planning.sequence import PackSequence
from training.model import EarthGPTForConditionalGeneration, EarthGPTImageProcessor, EarthGPTProcessor, preset
from training.model.accounting import step_flops
from training.model.tokenizer import IMAGE, train_tokenizer
from training.stages.stage import apply_stage
from training.step.objective.loss import PackLosses
from training.step.optim import build_optimiser
from training.step.ranks import Ranks
from training.step.sharding import parallelize
from training.step.step import TargetLabels, Training, optimiser_step

RECIPES = Path(__file__).parents[1] / "training" / "recipes"
STAGES = {"full": "tiny.yaml", "a": "stage-a-7b.yaml", "b": "stage-b-7b.yaml"}
WARMUP = 3
# Dense bf16 with fp32 sums, by the maker's data sheets.
PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}


@dataclass(frozen=True)
class Setting:
    """How ours runs: tokens per pack, packs per optimiser step, compiled blocks, activation checkpointing."""

    tokens_per_pack: int
    packs_per_step: int = 1
    compile: bool = False
    checkpointing: bool = False


@dataclass(frozen=True)
class Bench:
    """What all parts share: model, samples, device, and when to stop."""

    model: EarthGPTForConditionalGeneration
    processor: EarthGPTProcessor
    units: list[EncodedUnit]
    config: TrainConfig
    device: torch.device
    deadline: float

    @property
    def pad_id(self) -> int:
        return self.processor.tokenizer.pad_token_id

    def synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def seconds_left(self) -> float:
        return self.deadline - time.perf_counter()


def main() -> None:
    """Run every part that fits the time and write one JSON file."""
    given = _arguments()
    began = time.perf_counter()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    bench = _bench(given, began + 60 * given.minutes)
    result = {
        "date": date.today().isoformat(),
        "machine": describe() | ({"gpu": torch.cuda.get_device_name()} if given.device == "cuda" else {}),
        "arguments": {name: str(value) for name, value in vars(given).items() if name != "out"},
        "samples": _describe_samples(bench),
        "parts": [],
    }
    say(f"ready after {time.perf_counter() - began:.0f} s: {result['samples']}")
    parts = _gpu_parts(bench, given) if given.device == "cuda" else _cpu_parts(bench, given)
    for part in parts:
        result["parts"].append(part)
        result["summary"] = summary(result["parts"])
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(result, indent=2) + "\n")
    for line in summary(result["parts"]).items():
        say(line)


def say(line) -> None:
    print(line, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--stage", choices=tuple(STAGES), default="full", help="which parameters train")
    parser.add_argument("--minutes", type=float, default=8.0, help="start no part after so many minutes")
    parser.add_argument("--images", type=int, default=64, help="images of the epoch that every part runs")
    parser.add_argument("--rounds", type=int, default=5, help="on a CPU: interleaved repetitions")
    parser.add_argument("--only", choices=("ours",), help="on a CPU: leave out the other trainers")
    parser.add_argument("--batch", type=int, nargs="+", help="sequences per batch of (a) and (b); the best one counts")
    parser.add_argument("--shards", type=Path, help="a finished data set: adds ours through the real loader")
    parser.add_argument("--workers", type=int, default=8, help="loader processes of that part")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def _bench(given: argparse.Namespace, deadline: float) -> Bench:
    samples = dialogues.generate(given.images, seed=0)
    config = load_config(RECIPES / STAGES[given.stage], (f"device={given.device}", "out=unused"))
    tokenizer = train_tokenizer(dialogues.texts(dialogues.generate(2000, seed=1)), 1024)
    model = _model(given.preset, tokenizer, config, torch.device(given.device))
    image_processor = EarthGPTImageProcessor(model.config.image_size)
    processor = EarthGPTProcessor(image_processor, tokenizer, model.config.image_slots)
    return Bench(
        model, processor, dialogues.encode(samples, processor, 0), config, torch.device(given.device), deadline
    )


def _model(name: str, tokenizer, config: TrainConfig, device: torch.device) -> EarthGPTForConditionalGeneration:
    """Random weights, made where they are used: bf16 on a GPU, fp32 on a CPU."""
    ids = {key: getattr(tokenizer, key) for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    vocab_size = len(tokenizer) if name == "tiny" else 32000
    model_config = preset(name, vocab_size=vocab_size, image_token_id=tokenizer.get_vocab()[IMAGE], **ids)
    if config.stage.tuning is not None:
        model_config.tuning, model_config.tune_head = config.stage.tuning.kind, config.stage.tuning.head
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16 if device.type == "cuda" else torch.float32)
    try:
        with device:
            return EarthGPTForConditionalGeneration(model_config)
    finally:
        torch.set_default_dtype(before)


def _describe_samples(bench: Bench) -> dict:
    dialogues_of = [dialogue for unit in bench.units for dialogue in unit.dialogues]
    return {
        "images": len(bench.units),
        "dialogues": len(dialogues_of),
        "text_tokens": sum(len(dialogue.ids) for dialogue in dialogues_of),
        "target_tokens": sum(sum(dialogue.is_target) for dialogue in dialogues_of),
        "tokens_per_image_prefix": len(bench.processor.encode_prefix(True)),
    }


def _cpu_parts(bench: Bench, given: argparse.Namespace) -> Iterator[dict]:
    """Rounds in which the trainers take turns, so that a busy moment of the machine hits all of them."""
    step = bench.config.tokens_per_step
    ours = [Setting(size, step // size) for size in (bench.config.tokens_per_pack, 2 * bench.config.tokens_per_pack)]
    for number in range(given.rounds):
        for batch in () if given.only else given.batch or (4, 8, 16):
            part = measure(bench, "padded loop", {"batch": batch}, lambda b=batch: _padded_loop(bench, b))
            yield part | {"round": number}
            part = measure(bench, "hf trainer", {"batch": batch}, lambda b=batch: _hf_trainer(bench, b))
            yield part | {"round": number}
        for setting in ours:
            yield measure(bench, "ours", asdict(setting), lambda s=setting: _ours(bench, s)) | {"round": number}


def _gpu_parts(bench: Bench, given: argparse.Namespace) -> Iterator[dict]:
    """The most telling parts first: a run that ends early has them."""
    settings = [
        Setting(8192, 1, compile=True),
        Setting(8192, 1, compile=True, checkpointing=True),
        Setting(4096, 2, compile=True),
        Setting(12288, 1, compile=True),
        Setting(4096, 2),
    ]
    batches = given.batch or (3, 2, 4)
    yield measure(bench, "ours", asdict(settings[0]), lambda: _ours(bench, settings[0]))
    yield measure(bench, "padded loop", {"batch": batches[0]}, lambda: _padded_loop(bench, batches[0]))
    yield measure(bench, "hf trainer", {"batch": batches[0]}, lambda: _hf_trainer(bench, batches[0]))
    if given.shards:
        yield measure(
            bench,
            "ours through the loader",
            asdict(settings[0]) | {"workers": given.workers},
            lambda: _ours_loader(bench, settings[0], given.shards, given.workers),
        )
    for setting in settings[1:]:
        yield measure(bench, "ours", asdict(setting), lambda s=setting: _ours(bench, s))
    for batch in batches[1:]:
        yield measure(bench, "padded loop", {"batch": batch}, lambda b=batch: _padded_loop(bench, b))
        yield measure(bench, "hf trainer", {"batch": batch}, lambda b=batch: _hf_trainer(bench, b))


def measure(bench: Bench, name: str, settings: dict, run: Callable[[], Counts]) -> dict:
    """One part as plain values; what cannot run (memory, a missing package, no time left) says why."""
    part = {"name": name, "settings": settings}
    if bench.seconds_left() <= 0:
        return _told(part | {"not_run": "no time left"})
    gc.collect()
    if bench.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    try:
        counts = run()
    except torch.OutOfMemoryError as error:
        return _told(part | {"not_run": f"out of memory: {str(error).splitlines()[0]}"})
    except ImportError as error:
        return _told(part | {"not_run": str(error)})
    finally:
        bench.model.zero_grad(set_to_none=True)
    part |= {"counts": asdict(counts), **_rates(bench, counts)}
    part["seconds_with_start"] = round(time.perf_counter() - began, 2)
    if bench.device.type == "cuda":
        part["peak_memory_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    return _told(part)


def _told(part: dict) -> dict:
    shown = {key: value for key, value in part.items() if key != "counts"}
    say(f"{time.strftime('%H:%M:%S')} {json.dumps(shown)}")
    return part


def _rates(bench: Bench, counts: Counts) -> dict:
    text = bench.model.language_model, bench.model.lm_head
    weights = sum(value.numel() for part in text for value in part.parameters())
    flops = step_flops(bench.model, counts.real, counts.pairs, counts.images, counts.targets).total
    rates = {
        "target_tokens_per_second": round(counts.targets / counts.seconds, 1),
        "target_tokens_per_processor_second": round(counts.targets / counts.processor_seconds, 1),
        "input_tokens_per_second": round(counts.real / counts.seconds, 1),
        "dialogues_per_second": round(counts.dialogues / counts.seconds, 2),
        "padding_share": round(1 - counts.real / counts.positions, 4),
        "tflops": round(flops / counts.seconds / 1e12, 3),
    }
    if bench.device.type == "cuda":
        name = torch.cuda.get_device_name()
        peak = next((value for key, value in PEAK_FLOPS.items() if key in name), None)
        if peak is not None:
            rates["mfu"] = round(flops / counts.seconds / peak, 4)
            rates["mfu_4n"] = round(4 * weights * counts.real / counts.seconds / peak, 4)
    return rates


def _fresh_optimiser(bench: Bench) -> torch.optim.Optimizer:
    frozen = torch.bfloat16 if bench.device.type == "cuda" else None
    return build_optimiser(apply_stage(bench.model, bench.config.stage, frozen), bench.config.optimiser)


def _sequences(bench: Bench) -> padded.Sequences:
    positions = bench.model.config.text_config.max_position_embeddings
    return padded.sequences(bench.units, bench.processor.encode_prefix(True), positions)


def _padded_warmup(bench: Bench) -> int:
    return 16 if bench.device.type == "cuda" else 2


def _padded_loop(bench: Bench, batch: int) -> Counts:
    optimiser, data = _fresh_optimiser(bench), _sequences(bench)
    warmup = _padded_warmup(bench)
    return padded.plain_loop(bench.model, optimiser, data, bench.pad_id, batch, warmup, bench.device, bench.synchronise)


def _hf_trainer(bench: Bench, batch: int) -> Counts:
    _fresh_optimiser(bench)
    bench.model.train()
    rate = bench.config.stage.trainable[0].learning_rate
    data, warmup = _sequences(bench), _padded_warmup(bench)
    return padded.hf_trainer(bench.model, data, bench.pad_id, batch, warmup, rate, bench.device, bench.synchronise)


def _ours(bench: Bench, setting: Setting) -> Counts:
    """One epoch of packs held in memory, after the warm-up."""
    stream = PackSequence(lengths_of(bench.units), _plan_settings(bench, setting, "generated", "generated"))
    packs = packs_of(bench.units, stream, bench.processor)
    return _run(bench, setting, dialogues.TASKS, cycle(packs), len(packs) // setting.packs_per_step)


def _ours_loader(bench: Bench, setting: Setting, shards: Path, workers: int) -> Counts:
    """The same through selection, plan, worker processes and collation, from shards on a disk."""
    selection = select([shards], ["train"])
    digest = tokenizer_digest(bench.processor)
    with tempfile.TemporaryDirectory() as cache:
        table = length_table(selection, bench.processor, digest, Path(cache))
    stream = PackSequence(table, _plan_settings(bench, setting, selection.data_set_id, digest))
    steps = min(len(stream.plan(0)) // setting.packs_per_step, 16)
    dataset = PackDataset(selection, table, bench.processor, setting.tokens_per_pack)
    sampler = PackSampler(stream, stream.start(), 2 * steps + WARMUP, setting.packs_per_step)
    packs = iter(pack_loader(dataset, sampler, workers, pin_memory=bench.device.type == "cuda"))
    return _run(bench, setting, selection.tasks, packs, steps)


@contextmanager
def _prepared(bench: Bench, setting: Setting) -> Iterator[PackLosses]:
    """The setting's kernels, compiled blocks and checkpointing, taken back afterwards."""
    ranks = Ranks(device=bench.device)
    if setting.compile:
        torch.compiler.reset()
    checkpointing = "full" if setting.checkpointing else "none"
    config = ParallelConfig(activation_checkpointing=checkpointing, compile=setting.compile)
    try:
        yield parallelize(bench.model, config, ranks)
    finally:
        parallelize(bench.model, ParallelConfig(attention="sdpa"), ranks)


def _run(bench: Bench, setting: Setting, tasks: tuple[str, ...], packs: Iterator[Pack], steps: int) -> Counts:
    optimiser = _fresh_optimiser(bench)
    bench.model.train()
    counts, clock = Counts(steps=steps), Clock()
    # A GPU prepares kernels for every number of images that it meets for the first time, half a second each.
    warmup = steps if bench.device.type == "cuda" else WARMUP
    with _prepared(bench, setting) as prepared:
        training = Training(
            config=bench.config,
            model=bench.model,
            optimiser=optimiser,
            labels=TargetLabels(tasks),
            ranks=Ranks(device=bench.device),
            prepared=prepared,
        )
        for number in range(warmup + steps):
            if number == warmup:
                bench.synchronise()
                clock.start()
            chosen = list(islice(packs, setting.packs_per_step))
            outcome = optimiser_step(training, chosen, number + 1)
            if number >= warmup:
                for pack in chosen:
                    _count(counts, pack)
        bench.synchronise()
        clock.stop()
    counts.seconds, counts.processor_seconds = clock.seconds, clock.processor_seconds
    counts.loss = outcome.loss
    return counts


def _count(counts: Counts, pack: Pack) -> None:
    counts.targets += pack.targets
    counts.real += pack.real_tokens
    counts.positions += len(pack.input_ids_L)
    counts.images += len(pack.sample_ids)
    image_L, dialogue_L = pack.image_segment_L.numpy(), pack.dialogue_segment_L.numpy()
    for image in range(len(pack.sample_ids)):
        sizes = np.bincount(dialogue_L[image_L == image])
        prefix, others = int(sizes[0]), sizes[1:].astype(int)
        counts.dialogues += len(others)
        counts.pairs += prefix * (prefix + 1) // 2 + int((others * prefix + others * (others + 1) // 2).sum())


def lengths_of(units: list[EncodedUnit]) -> Lengths:
    """The lengths table of units in memory."""
    rows = [
        (row, len(dialogue.ids), sum(dialogue.is_target))
        for row, unit in enumerate(units)
        for dialogue in unit.dialogues
    ]
    row, tokens, targets = np.array(rows, np.int32).T
    return Lengths(row, tokens, targets, np.zeros(len(units), np.int32))


def packs_of(units: list[EncodedUnit], stream: PackSequence, processor: EarthGPTProcessor) -> list[Pack]:
    """All packs of the first epoch."""
    plan = stream.plan(0)
    prefix_ids, pad_id = processor.encode_prefix(True), processor.tokenizer.pad_token_id
    return [
        collate_packs(
            [_part_of(units[row], entries, stream.lengths) for row, entries, *_ in plan.pack(number)],
            prefix_ids,
            stream.settings.tokens_per_pack,
            pad_id,
            processor.image_processor.image_size,
            number=number,
        )
        for number in range(len(plan))
    ]


def _part_of(unit: EncodedUnit, entries: np.ndarray, lengths: Lengths) -> EncodedUnit:
    """The unit with those of its dialogues that the plan put into one pack."""
    first = int(np.searchsorted(lengths.row, lengths.row[entries[0]]))
    chosen = tuple(unit.dialogues[entry - first] for entry in entries)
    return EncodedUnit(unit.sample_id, unit.pixels_CHW, chosen)


def _plan_settings(bench: Bench, setting: Setting, data_set_id: str, digest: str) -> PlanSettings:
    data = bench.config.data
    return PlanSettings(
        data_set_id=data_set_id,
        tokenizer_digest=digest,
        seed=0,
        tokens_per_pack=setting.tokens_per_pack,
        prefix_tokens=len(bench.processor.encode_prefix(True)),
        max_positions=bench.model.config.text_config.max_position_embeddings,
        shuffle_block_samples=data.shuffle_block_samples,
        shuffle_window_blocks=data.shuffle_window_blocks,
        packing_window_units=data.packing_window_units,
    )


RATE, PROCESSOR_RATE = "target_tokens_per_second", "target_tokens_per_processor_second"


def summary(parts: list[dict]) -> dict:
    """Best settings of each trainer: medians of target tokens per second of wall and of processor time, and ours over
    the others. Of a busy machine the second alone means something."""
    runs: dict[tuple[str, str], list[dict]] = {}
    for part in parts:
        if RATE in part:
            runs.setdefault((part["name"], json.dumps(part["settings"])), []).append(part)
    best: dict[str, dict] = {}
    for (name, settings), chosen in runs.items():
        values = [part[RATE] for part in chosen]
        median = statistics.median(values)
        if name not in best or median > best[name][f"{RATE}_median"]:
            best[name] = {
                "settings": json.loads(settings),
                f"{RATE}_median": median,
                f"{RATE}_min": min(values),
                f"{PROCESSOR_RATE}_median": statistics.median(part[PROCESSOR_RATE] for part in chosen),
                "runs": len(values),
            }
    ours = best.get("ours")
    if ours is None:
        return best
    others = {name: best[name] for name in ("padded loop", "hf trainer") if name in best}
    ratios = {
        f"ours / {name}{of}": round(ours[f"{rate}_median"] / other[f"{rate}_median"], 3)
        for name, other in others.items()
        for rate, of in ((RATE, ""), (PROCESSOR_RATE, " by processor time"))
    }
    return best | ratios


if __name__ == "__main__":
    main()
