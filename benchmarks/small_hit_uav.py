"""A real run on a CPU: `python -m benchmarks.small_hit_uav --samples FOLDER --llm FILE --out RESULT.json`.

SmolLM2-135M behind small encoders with random weights learns box answers from a part of HIT-UAV, through the functions
of the commands: build, assemble, train, evaluate. Everything trains. Written beside the JSON: the loss curve and a
sheet of predictions on test images.

Reported as they are: mean loss per target token on held-out images before and after; on the test split, F1 at IoU 0.5,
and how often the number of boxes in an answer is the true one, beside what a constant answer of the most frequent
number of the training split would reach, and how many different answers were given at all. In its 17 minutes on two
cores (22 with everything around it) the recorded run learns the form of the answers and their statistics, and nothing
from the images: encoders that start from random weights and see 185 images cannot tell objects of a few pixels apart.
The run shows that the whole chain works and what it costs, not what a trained EarthGPT can do.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import tempfile
import time
from collections import Counter
from datetime import date
from pathlib import Path

import torch

from benchmarks.machine import describe
from benchmarks.stage_b import held_out_state
from converters.resolve import resolve
from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.progress import Progress
from training.config import TrainConfig
from training.data.planning.selection import Selection, select
from training.evaluation.answers import read_answers
from training.evaluation.generate import Decoding
from training.evaluation.questions import QuestionScope
from training.evaluation.run import EvaluationConfig, evaluate
from training.model.assembly.assemble import AssemblyRequest
from training.model.assembly.assemble import assemble as assemble_model
from training.report.monitor import read_metrics
from training.run.train import train

QUIET = Progress(quiet=True)
MAX_OBJECTS = 12
RECIPE = {
    "sources": [{"name": "hit-uav", "tasks": ["detection-hbb"]}],
    "per_class_prompts": False,
    "max_objects_per_dialogue": MAX_OBJECTS,
}
# 66 positions per image. Objects of HIT-UAV are small, but larger inputs leave no time for a second pass on a CPU.
SIZES = {"vit.image_size": 224, "cnn.image_size": 256}
TOKENS_PER_PACK = 1024


def main() -> None:
    """Build, assemble, train, evaluate; write the JSON and the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=Path, required=True, help="HIT-UAV root")
    parser.add_argument("--llm", required=True, help="SmolLM2-135M: folder or GGUF file")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--held-out", type=int, default=24, help="images of the val split whose loss is measured")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=Path, help="folder that keeps shards, models and run; default: a temporary one")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as temporary:
        work = given.work or Path(temporary)
        result = {"date": date.today().isoformat(), "machine": describe()} | measure(given, work)
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(result, indent=2) + "\n")
        shutil.copy(work / "run" / "run.png", given.out.with_name(f"{given.out.stem}-loss.png"))
        shutil.copy(work / "scores" / "predictions.png", given.out.with_name(f"{given.out.stem}-predictions.png"))
    print(f"written: {given.out}")


def measure(given: argparse.Namespace, work: Path) -> dict:
    """All figures of the run, as plain values."""
    recipe = BuildRecipe.model_validate(RECIPE)
    builds = resolve(recipe, {"hit-uav": given.samples}).builds
    build(plan_build(builds, recipe, 1, QUIET), recipe, work / "shards", 1, QUIET)
    assembled = assemble_model(AssemblyRequest(work / "base", given.llm, changes=SIZES))
    training, validation = select([work / "shards"], ["train"]), select([work / "shards"], ["val"])
    before, _ = held_out_state(work / "base", validation, given.held_out)
    say(f"held-out loss before: {before:.4f}")
    began, cpu = time.perf_counter(), _cpu_seconds()
    trained = train(_configuration(work, given.steps, given.threads), Progress())
    seconds, cpu_seconds = time.perf_counter() - began, _cpu_seconds() - cpu
    after, _ = held_out_state(trained.model, validation, given.held_out)
    say(f"held-out loss after: {after:.4f}")
    result = evaluate(
        EvaluationConfig(
            trained.model,
            work / "shards",
            work / "scores",
            QuestionScope("test", tasks=("detection-hbb",)),
            Decoding(batch_size=16, max_new_tokens=30 * MAX_OBJECTS),
        ),
        Progress(),
    )
    steps = read_metrics(trained.metrics)
    return {
        "recipe": RECIPE,
        "model": {
            "sizes": SIZES,
            "parameters": assembled.parameters,
            "positions_per_image": assembled.image_slots,
            "parts": {part.role: [part.origin.rpartition("/")[2], part.licence] for part in assembled.parts},
        },
        "plan": json.loads((work / "run" / "plan.json").read_text()),
        "steps": given.steps,
        "threads": given.threads,
        "training_seconds": round(seconds, 1),
        "training_cpu_seconds": round(cpu_seconds, 1),
        "training_loss": [round(step["loss"], 4) for step in steps],
        "target_tokens": sum(step["target_tokens"] for step in steps),
        "held_out_images": min(given.held_out, len(validation)),
        "held_out_loss_before": before,
        "held_out_loss_after": after,
        "constant_count": _constant_count(training, select([work / "shards"], ["test"])),
        "distinct_answers": len({answer.text for answer in read_answers(result.answers_path)}),
        "scores": json.loads(result.scores_path.read_bytes()) | {"model": "run/model"},
    }


def say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def _configuration(work: Path, steps: int, threads: int) -> TrainConfig:
    rules = [
        {"pattern": r"model\.(vision|projector)\..*", "learning_rate": 1e-3},
        {"pattern": r"model\.language_model\..*", "learning_rate": 2e-4},
    ]
    return TrainConfig.model_validate(
        {
            "model": {"path": work / "base"},
            "data": {"folders": work / "shards"},
            "stage": {"name": "full", "trainable": rules},
            "schedule": {"warmup_share": 0.1, "min_ratio": 0.05},
            "checkpoint": {"every_steps": max(1, steps // 4), "keep_last": 1},
            "log": {"every_steps": 5, "tensorboard": False},
            "tokens_per_pack": TOKENS_PER_PACK,
            "tokens_per_step": TOKENS_PER_PACK,
            "max_steps": steps,
            "threads": threads,
            "out": work / "run",
        }
    )


def _constant_count(training: Selection, test: Selection) -> dict:
    """The most frequent number of objects of the training split, and its share of the test split."""
    numbers = [_objects(training, row) for row in range(len(training))]
    constant, _ = Counter(numbers).most_common(1)[0]
    wanted = [_objects(test, row) for row in range(len(test))]
    return {"objects": constant, "accuracy": round(sum(number == constant for number in wanted) / len(wanted), 4)}


def _objects(selection: Selection, row: int) -> int:
    return sum(not item.ignore for item in selection.record(row).objects)


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
