"""Real images through the whole chain: `python -m benchmarks.real_evaluation --samples FOLDER --out RESULT.json`.

One `tiny` model with random weights learns scene classes (RSSCN7), boxes (SSDD, HIT-UAV) and answers (RSVQA's excerpt)
at once, for a few minutes on a CPU, and is scored by every protocol that applies. The values say that scoring works on
real sets and what such a model does not know; the raw answers lie beside the JSON, to be scored again by anybody:

    mmrs score ANSWERS DATA --out FOLDER
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import tempfile
import time
from datetime import date
from pathlib import Path

import torch

from benchmarks.machine import describe
from converters.resolve import resolve
from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.progress import Progress
from training.config import load_config
from training.evaluation.generate import Decoding
from training.evaluation.questions import QuestionScope
from training.evaluation.run import EvaluationConfig, evaluate
from training.evaluation.tasks import find_task, task_names
from training.report.monitor import read_metrics
from training.run.train import train

QUIET = Progress(quiet=True)
# Images of RSVQA's excerpt that are held out, of twelve.
HELD_OUT = 4
SOURCES = {"rsscn7": "rsscn7-200", "ssdd": "ssdd-full", "hit-uav": "hit-uav", "rsvqa-lr": "rsvqa-lr-excerpt"}
TASKS = ("classification", "classification-listed", "vqa", "detection-hbb", "detection-obb", "referring", "counting")


def main() -> None:
    """Build, train, evaluate; write the JSON, and the raw answers beside it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=Path, required=True, help=f"folder with {', '.join(SOURCES.values())}")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=Path, help="folder that keeps shards, run and scores; default: a temporary one")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as temporary:
        work = given.work or Path(temporary)
        result = {"date": date.today().isoformat(), "machine": describe()} | measure(given, work)
        given.out.write_text(json.dumps(result, indent=1) + "\n")
        answers = (work / "scores" / "answers.jsonl").read_bytes()
        given.out.with_name(f"{given.out.stem}-answers.jsonl.gz").write_bytes(gzip.compress(answers, mtime=0))
    for row in result["scores"]["rows"]:
        print(row["task"], row["source"], row["protocol"], row["value"], "constant", row["constant_value"])


def measure(given: argparse.Namespace, work: Path) -> dict:
    """All figures, as plain values."""
    build_samples(given.samples, work / "rsvqa-lr", work / "shards")
    changes = (f"data.folders={work / 'shards'}", f"out={work / 'run'}", f"epochs={given.epochs}")
    config = load_config(Path("training/recipes/tiny.yaml"), (*changes, f"threads={given.threads}"))
    began = time.perf_counter()
    trained = train(config, Progress())
    seconds = time.perf_counter() - began
    protocols = tuple(protocol.name for name in task_names() for protocol in find_task(name).protocols)
    scored = EvaluationConfig(
        trained.model, work / "shards", work / "scores", QuestionScope("test", tasks=TASKS), Decoding(), protocols
    )
    began = time.perf_counter()
    result = evaluate(scored, Progress())
    losses = [round(step["loss"], 4) for step in read_metrics(trained.metrics)]
    return {
        "sources": SOURCES,
        "held_out_rsvqa_images": HELD_OUT,
        "epochs": given.epochs,
        "threads": given.threads,
        "training_seconds": round(seconds, 1),
        "evaluation_seconds": round(time.perf_counter() - began, 1),
        "first_and_last_losses": losses[:3] + losses[-3:],
        "scores": json.loads(result.scores_path.read_bytes()) | {"model": "run/model"},
    }


def build_samples(samples: Path, excerpt: Path, out: Path) -> None:
    """The data set of all sources; RSVQA's excerpt gets its official names in a folder `excerpt`."""
    official_names(samples / SOURCES["rsvqa-lr"], excerpt)
    roots = {name: samples / folder for name, folder in SOURCES.items()} | {"rsvqa-lr": excerpt}
    recipe = BuildRecipe.model_validate({"sources": [{"name": name} for name in SOURCES]})
    build(plan_build(resolve(recipe, roots).builds, recipe, 1, QUIET), recipe, out, 1, QUIET)


def official_names(excerpt: Path, out: Path) -> Path:
    """The authors' excerpt under the names of the release, the last images as its test split."""
    shutil.copytree(excerpt / "images", out / "Images_LR", dirs_exist_ok=True)
    names = ("images", "questions", "answers")
    tables = {name: json.loads((excerpt / f"{name}.json").read_text())[name] for name in names}
    last = {image["id"] for image in tables["images"][-HELD_OUT:]}
    for split in ("train", "val", "test"):
        for name, rows in tables.items():
            kept = [row if split == _split_of(name, row, tables, last) else row | {"active": False} for row in rows]
            (out / f"LR_split_{split}_{name}.json").write_text(json.dumps({name: kept}))
    return out


def _split_of(table: str, row: dict, tables: dict, last: set[int]) -> str:
    image = row["id"] if table == "images" else None
    if table == "questions":
        image = row["img_id"]
    if table == "answers":
        image = tables["questions"][row["question_id"]]["img_id"]
    return "test" if image in last else "train"


if __name__ == "__main__":
    main()
