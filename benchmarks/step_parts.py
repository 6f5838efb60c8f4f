"""Where the processor time of a training step goes: `python -m benchmarks.step_parts SHARDS --out RESULT.json`.

The packs of a real data set go through the parts of a step one after the other, forward and then backward, each part
cut off from the others' graphs and timed alone. Times are of the process, over all threads, so other programs disturb
them little; reported are medians over steps per image, and shares of the sum. `whole` is the same packs through
`optimiser_step`, data included, for comparison with the sum.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from benchmarks.machine import describe
from mmrs.progress import Progress
from training.config import load_config
from training.data.collate import Pack
from training.model.vision.towers import join_layers, normalise, resize_map
from training.run.determinism import reproducible
from training.run.prepare import PreparedRun, RunContext, open_run, prepare_run
from training.run.signals import StopRequest
from training.step.objective.loss import target_losses
from training.step.ranks import Ranks
from training.step.step import Training, count_step, optimiser_step, sum_losses

RECIPES = Path(__file__).parents[1] / "training" / "recipes"


@dataclass
class Stopwatch:
    """Processor seconds of each part of a step."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time what runs inside."""
        began = time.process_time()
        yield
        self.seconds[name] += time.process_time() - began


def main() -> None:
    """Measure and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", type=Path)
    parser.add_argument("--recipe", default="tiny")
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="A.B=C")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        own = [f"data.folders={given.shards}", f"out={folder}/run", f"threads={given.threads}", "log.tensorboard=false"]
        config = load_config(RECIPES / f"{given.recipe}.yaml", [*given.changes, *own])
        context = RunContext(config, Ranks(), Progress(quiet=True), StopRequest())
        with reproducible(config):
            result = measure(prepare_run(context, open_run(context)), given.steps)
    arguments = {name: str(value) for name, value in vars(given).items() if name != "out"}
    result = {"date": date.today().isoformat(), "machine": describe(), "arguments": arguments} | result
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=2) + "\n")
    for name, part in result["parts"].items():
        print(f"{name:32} {part['milliseconds_per_image']:8.3f} ms an image {part['share']:7.1%}")
    print(f"sum {result['sum_per_image']:.2f}, whole {result['whole_per_image']:.2f} ms an image")


def measure(run: PreparedRun, steps: int) -> dict:
    """The parts of so many steps, each step also as a whole."""
    training, per_step = run.training, run.training.config.packs_per_step
    training.model.train()
    stream = iter(run.stream.loader(run.start, Ranks()))
    optimiser_step(training, list(islice(stream, per_step)), 1)
    watches, images = [], []
    for _ in range(steps):
        watch = Stopwatch()
        with watch.part("data: read, decode, tokens"):
            packs = list(islice(stream, per_step))
        step_parts(training, packs, watch)
        with watch.part("whole"):
            optimiser_step(training, packs, 1)
        watches.append(watch.seconds)
        images.append(sum(len(pack.pixel_values_NCHW) for pack in packs))
    per_image = {
        name: 1000 * statistics.median(each[name] / number for each, number in zip(watches, images, strict=True))
        for name in watches[0]
    }
    whole = per_image.pop("whole") + per_image["data: read, decode, tokens"]
    total = sum(per_image.values())
    parts = {
        name: {"milliseconds_per_image": round(value, 3), "share": round(value / total, 4)}
        for name, value in per_image.items()
    }
    return {"parts": parts, "sum_per_image": total, "whole_per_image": whole, "images": sum(images)}


def step_parts(training: Training, packs: list[Pack], watch: Stopwatch) -> None:
    """A step part by part."""
    with watch.part("counts, losses per task, zeroed gradients"):
        count_step(packs, training.ranks)
        training.optimiser.zero_grad(set_to_none=True)
    losses = [(pack, pack_parts(training, pack, watch)) for pack in packs]
    with watch.part("counts, losses per task, zeroed gradients"):
        sum_losses(training.ranks, training.labels, losses)
    with watch.part("clip"):
        nn.utils.clip_grad_norm_(training.parameters, training.config.optimiser.clip_norm)
    with watch.part("optimiser"):
        training.optimiser.step()


def pack_parts(training: Training, pack: Pack, watch: Stopwatch) -> torch.Tensor:
    """One pack forward and backward, part by part; the loss of each target (T,)."""
    model, backward = training.model, []
    leaves = []
    for entry in model.vision.entries:
        encoder, kind = model.vision.get_submodule(entry.name), entry.encoder
        with watch.part(f"{entry.name}: resize, standardise"):
            pixels_NCHW = normalise(pack.pixel_values_NCHW, entry.image_size, entry.statistics, torch.float32)
        with watch.part(f"{entry.name}: forward"):
            maps = kind.maps_NGGC(encoder, pixels_NCHW, entry.layers)
            features_NGGC = join_layers([resize_map(each, model.vision.grid) for each in maps], entry.fusion)
        leaves.append(_cut(features_NGGC, f"{entry.name}: backward", backward))
    with watch.part("projector: forward"):
        features_NSD = model.projector(leaves)
    leaf_NSD = _cut(features_NSD, "projector: backward", backward)
    with watch.part("language model, loss: forward"):
        losses_T = target_losses(model, pack, features_NSD=leaf_NSD, coordinates=training.coordinates)
    with watch.part("language model, loss: backward"):
        (losses_T.sum() / pack.targets).backward()
    for name, run in reversed(backward):
        with watch.part(name):
            run()
    return losses_T.detach()


def _cut(result: torch.Tensor, name: str, backward: list[tuple[str, Callable[[], None]]]) -> torch.Tensor:
    """The result as the beginning of a graph of its own, whose gradient goes on later."""
    leaf = result.detach().requires_grad_()
    backward.append((name, lambda: result.backward(leaf.grad)))
    return leaf


if __name__ == "__main__":
    main()
