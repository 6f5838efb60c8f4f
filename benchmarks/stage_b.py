"""Stage B on genuine images: `python -m benchmarks.stage_b --samples FOLDER --llm FILE --out RESULT.json`.

A pre-trained language model behind random small encoders learns box answers from HIT-UAV by its tuning vectors alone.
Reported: mean loss per target token on held-out images before and after, and the digest of all frozen weights, which
must not change. The encoders are random, so this measures what the vectors learn of the answers' form and statistics,
not how well boxes are placed.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import torch
from PIL import Image

import converters
from benchmarks.machine import describe
from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.progress import Progress
from mmrs.source import SourceBuild
from training.config import TrainConfig
from training.data.collate import EncodedDialogue, EncodedUnit, Pack, collate_packs
from training.data.planning.lengths import turns_of
from training.data.planning.selection import Selection, select
from training.model import EarthGPTForConditionalGeneration, EarthGPTProcessor, pad_and_resize
from training.model.assembly.assemble import AssemblyRequest
from training.model.assembly.assemble import assemble as assemble_model
from training.model.language.bias_scale import tuned_vectors
from training.model.origin.digest import weights_digest
from training.run.train import train
from training.step.objective.loss import target_losses

QUIET = Progress(quiet=True)
RECIPE = {"sources": [{"name": "hit-uav"}], "per_class_prompts": False}


def main() -> None:
    """Measure and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=Path, required=True, help="HIT-UAV root")
    parser.add_argument("--llm", required=True, help="LLaMA folder or GGUF file")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--packs-per-step", type=int, default=4)
    parser.add_argument("--tokens-per-pack", type=int, default=512)
    parser.add_argument("--objects", type=int, default=8, help="most boxes of one answer")
    parser.add_argument("--held-out", type=int, default=32, help="images of the val split")
    parser.add_argument("--threads", type=int, default=2)
    given = vars(parser.parse_args())
    out = given.pop("out")
    with tempfile.TemporaryDirectory() as folder:
        result = measure(work=Path(folder), **given)
    result = {"date": date.today().isoformat(), "machine": describe()} | result
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def measure(
    samples: Path,
    llm: str,
    work: Path,
    steps: int,
    packs_per_step: int,
    held_out: int,
    tokens_per_pack: int = 512,
    objects: int = 8,
    threads: int = 1,
) -> dict:
    """Build shards, assemble the model, train stage B for `steps` steps and compare before with after."""
    recipe = BuildRecipe.model_validate(RECIPE | {"max_objects_per_dialogue": objects})
    source = SourceBuild(converters.get("hit-uav"), samples, ("train", "val"), tasks=frozenset({"detection-hbb"}))
    build(plan_build([source], recipe, 1, QUIET), recipe, work / "shards", 1, QUIET)
    assemble_model(AssemblyRequest(work / "base", llm, size="tiny"))
    validation = select([work / "shards"], ["val"])
    before, digest = held_out_state(work / "base", validation, held_out)
    began = time.perf_counter()
    result = train(_configuration(work, steps, packs_per_step, tokens_per_pack, threads), QUIET)
    seconds = time.perf_counter() - began
    after, digest_after = held_out_state(result.model, validation, held_out)
    model = EarthGPTForConditionalGeneration.from_pretrained(result.model)
    return {
        "steps": steps,
        "tokens_per_step": packs_per_step * tokens_per_pack,
        "training_images": json.loads((result.model / "training.json").read_text())["samples"],
        "held_out_images": min(held_out, len(validation)),
        "trained_parameters": sum(value.numel() for value in tuned_vectors(model).values()),
        "held_out_loss_before": before,
        "held_out_loss_after": after,
        "frozen_digest_before": digest,
        "frozen_digest_after": digest_after,
        "seconds": round(seconds, 1),
    }


def _configuration(work: Path, steps: int, packs_per_step: int, tokens_per_pack: int, threads: int) -> TrainConfig:
    rules = [{"set": "vectors", "learning_rate": 5e-3}]
    return TrainConfig.model_validate(
        {
            "model": {"path": work / "base"},
            "data": {"folders": work / "shards"},
            "stage": {"name": "stage-b", "tuning": {"kind": "bias-scale"}, "trainable": rules},
            "optimiser": {"weight_decay": 0.0},
            "schedule": {"warmup_share": 0.1},
            "checkpoint": {"every_steps": steps},
            "log": {"tensorboard": False},
            "tokens_per_pack": tokens_per_pack,
            "tokens_per_step": tokens_per_pack * packs_per_step,
            "max_steps": steps,
            "threads": threads,
            "out": work / "run",
        }
    )


@torch.no_grad()
def held_out_state(folder: Path, selection: Selection, images: int) -> tuple[float, str]:
    """Mean loss per target token on the first `images` images, in nats, and the digest of the frozen weights."""
    model = EarthGPTForConditionalGeneration.from_pretrained(folder).eval()
    losses_T = torch.cat([target_losses(model, pack) for pack in _packs(folder, selection, images)])
    return float(losses_T.mean()), weights_digest(model)


def _packs(folder: Path, selection: Selection, images: int) -> Iterator[Pack]:
    """One pack per image, just long enough for it."""
    processor = EarthGPTProcessor.from_pretrained(folder)
    prefix, size = processor.encode_prefix(True), processor.image_processor.image_size
    for row in range(min(images, len(selection))):
        with Image.open(io.BytesIO(selection.image(row))) as image:
            pixels_CHW = pad_and_resize(image, size)
        encoded = [processor.encode_dialogue(turns_of(dialogue)) for dialogue in selection.record(row).dialogues]
        dialogues = tuple(EncodedDialogue(ids, is_target, 0) for ids, is_target in encoded)
        length = len(prefix) + sum(len(dialogue.ids) for dialogue in dialogues)
        unit = EncodedUnit(selection.sample_id(row), pixels_CHW, dialogues)
        yield collate_packs([unit], prefix, length, processor.tokenizer.pad_token_id, size)


if __name__ == "__main__":
    main()
