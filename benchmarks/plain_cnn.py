"""What a plain CNN learns from the same pictures: `python -m benchmarks.plain_cnn SHARDS --seconds 120 --out JSON`.

The peer of a model that answers in text: four blocks of two 3x3 convolutions with batch norm and ReLU, the first of
each halving the sides, then a mean over places and one linear layer. `--body` takes another norm, or an encoder of the
preset tiny with random weights in place of the blocks, which tells what that learns without a language model. The net
sees the images of the split train as training does (`pad_and_resize`, the eight symmetries of the square) and is scored
on another split. It stops after so many seconds of processor time, reading included; the learning rate follows a cosine
over them.

Shape suffixes: N images, C channels, H W pixels, K classes.
"""

from __future__ import annotations

import argparse
import io
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from benchmarks.peer_runs import measure_seeds, peer_parser
from mmrs.seeding import permutation
from training.config import AugmentConfig
from training.data.augment import draw, turn_square
from training.data.planning.selection import Selection, select
from training.model import initialise, pad_and_resize, preset
from training.model.vision.towers import join_layers, resize_map

# Mean and standard deviation of ImageNet, for all channels alike.
MEAN, STD = 0.449 * 255, 0.226 * 255
BODIES = ("batch", "group", "weights", "none", "vit", "cnn")
# Of a ReLU's output to a standard normal input, the factor that brings its standard deviation back to 1.
RELU_GAIN = (2 / (1 - 1 / math.pi)) ** 0.5
T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}


@dataclass(frozen=True)
class Pictures:
    """Squares uint8 (N, 3, H, W) with their classes, as numbers (N,)."""

    pixels_NCHW: torch.Tensor
    classes_N: torch.Tensor


def main() -> None:
    """Train one net for each seed; write accuracies, their mean and its interval."""
    parser = peer_parser(__doc__, "classification", seconds=120, size=64, batch=16)
    parser.add_argument("--body", default="batch", choices=BODIES, help="norm of the blocks, or an encoder of tiny")
    parser.add_argument("--widths", type=int, nargs="+", default=[32, 64, 128, 256], help="channels of the blocks")
    measure_seeds(parser.parse_args(), run, lambda runs: interval([each["accuracy"] for each in runs]))


def run(given: argparse.Namespace, seed: int) -> dict:
    """Accuracy of one net, as plain values."""
    began = time.process_time()
    training, classes = read_pictures(select([given.shards], ["train"]), given.size, None)
    net = make_net(given, len(classes), seed)
    decayed = [parameter for parameter in net.parameters() if parameter.dim() > 1]
    others = [parameter for parameter in net.parameters() if parameter.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=given.learning_rate, betas=(0.9, 0.95))
    epoch, steps, done = 0, 0, 0.0
    while done < 1:
        order = permutation(len(training.classes_N), "plain-cnn", seed, epoch)
        for first in range(0, len(order), given.batch):
            chosen = torch.from_numpy(order[first : first + given.batch].copy())
            done = (time.process_time() - began) / given.seconds
            if done >= 1:
                break
            for group in optimiser.param_groups:
                group["lr"] = given.learning_rate * min(1.0, 20 * done) * 0.5 * (1 + math.cos(math.pi * done))
            turned_NCHW = turned(training.pixels_NCHW[chosen], seed, epoch, chosen.tolist())
            loss = functional.cross_entropy(net(normalised(turned_NCHW)), training.classes_N[chosen])
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            steps += 1
        epoch += 1
    seconds = time.process_time() - began
    test, _ = read_pictures(select([given.shards], [given.split]), given.size, classes)
    return {
        "seed": seed,
        "accuracy": accuracy(net, test),
        "images": len(test.classes_N),
        "epochs": round(steps * given.batch / len(training.classes_N), 2),
        "steps": steps,
        "training_cpu_seconds": round(seconds, 1),
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
    }


def read_pictures(selection: Selection, size: int, classes: Sequence[str] | None) -> tuple[Pictures, list[str]]:
    """All pictures of a selection, in memory, and the names of the classes; by default those that occur."""
    labels = [str(selection.record(row).label) for row in range(len(selection))]
    names = sorted(set(labels)) if classes is None else list(classes)
    pixels_NCHW = torch.empty((len(labels), 3, size, size), dtype=torch.uint8)
    for row in range(len(selection)):
        with Image.open(io.BytesIO(selection.image(row))) as image:
            pad_and_resize(image, size, pixels_NCHW[row].numpy())
    return Pictures(pixels_NCHW, torch.tensor([names.index(label) for label in labels])), names


def make_net(given: argparse.Namespace, classes: int, seed: int) -> nn.Module:
    """The net with random weights."""
    torch.manual_seed(seed)
    if given.body in ("vit", "cnn"):
        return EncoderNet(given.body, classes, seed)
    layers: list[nn.Module] = []
    before = 3
    for width in given.widths:
        for inputs, stride in ((before, 2), (width, 1)):
            layers += convolution(given.body, inputs, width, stride)
        before = width
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes)]
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def convolution(norm: str, inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    """A 3x3 convolution, its norm and ReLU; "weights" standardises the filters instead (arXiv 2101.08692)."""
    if norm == "weights":
        return [StandardisedConvolution(inputs, outputs, 3, stride, 1), nn.ReLU()]
    layer = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=norm == "none")
    if norm == "none":
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        return [layer, nn.ReLU()]
    return [layer, nn.BatchNorm2d(outputs) if norm == "batch" else nn.GroupNorm(8, outputs), nn.ReLU()]


class StandardisedConvolution(nn.Conv2d):
    """Filters of mean 0 and a variance that keeps that of what a ReLU lets through, times a learned gain."""

    def __init__(self, *sizes: int):
        super().__init__(*sizes)
        self.gain = nn.Parameter(torch.full((self.out_channels, 1, 1, 1), RELU_GAIN))

    def forward(self, maps_NCHW: torch.Tensor) -> torch.Tensor:
        """The convolution."""
        variance, mean = torch.var_mean(self.weight, (1, 2, 3), keepdim=True)
        scale = torch.rsqrt(variance * self.weight[0].numel() + 1e-4) * self.gain
        return functional.conv2d(maps_NCHW, (self.weight - mean) * scale, self.bias, self.stride, self.padding)


class EncoderNet(nn.Module):
    """An encoder of the preset tiny, the mean of its joined maps over all places, and a linear layer."""

    def __init__(self, name: str, classes: int, seed: int):
        super().__init__()
        config = preset("tiny", vocab_size=300, bos_token_id=0, eos_token_id=1, pad_token_id=2, image_token_id=3)
        self.entry = config.entry(name)
        self.encoder = initialise(config, seed).vision.get_submodule(name)
        self.head = nn.Linear(self.entry.width, classes)

    def forward(self, pixels_NCHW: torch.Tensor) -> torch.Tensor:
        """Logits (N, K)."""
        maps = self.entry.encoder.maps_NGGC(self.encoder, pixels_NCHW, self.entry.layers)
        side = min(each.shape[1] for each in maps)
        return self.head(join_layers([resize_map(each, side) for each in maps], self.entry.fusion).mean((1, 2)))


def turned(pixels_NCHW: torch.Tensor, seed: int, epoch: int, rows: Sequence[int]) -> torch.Tensor:
    """Each picture in one of the eight symmetries of the square, as training draws them."""
    config = AugmentConfig(dihedral=True)
    squares = [
        torch.from_numpy(turn_square(pixels_CHW.numpy(), draw(config, seed, epoch, row)))
        for pixels_CHW, row in zip(pixels_NCHW, rows, strict=True)
    ]
    return torch.stack(squares)


def normalised(pixels_NCHW: torch.Tensor) -> torch.Tensor:
    """Floats near zero, channels last in memory, which a CPU convolves faster."""
    return ((pixels_NCHW.float() - MEAN) / STD).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def accuracy(net: nn.Module, pictures: Pictures) -> float:
    """Share of the pictures whose class is the net's first choice."""
    net.eval()
    chosen = torch.cat([net(normalised(pixels_NCHW)).argmax(1) for pixels_NCHW in pictures.pixels_NCHW.split(64)])
    return round(float((chosen == pictures.classes_N).float().mean()), 4)


def interval(values: Sequence[float]) -> dict:
    """Mean of a few runs, and the half width of its 95 % interval by Student's t; None for one run."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return {"mean": round(mean, 4), "half_width": None}
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return {"mean": round(mean, 4), "half_width": round(T_95[len(values)] * math.sqrt(variance / len(values)), 4)}


if __name__ == "__main__":
    main()
