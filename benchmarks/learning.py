"""What a model with random weights learns from a source: `python -m benchmarks.learning TASK --root FOLDER --out JSON`.

Build, train, evaluate through the functions of the commands, once for each seed (of weights, order and augmentation).
Reported are the scores of the held-out split beside the constant answer's, the loss of every step, and the processor
time of the training, the first step's preparation included. Changes of the recipe are given as to `mmrs train`:
``--set tokens_per_step=1024``; what differs from the shipped recipe is part of the result.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.machine import describe
from benchmarks.plain_cnn import interval
from benchmarks.real_evaluation import official_names
from converters.resolve import resolve
from converters.samples.rsicd import write as write_drawn_captions
from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.progress import Progress
from training.config import load_config
from training.evaluation.generate import Decoding
from training.evaluation.questions import QuestionScope
from training.evaluation.run import EvaluationConfig, evaluate
from training.report.monitor import read_metrics
from training.run.train import train

QUIET = Progress(quiet=True)
RECIPES = Path(__file__).parents[1] / "training" / "recipes"


@dataclass(frozen=True)
class LearningTask:
    """A source, how it is built, what is trained with changes of which recipe, and what is scored.

    `prepare` makes of the given root, in a folder to write to, the one that is built.
    """

    source: str
    tasks: tuple[str, ...]
    prepare: Callable[[Path | None, Path], Path] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    build: dict[str, Any] = field(default_factory=dict)
    recipe: str = "tiny"
    changes: tuple[str, ...] = ()
    max_new_tokens: int = 16


def _drawn_captions(_root: Path | None, out: Path) -> Path:
    write_drawn_captions(out, images_per_split={"train": 880, "val": 11, "test": 220})
    return out


def _excerpt(root: Path | None, out: Path) -> Path:
    return official_names(_given(root), out)


def _given(root: Path | None) -> Path:
    if root is None:
        raise SystemExit("give --root, the folder of the source")
    return root


TASKS = {
    # Scenes that `mmrs sample rsicd` paints, of which the sentences are true.
    "captions": LearningTask(
        "rsicd", ("captioning",), prepare=_drawn_captions, changes=("epochs=6",), max_new_tokens=40
    ),
    "rsvqa-lr": LearningTask("rsvqa-lr", ("vqa",), prepare=_excerpt, changes=("epochs=40",)),
    "rsscn7": LearningTask("rsscn7", ("classification",), options={"train_share": 0.8}),
    "ssdd": LearningTask(
        "ssdd",
        ("detection-hbb",),
        build={"per_class_prompts": False},
        # 66 positions per image, and the finest maps that they can hold.
        changes=("model.encoders.vit.image_size=224", "model.encoders.cnn.image_size=256", "epochs=24"),
        max_new_tokens=400,
    ),
}


def main() -> None:
    """Run a task for each seed and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=sorted(TASKS))
    parser.add_argument("--root", type=Path, help="where the source lies; captions need none")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, help="folder that keeps shards, models and runs; default: a temporary one")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="A.B=C")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    task = TASKS[given.task]
    with TemporaryDirectory() as temporary:
        work = given.work or Path(temporary)
        root = task.prepare(given.root, work / "root") if task.prepare else _given(given.root)
        shards = build_shards(task, root, work / "shards")
        changes = [*task.changes, f"threads={given.threads}", *given.changes]
        runs = []
        for seed in given.seeds:
            runs.append(run(task, shards, work / f"run-{seed}", changes, seed))
            shown = {key: value for key, value in runs[-1].items() if key != "training_loss"}
            print(json.dumps(shown), flush=True)
    main_values = [next(iter(each["scores"].values()))["value"] for each in runs]
    result = {"date": date.today().isoformat(), "machine": describe(), "task": given.task, "changes": changes}
    result |= {"runs": runs} | interval(main_values)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=2) + "\n")


def build_shards(task: LearningTask, root: Path, out: Path) -> Path:
    """The data set of a task."""
    source = {"name": task.source, "tasks": list(task.tasks), "options": task.options}
    recipe = BuildRecipe.model_validate({"sources": [source]} | task.build)
    build(plan_build(resolve(recipe, {task.source: root}).builds, recipe, 1, QUIET), recipe, out, 1, QUIET)
    return out


def run(task: LearningTask, shards: Path, out: Path, changes: list[str], seed: int) -> dict[str, Any]:
    """Scores, losses and processor time of one seed, as plain values."""
    own = [f"data.folders={shards}", f"out={out}", f"model.seed={seed}", f"data.seed={seed}", "log.tensorboard=false"]
    config = load_config(RECIPES / f"{task.recipe}.yaml", [*changes, *own])
    began = time.process_time()
    trained = train(config, QUIET)
    seconds = time.process_time() - began
    decoding = Decoding(batch_size=32, max_new_tokens=task.max_new_tokens)
    scope = QuestionScope("test", tasks=task.tasks)
    began = time.process_time()
    result = evaluate(EvaluationConfig(trained.model, shards, out / "scores", scope, decoding), QUIET)
    steps = read_metrics(trained.metrics)
    return {
        "seed": seed,
        "scores": {
            f"{row.source} {row.protocol}": {
                "metric": row.metric,
                "value": row.value,
                "interval_95": row.interval_95,
                "constant": row.constant_value,
                "questions": row.questions,
            }
            for row in result.rows
        },
        "training_cpu_seconds": round(seconds, 1),
        "evaluation_cpu_seconds": round(time.process_time() - began, 1),
        "steps": trained.steps,
        "images": sum(step["images"] for step in steps),
        "augmented": dict(trained.augmented),
        "training_loss": [round(step["loss"], 4) for step in steps],
    }


if __name__ == "__main__":
    main()
