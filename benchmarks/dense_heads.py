"""What the auxiliary heads of a run find without any text: `python -m benchmarks.dense_heads RUN SHARDS --out JSON`.

RUN is a folder that `mmrs train` left, with the block `auxiliary` in its recipe. Its heads say for each visual position
whether the centre of an object lies there, and its box; the answers pass a threshold, the best of training images, and
greedy suppression, and are matched as those of `benchmarks.plain_detector`. The difference between this F1 and that of
the run's text answers is what the language model does not read out of positions that hold it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from benchmarks.machine import describe
from benchmarks.plain_detector import Scene, counts, read_scenes, suppressed
from training.data.planning.selection import select
from training.evaluation.metrics.matching import f1
from training.model import EarthGPTForConditionalGeneration
from training.report.monitor import read_metrics
from training.run.checkpoint import TENSOR_FILES, latest_checkpoint
from training.step.objective.auxiliary import HEADS, AuxiliaryHeads, said_boxes

THRESHOLDS = [round(0.05 * step, 2) for step in range(2, 19)]
TRAINING_IMAGES = 200


def main() -> None:
    """Score the heads and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("shards", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    model = EarthGPTForConditionalGeneration.from_pretrained(given.run / "model").eval()
    heads = read_heads(given.run, model)
    found = {split: _found(model, heads, given.shards, split) for split in ("train", "test")}
    scored = {threshold: scores(found["train"], threshold) for threshold in THRESHOLDS}
    threshold = max(scored, key=lambda each: scored[each][2])
    recipe = (given.run / "config.yaml").read_text()
    steps = read_metrics(given.run / "metrics.jsonl")
    result = {
        "date": date.today().isoformat(),
        "machine": describe(),
        "recipe": recipe.replace(str(given.run), "RUN").replace(str(given.shards), "SHARDS"),
        "steps": len(steps),
        "images_seen": sum(step["images"] for step in steps),
        "auxiliary_loss": [{key: round(value, 4) for key, value in step["auxiliary_loss"].items()} for step in steps],
        "threshold": threshold,
        "precision_recall_f1": {split: scores(found[split], threshold) for split in found},
    }
    given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({key: result[key] for key in ("steps", "images_seen", "threshold", "precision_recall_f1")}))


def read_heads(run: Path, model: EarthGPTForConditionalGeneration) -> AuxiliaryHeads:
    """The heads of a run's last checkpoint."""
    heads = AuxiliaryHeads(model.config.text.hidden_size, model.lm_head.out_features)
    tensors = load_file(latest_checkpoint(run / "checkpoints") / TENSOR_FILES[0])
    heads.load_state_dict(
        {name.removeprefix(HEADS): value for name, value in tensors.items() if name.startswith(HEADS)}
    )
    return heads


@torch.no_grad()
def _found(
    model: EarthGPTForConditionalGeneration, heads: AuxiliaryHeads, shards: Path, split: str
) -> list[tuple[Scene, np.ndarray, np.ndarray]]:
    """Scenes with boxes in pixels of the square and their scores, from the lowest threshold on."""
    size = model.config.image_size
    scenes = read_scenes(select([shards], [split]), size)
    if split == "train":
        scenes = scenes[:: max(1, len(scenes) // TRAINING_IMAGES)]
    answers = []
    for scene in scenes:
        tokens_TD = model.get_image_features(torch.from_numpy(scene.pixels_CHW)[None]).pooler_output[0, 1:-1]
        said_T5 = heads.cells(tokens_TD).float()
        sure_T = said_T5[:, 0].sigmoid().numpy()
        boxes_T4 = said_boxes(said_T5[:, 1:]).numpy() * size
        shown_T = sure_T >= THRESHOLDS[0]
        answers.append((scene, *suppressed(boxes_T4[shown_T], sure_T[shown_T])))
    return answers


def scores(found: Sequence[tuple[Scene, np.ndarray, np.ndarray]], threshold: float) -> list[float]:
    """Precision, recall and F1; zeros where nothing is defined."""
    rows = [counts(scene, boxes[sure >= threshold], sure[sure >= threshold]) for scene, boxes, sure in found]
    return [round(value, 4) for value in f1(rows) or (0.0, 0.0, 0.0)]


if __name__ == "__main__":
    main()
