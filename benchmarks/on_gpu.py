"""All that needs a GPU, in one go of a quarter of an hour: `python -m benchmarks.on_gpu --samples DIR --out FOLDER`.

Each part runs in a process of its own with a bound on its time, and what it printed lies in the folder:

- `learn`: `small` with random weights at 336 and 448 px on all real samples for `--minutes`, its curve, and its scores
  by every protocol of `real_evaluation.py` beside the constant answers';
- `ranks`: the first steps of a run by `torchrun`, FSDP2 over NCCL, against those of one process;
- `stage-b`: 7B stage B by `trainer.py`, tokens a second and MFU;
- `tests`: `tests/training/test_cuda.py`.

Where torch sees no GPU the same parts run small: `tiny`, two ranks over gloo, `trainer.py` on the CPU, tests skipped.
`--shards` takes data sets that were built before, for machines that lack rasterio.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import torch

from benchmarks.learning import RECIPES
from benchmarks.machine import describe
from benchmarks.real_evaluation import QUIET, TASKS, build_samples
from training.config import load_config
from training.evaluation.generate import Decoding
from training.evaluation.questions import QuestionScope
from training.evaluation.run import EvaluationConfig, evaluate
from training.report.monitor import read_metrics
from training.run.train import train

PARTS = ("ranks", "learn", "stage-b", "tests")
RECIPE = (
    "model.coordinates=hundredths",
    "model.visual_positions=true",
    "data.box_order=rows",
    "loss.coordinate_spread=0.02",
    "auxiliary={alone_share: 0.5}",
    "epochs=null",
)
ON_GPU = (
    "model.preset=small",
    "model.encoders.vit.image_size=336",
    "model.encoders.cnn.image_size=448",
    "device=cuda",
    "workers=8",
    "tokens_per_pack=8192",
    "tokens_per_step=16384",
    "stage.trainable.0.learning_rate=5e-4",
)
TIMED_STEPS, WARM_STEPS, COMPARED_STEPS = 30, 10, 6


def main() -> None:
    """Run the parts, or with `--part` one of them, and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--samples", type=Path, help="folder with the samples of `real_evaluation.py`")
    where.add_argument("--shards", type=Path, help="they, built")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=8.0, help="of training in `learn`")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.part:
        result = learn(given) if given.part == "learn" else compare_ranks(given)
        (given.out / f"{given.part}.json").write_text(json.dumps(result, indent=1) + "\n")
        return
    if given.shards is None:
        given.shards = given.out / "shards"
        build_samples(given.samples, given.out / "rsvqa-lr", given.shards)
    result = {"date": date.today().isoformat(), "machine": describe(), "gpu": on_gpu() and torch.cuda.get_device_name()}
    for part in given.parts:
        result[part] = run_part(given, part)
        (given.out / "on-gpu.json").write_text(json.dumps(result, indent=1) + "\n")
        print(part, json.dumps(result[part])[:400], flush=True)


def on_gpu() -> bool:
    """Whether torch sees one."""
    return torch.cuda.is_available()


def run_part(given: argparse.Namespace, part: str) -> dict[str, Any]:
    """Exit code, seconds, and what the part wrote as JSON."""
    written = given.out / f"{part}.json"
    own = ["-m", "benchmarks.on_gpu", "--shards", given.shards, "--out", given.out, "--part", part]
    trainer = ["-m", "benchmarks.trainer", "--stage", "b", "--preset", "7b", "--device", "cuda", "--minutes", "2"]
    if not on_gpu():
        trainer = ["-m", "benchmarks.trainer", "--device", "cpu", "--images", "16", "--rounds", "1", "--minutes", "1"]
    words = {
        "learn": [*own, "--minutes", given.minutes],
        "ranks": own,
        "stage-b": [*trainer, "--out", written],
        "tests": ["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/training/test_cuda.py"],
    }[part]
    seconds = 60 * given.minutes * (2 if part == "learn" else 1) + 240
    began = time.perf_counter()
    with (given.out / f"{part}.log").open("wb") as log:
        try:
            code = subprocess.run(
                [sys.executable, *map(str, words)], stdout=log, stderr=subprocess.STDOUT, timeout=seconds, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            code = None
    result: dict[str, Any] = {"exit_code": code, "seconds": round(time.perf_counter() - began, 1)}
    if code == 0 and written.exists():
        result["found"] = json.loads(written.read_text())
    return result


def changes_for(given: argparse.Namespace, out: Path, steps: int) -> list[str]:
    """What differs from the recipe tiny."""
    own = [f"data.folders={given.shards}", f"out={out}", f"max_steps={steps}", "log.tensorboard=false"]
    return [*RECIPE, *(ON_GPU if on_gpu() else ()), *own]


def learn(given: argparse.Namespace) -> dict[str, Any]:
    """A run of as many steps as fit in the minutes, by the time of its first ones, and its scores."""
    timed = train(load_config(RECIPES / "tiny.yaml", changes_for(given, given.out / "timed", TIMED_STEPS)), QUIET)
    per_step = statistics.median(step["seconds"] for step in read_metrics(timed.metrics)[WARM_STEPS:])
    steps = max(TIMED_STEPS, round(60 * given.minutes / per_step))
    began = time.perf_counter()
    trained = train(load_config(RECIPES / "tiny.yaml", changes_for(given, given.out / "run", steps)), QUIET)
    seconds = time.perf_counter() - began
    scope = QuestionScope("test", tasks=TASKS, limit=None if on_gpu() else 16)
    decoding = Decoding(batch_size=64, max_new_tokens=400)
    result = evaluate(EvaluationConfig(trained.model, given.shards, given.out / "scores", scope, decoding), QUIET)
    metrics = read_metrics(trained.metrics)
    return {
        "steps": trained.steps,
        "training_seconds": round(seconds, 1),
        "images": sum(step["images"] for step in metrics),
        "losses": [round(step["loss"], 4) for step in metrics],
        "scores": {
            f"{row.source} {row.protocol}": [row.value, row.interval_95, row.constant_value] for row in result.rows
        },
    }


def compare_ranks(given: argparse.Namespace) -> dict[str, Any]:
    """Losses of the first steps of one process, and of ranks that share the same step: two on a CPU, one on a GPU."""
    ranks = 1 if on_gpu() else 2
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    losses = {}
    for name, launcher in (("alone", [sys.executable]), ("ranks", torchrun)):
        out = given.out / f"ranks-{name}"
        words = ["-m", "cli", "--quiet", "train", "tiny"]
        for change in changes_for(given, out, COMPARED_STEPS):
            words += ["--set", change]
        subprocess.run([*launcher, *words], check=True)
        losses[name] = [step["loss"] for step in read_metrics(out / "metrics.jsonl") if "loss" in step]
    apart = max(abs(one - other) / one for one, other in zip(losses["alone"], losses["ranks"], strict=True))
    return {"ranks": ranks, "losses": losses, "furthest_apart": apart}


if __name__ == "__main__":
    main()
