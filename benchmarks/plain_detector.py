"""What a plain detector learns from the same pictures: `python -m benchmarks.plain_detector SHARDS --out JSON`.

The peer of a model that answers in text: three blocks of two 3x3 convolutions with batch norm and ReLU, the first of
each halving the sides, then two at a stride of eight, and for each cell an objectness and the distances from its centre
to the four sides of a box (as FCOS, arXiv 1904.01355, with one level and one class). A cell learns to be an object
where its centre lies in the middle half of a box, and the smallest one if in several. Answers pass a threshold, the
best of the training images, and greedy suppression at IoU 0.5; they are matched as text answers are, classes apart. It
stops after so many seconds of processor time; the learning rate follows a cosine over them. Pictures are those of
`mmrs train`: padded squares in the eight symmetries of the square.

Shape suffixes: N images, G cells along a side, B boxes of an image.
"""

from __future__ import annotations

import argparse
import io
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from benchmarks.peer_runs import measure_seeds, peer_parser
from benchmarks.plain_cnn import normalised
from mmrs.geometry import SquareFrame, box_iou
from mmrs.seeding import permutation
from training.config import AugmentConfig
from training.data.augment import draw, turn_square
from training.data.planning.selection import Selection, select
from training.evaluation.metrics.matching import f1, match_best_first
from training.model import pad_and_resize

STRIDE = 8
MIDDLE = 0.5
IOU = 0.5
PRIOR = 0.02
# Of the logarithm of a distance in cells.
LIMIT = 4


@dataclass(frozen=True)
class Scene:
    """A square uint8 (3, H, W) and its boxes (B, 4) in its pixels: left, top, right, bottom."""

    pixels_CHW: np.ndarray
    boxes_B4: np.ndarray


class PlainDetector(nn.Module):
    """Objectness logits (N, G, G) and distances (N, G, G, 4) in cells."""

    def __init__(self, widths: Sequence[int]):
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for width in widths:
            for inputs, stride in ((before, 2), (width, 1)):
                layers += _convolution(inputs, width, stride)
            before = width
        self.body = nn.Sequential(*layers, *_convolution(before, before, 1), *_convolution(before, before, 1))
        self.head = nn.Conv2d(before, 5, 3, 1, 1)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)
        with torch.no_grad():
            self.head.bias[0] = math.log(PRIOR / (1 - PRIOR))

    def forward(self, pixels_NCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of normalised pixels."""
        maps_N5GG = self.head(self.body(pixels_NCHW))
        return maps_N5GG[:, 0], maps_N5GG[:, 1:].clamp(-LIMIT, LIMIT).exp().permute(0, 2, 3, 1)


def _convolution(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


def main() -> None:
    """Train one detector for each seed; write their F1."""
    parser = peer_parser(__doc__, "detection", seconds=2400, size=256, batch=8)
    parser.add_argument("--widths", type=int, nargs=3, default=[24, 48, 96], help="channels of the blocks")
    measure_seeds(parser.parse_args(), run)


def run(given: argparse.Namespace, seed: int) -> dict:
    """F1 of one detector, as plain values."""
    began = time.process_time()
    scenes = read_scenes(select([given.shards], ["train"]), given.size)
    torch.manual_seed(seed)
    net = PlainDetector(given.widths).to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(net.parameters(), lr=given.learning_rate, betas=(0.9, 0.95), weight_decay=0.05)
    epoch, steps, done = 0, 0, 0.0
    while done < 1:
        order = permutation(len(scenes), "plain-detector", seed, epoch).tolist()
        for first in range(0, len(order), given.batch):
            done = (time.process_time() - began) / given.seconds
            if done >= 1:
                break
            for group in optimiser.param_groups:
                group["lr"] = given.learning_rate * min(1.0, 20 * done) * 0.5 * (1 + math.cos(math.pi * done))
            batch = [turned(scenes[row], (seed, epoch, row)) for row in order[first : first + given.batch]]
            loss = batch_loss(net, batch)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            optimiser.step()
            steps += 1
        epoch += 1
    seconds = time.process_time() - began
    net.eval()
    threshold = best_threshold(net, scenes[:: max(1, len(scenes) // 200)])
    test = read_scenes(select([given.shards], [given.split]), given.size)
    scores = f1([counts(each, *detect(net, each, threshold)) for each in test])
    return {
        "seed": seed,
        "precision_recall_f1": None if scores is None else [round(value, 4) for value in scores],
        "threshold": threshold,
        "images": len(test),
        "epochs": round(steps * given.batch / len(scenes), 2),
        "training_cpu_seconds": round(seconds, 1),
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
    }


def read_scenes(selection: Selection, size: int) -> list[Scene]:
    """All pictures of a selection with the boxes of what counts."""
    scenes = []
    for row in range(len(selection)):
        record = selection.record(row)
        with Image.open(io.BytesIO(selection.image(row))) as image:
            frame = SquareFrame(*image.size)
            pixels_CHW = pad_and_resize(image, size)
        boxes = np.array([item.extent() for item in record.objects if not item.ignore], np.float64).reshape(-1, 4)
        offset = [*frame.offset, *frame.offset]
        scenes.append(Scene(pixels_CHW, (boxes + offset) * size / frame.side))
    return scenes


def turned(scene: Scene, key: tuple[int, ...]) -> Scene:
    """The scene in one of the eight symmetries of the square, as training draws them."""
    augmentation = draw(AugmentConfig(dihedral=True), *key)
    side, symmetry = scene.pixels_CHW.shape[-1], augmentation.symmetry
    corners = scene.boxes_B4.reshape(-1, 2, 2)
    if symmetry.swap:
        corners = corners[..., ::-1]
    mirrors = np.array([symmetry.mirror_x, symmetry.mirror_y])
    corners = np.where(mirrors, side - corners, corners)
    boxes_B4 = np.concatenate([corners.min(1), corners.max(1)], 1)
    return Scene(turn_square(scene.pixels_CHW, augmentation), boxes_B4)


def cell_targets(boxes_B4: np.ndarray, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Which cells (G, G) are objects, and their distances (G, G, 4) in cells, none below what the net can say."""
    is_object, distances = np.zeros((cells, cells), bool), np.ones((cells, cells, 4))
    centres = (np.arange(cells) + 0.5) * STRIDE
    for left, top, right, bottom in sorted(boxes_B4.tolist(), key=lambda box: (box[0] - box[2]) * (box[3] - box[1])):
        x, y = (left + right) / 2, (top + bottom) / 2
        reach_x, reach_y = (max(MIDDLE * length / 2, STRIDE / 2) for length in (right - left, bottom - top))
        near = (abs(centres - y) <= reach_y)[:, None] & (abs(centres - x) <= reach_x)[None]
        is_object |= near
        rows, columns = np.nonzero(near)
        sides = [centres[columns] - left, centres[rows] - top, right - centres[columns], bottom - centres[rows]]
        distances[rows, columns] = np.maximum(np.stack(sides, -1) / STRIDE, math.exp(-LIMIT))
    return is_object, distances


def batch_loss(net: PlainDetector, scenes: Sequence[Scene]) -> torch.Tensor:
    """Focal loss of the objectness, and 1 - IoU of the boxes of cells that are objects; both per such cell."""
    logits_NGG, distances_NGG4 = net(normalised(torch.from_numpy(np.stack([scene.pixels_CHW for scene in scenes]))))
    targets = [cell_targets(scene.boxes_B4, logits_NGG.shape[-1]) for scene in scenes]
    is_object_NGG = torch.from_numpy(np.stack([each for each, _ in targets]))
    wanted = torch.from_numpy(np.stack([each for _, each in targets])).float()[is_object_NGG]
    found = distances_NGG4[is_object_NGG]
    plain = functional.binary_cross_entropy_with_logits(logits_NGG, is_object_NGG.float(), reduction="none")
    focal = (1 - (-plain).exp()) ** 2 * plain
    shared = (torch.minimum(found[:, :2], wanted[:, :2]) + torch.minimum(found[:, 2:], wanted[:, 2:])).prod(-1)
    areas = (found[:, :2] + found[:, 2:]).prod(-1) + (wanted[:, :2] + wanted[:, 2:]).prod(-1)
    objects = max(1, len(wanted))
    return focal.sum() / objects + (1 - shared / (areas - shared)).sum() / objects


@torch.no_grad()
def detect(net: PlainDetector, scene: Scene, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (D, 4) in pixels and scores (D,), best first."""
    logits, distances = (each[0].numpy() for each in net(normalised(torch.from_numpy(scene.pixels_CHW[None]))))
    scores = 1 / (1 + np.exp(-logits))
    rows, columns = np.nonzero(scores >= threshold)
    x, y, sides = (columns + 0.5) * STRIDE, (rows + 0.5) * STRIDE, distances[rows, columns] * STRIDE
    boxes = np.stack([x - sides[:, 0], y - sides[:, 1], x + sides[:, 2], y + sides[:, 3]], -1)
    return suppressed(boxes, scores[rows, columns])


def suppressed(boxes: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (D, 4) and scores (D,), best first, without those that overlap a better one."""
    order = np.argsort(-scores, kind="stable")
    boxes, scores = boxes[order], scores[order]
    kept: list[int] = []
    overlaps = box_iou(boxes, boxes)
    for place in range(len(boxes)):
        if all(overlaps[place, other] < IOU for other in kept):
            kept.append(place)
    return boxes[kept], scores[kept]


def counts(scene: Scene, boxes: np.ndarray, scores: np.ndarray) -> tuple[int, int, int]:
    """Boxes that are right, wrong and missed."""
    allowed = np.ones((len(boxes), len(scene.boxes_B4)), bool)
    found = int((match_best_first(box_iou(boxes, scene.boxes_B4), allowed, IOU) >= 0).sum())
    return found, len(scores) - found, len(scene.boxes_B4) - found


def best_threshold(net: PlainDetector, scenes: Sequence[Scene]) -> float:
    """The score from which on F1 is best on these scenes."""
    candidates = [round(0.05 * step, 2) for step in range(2, 19)]
    found = [(scene, *detect(net, scene, candidates[0])) for scene in scenes]

    def quality(threshold: float) -> float:
        rows = [
            counts(scene, boxes[scores >= threshold], scores[scores >= threshold]) for scene, boxes, scores in found
        ]
        result = f1(rows)
        return 0.0 if result is None else result[2]

    return max(candidates, key=quality)


if __name__ == "__main__":
    main()
