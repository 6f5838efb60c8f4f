"""Boxes that `tiny` learns from windows of real images: `python -m benchmarks.learning_windows --source ssdd --root DIR
--work W --out J`.

The images are cut into windows as one's own data is (`tile_size`, `tile_overlap`). Encoders and language model are
trained in one run, the language model longer in two more, whose learning rate begins again. Scored are the answers
about the held-out windows, each as an image of its own, and their boxes merged on the whole images as `mmrs predict`
merges those of a scene: all of them, and those that are sure enough (`--min-confidence`). How sure is enough is chosen
for each half of the images by the other half, as in the protocol f1-conf-50 for the windows. The work folder keeps
shards and runs; a stage whose model is there is not trained again.

Of HIT-UAV the vehicles alone are learnt and asked for; its split val is trained on too. They are few: `--start` goes on
from a model that has learnt another source's windows, in two runs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

import mmrs
from benchmarks.learning import QUIET, RECIPES, LearningTask, build_shards
from benchmarks.machine import describe
from converters.resolve import resolve
from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.geometry import as_quads, box_iou, hbb_from_quad
from mmrs.instructions.dialects import dialect
from mmrs.record import AnnotatedObject, Record, Window
from training.config import load_config
from training.evaluation.answers import read_answers
from training.evaluation.boxes.windows import WindowBoxes, merge_windows
from training.evaluation.generate import Decoding
from training.evaluation.metrics.matching import match_best_first, same_class
from training.evaluation.questions import QuestionScope
from training.evaluation.run import EvaluationConfig, evaluate
from training.evaluation.task import Answer
from training.report.monitor import read_metrics
from training.run.train import train
from training.serving.found_boxes import NamedBox, found_boxes


@dataclass(frozen=True)
class WindowTask:
    """A source, how it is cut, and which of its categories are learnt, in pixels where they are sizes."""

    sensor: str
    categories: tuple[str, ...]
    trained_splits: tuple[str, ...]
    tile_size: int
    tile_overlap: int

    def description(self, source: str) -> str:
        """The file that says what the windows' images and COCO tables are."""
        return f"""\
name: {source}-windows
format: coco
sensor: {self.sensor}
licence: unknown
images: images/{{split}}
annotations: "{{split}}.json"
splits: [train, test]
classes: {{{", ".join(f"{name}: {name}" for name in self.categories)}}}
options: {{tile_size: {self.tile_size}, tile_overlap: {self.tile_overlap}, min_iof: 0.5, keep_empty: 0.1}}
"""


WINDOW_TASKS = {
    "ssdd": WindowTask("sar", ("ship",), ("train",), 256, 64),
    "hit-uav": WindowTask("infrared", ("car", "other vehicle"), ("train", "val"), 128, 32),
}
COMMON = ["tokens_per_step=1024", "epochs=null", "log.tensorboard=false"]
LANGUAGE = r"stage.trainable.0.pattern=model\.language_model\..*|model\.projector\..*|lm_head\..*"
# Name, model it begins from, learning rate, steps, seed of the order, width of the spread of a coordinate's target.
STAGES = (
    ("encoders", None, 2e-3, 4400, 0, 0.02),
    ("longer", "encoders", 1.5e-3, 1900, 1, 0.01),
    ("longest", "longer", 6e-4, 450, 2, 0.01),
)
PROTOCOLS = ("detection-hbb/f1-50", "detection-hbb/f1-conf-50", "detection-hbb/ap-conf-50")
# Confidences that are tried as the least that is enough.
LEAST = tuple(float(value) for value in np.arange(0, 0.9, 0.02).round(2))
# From a model that has learnt another source's windows: all of it learns, encoders by `auxiliary` first.
CONTINUED = (
    ("continued", None, 1.5e-3, 2000, 0, 0.02),
    ("further", "continued", 1.5e-3, 4500, 1, 0.02),
)
ALONE_SHARES = {"continued": 0.5, "further": 0.6}
FIRST = [
    "model.coordinates=hundredths", "model.visual_positions=true", "auxiliary={alone_share: 0.5, frozen_after: true}",
    "model.encoders.vit.image_size=224", "model.encoders.cnn.image_size=256",
]  # fmt: skip


def main() -> None:
    """Train every stage, score after each, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default="ssdd", choices=sorted(WINDOW_TASKS))
    parser.add_argument("--root", type=Path, required=True, help="where the source lies")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--start", type=Path, metavar="MODEL", help="go on from a model of another source's windows")
    parser.add_argument("--order", default="rows", choices=["stored", "left-to-right", "rows"])
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="A.B=C", help="of every stage")
    parser.add_argument("--share", type=float, default=1.0, help="of the steps of every stage")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    task = WINDOW_TASKS[given.source]
    whole, windows = make_shards(task, given.source, given.root, given.work)
    stages = []
    for name, *setting in CONTINUED if given.start else STAGES:
        stages.append({"stage": name} | train_stage(given, windows, name, *setting))
        model = given.work / name / "model"
        stages[-1] |= score(task, model, windows, whole, given.work / name / "scores")
        shown = {key: value for key, value in stages[-1].items() if key != "training_loss"}
        print(json.dumps(shown), flush=True)
        result = {"date": date.today().isoformat(), "machine": describe(), "source": given.source, "order": given.order}
        result |= {
            "start": str(given.start.parent.name) if given.start else None,
            "changes": given.changes,
            "share": given.share,
            "stages": stages,
        }
        given.out.write_text(json.dumps(result, indent=2) + "\n")


def make_shards(task: WindowTask, source: str, root: Path, work: Path) -> tuple[Path, Path]:
    """The data sets of the whole images and of their windows."""
    built = LearningTask(source, ("detection-hbb",), build={"per_class_prompts": False})
    whole = build_shards(built, root, work / "whole")
    folder, windows = work / "windows", work / "shards"
    for split, parts in (("train", task.trained_splits), ("test", ("test",))):
        write_coco(task, whole, split, parts, folder)
    (folder / "mmrs.yaml").write_text(task.description(source))
    source = {"name": "generic", "tasks": ["detection-hbb"], "options": {"description": str(folder / "mmrs.yaml")}}
    recipe = BuildRecipe.model_validate({"sources": [source], "dialect": "mmrs1m", "per_class_prompts": False})
    build(plan_build(resolve(recipe, {"generic": folder}).builds, recipe, 1, QUIET), recipe, windows, 1, QUIET)
    return whole, windows


def write_coco(task: WindowTask, whole: Path, split: str, parts: Sequence[str], folder: Path) -> None:
    """Images of some splits and their boxes of the task's categories as one COCO file."""
    images, annotations = [], []
    (folder / "images" / split).mkdir(parents=True, exist_ok=True)
    for number, sample in enumerate(mmrs.open(whole).stream(splits=parts)):
        info = sample.record.image
        suffix = "png" if sample.image_bytes.startswith(b"\x89PNG") else "jpg"
        name = f"{_stem(sample)}.{suffix}"
        (folder / "images" / split / name).write_bytes(sample.image_bytes)
        images.append({"id": number, "file_name": name, "width": info.width, "height": info.height})
        for item in _wanted(task, sample.record):
            left, top, right, bottom = item.extent()
            box = [left, top, right - left, bottom - top]
            annotations.append({"id": len(annotations), "image_id": number, "bbox": box})
            annotations[-1]["category_id"] = task.categories.index(item.category)
    categories = [{"id": number, "name": name} for number, name in enumerate(task.categories)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / f"{split}.json").write_text(json.dumps(content))


def _wanted(task: WindowTask, record: Record) -> list[AnnotatedObject]:
    return [item for item in record.objects if item.category in task.categories and not item.ignore]


def train_stage(
    given: argparse.Namespace,
    shards: Path,
    name: str,
    before: str | None,
    learning_rate: float,
    steps: int,
    seed: int,
    spread: float,
) -> dict[str, Any]:
    """Seconds and losses of a stage, as plain values; of one that was trained before, what it left."""
    out = given.work / name
    kept = out / "stage.json"
    if kept.exists():
        return json.loads(kept.read_text())
    changes = [*COMMON, f"threads={given.threads}", f"data.folders={shards}", f"out={out}", f"data.seed={seed}"]
    changes += [f"data.box_order={given.order}", f"loss.coordinate_spread={spread}"]
    changes += [f"stage.trainable.0.learning_rate={learning_rate}", f"max_steps={round(steps * given.share)}"]
    start = given.work / before / "model" if before else given.start
    origin = [] if start else FIRST
    if start:
        origin = ["model.preset=null", f"model.path={start}"]
        origin += [f"auxiliary={{alone_share: {ALONE_SHARES[name]}}}"] if name in ALONE_SHARES else [LANGUAGE]
    config = load_config(RECIPES / "tiny.yaml", [*changes, *origin, *given.changes])
    began = time.process_time()
    trained = train(config, QUIET)
    losses = [round(step["loss"], 4) for step in read_metrics(trained.metrics)]
    result = {
        "training_cpu_seconds": round(time.process_time() - began, 1),
        "steps": trained.steps,
        "training_loss": losses,
    }
    kept.write_text(json.dumps(result))
    return result


def score(task: WindowTask, model: Path, windows: Path, whole: Path, out: Path) -> dict[str, Any]:
    """Scores of the windows by protocol, and counts, precision, recall and F1 of their boxes on the whole images."""
    scope = QuestionScope("test", tasks=("detection-hbb",))
    config = EvaluationConfig(model, windows, out, scope, Decoding(batch_size=32, max_new_tokens=400), PROTOCOLS)
    result = evaluate(config, QUIET)
    rows = {row.protocol: round(row.value, 4) for row in result.rows}
    answers = read_answers(out / "answers.jsonl")
    return {"windows": rows} | merged(task, {each.id.partition("#")[0]: each for each in answers}, windows, whole)


def merged(task: WindowTask, answers: Mapping[str, Answer], windows: Path, whole: Path) -> dict[str, Any]:
    """Boxes of all windows of an image against its true ones, at IoU 0.5: all, and those that are sure enough."""
    boxes = window_boxes(answers, windows)
    samples = list(mmrs.open(whole).stream(splits=["test"]))
    half_I = np.array([hashlib.sha256(_stem(sample).encode()).digest()[0] >> 7 for sample in samples])
    tried = {least: np.array([found_in(task, each, boxes[_stem(each)], least) for each in samples]) for least in LEAST}
    sure, chosen = np.zeros(3, dtype=np.int64), []
    for half in (0, 1):
        other = {least: rates(counts_I3[half_I != half].sum(0))["f1"] for least, counts_I3 in tried.items()}
        chosen.append(max(other, key=lambda least: (other[least], -least)))
        sure += tried[chosen[-1]][half_I == half].sum(0)
    return {"merged": rates(tried[0.0].sum(0)), "sure_merged": rates(sure) | {"least_confidence_by_half": chosen}}


def window_boxes(answers: Mapping[str, Answer], windows: Path) -> dict[str, list[tuple[Window, list[NamedBox]]]]:
    """What was said about each window, by the image that it is of."""
    written = dialect("mmrs1m")
    said: dict[str, list[tuple[Window, list[NamedBox]]]] = defaultdict(list)
    for sample in mmrs.open(windows).stream(splits=["test"]):
        info, answer = sample.record.image, answers[sample.record.id]
        boxes = found_boxes(
            answer.text, info.width, info.height, written, log_probabilities=answer.box_log_probabilities
        )
        place = info.window or Window(x=0, y=0, width=info.width, height=info.height)
        said[Path(info.parent or _stem(sample)).stem].append((place, boxes))
    return said


def found_in(
    task: WindowTask, sample: mmrs.Sample, said: Sequence[tuple[Window, list[NamedBox]]], least: float
) -> tuple[int, int, int]:
    """Right, named and true boxes of a whole image, of those that are sure enough."""
    kept = [(place, [box for box in boxes if (box.confidence or 0.0) >= least]) for place, boxes in said]
    found = [
        WindowBoxes(place, [box.name for box in boxes], as_quads([box.quad for box in boxes]))
        for place, boxes in kept
        if boxes
    ]
    info, objects = sample.record.image, _wanted(task, sample.record)
    scene = merge_windows(found, info.width, info.height)
    iou = box_iou(hbb_from_quad(scene.quads_N42), [item.extent() for item in objects])
    right = match_best_first(iou, same_class(scene.names, [item.category for item in objects]), 0.5)
    return int((right >= 0).sum()), len(scene.names), len(objects)


def rates(counts_3: Sequence[int]) -> dict[str, Any]:
    """Counts with their precision, recall and F1."""
    found, named, true = (int(count) for count in counts_3)
    return {
        "found": found,
        "named": named,
        "true": true,
        "precision": round(found / max(named, 1), 4),
        "recall": round(found / max(true, 1), 4),
        "f1": round(2 * found / max(named + true, 1), 4),
    }


def _stem(sample: mmrs.Sample) -> str:
    return sample.id.rpartition("/")[2]


if __name__ == "__main__":
    main()
