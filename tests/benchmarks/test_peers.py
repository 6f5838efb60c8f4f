"""The peers of learning: pictures and boxes move together, and their scores are what they say."""

from __future__ import annotations

from argparse import Namespace

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import plain_cnn, plain_detector
from benchmarks.plain_detector import Scene, cell_targets, counts, detect, turned
from mmrs.geometry import box_iou
from tests.training.shard_folder import make_shard_folder

BOXES = np.array([[8.0, 16, 40, 32], [60, 4, 70, 12], [50, 80, 90, 120]])


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def scene(size=128):
    """Bright boxes on black."""
    pixels = np.zeros((3, size, size), np.uint8)
    for left, top, right, bottom in BOXES.astype(int):
        pixels[:, top:bottom, left:right] = 255
    return Scene(pixels, BOXES)


class Knowing(nn.Module):
    """A net that answers what it should have learnt."""

    def __init__(self, boxes: np.ndarray, cells: int):
        super().__init__()
        is_object, distances = cell_targets(boxes, cells)
        self.answer = torch.from_numpy(np.where(is_object, 4.0, -4.0))[None], torch.from_numpy(distances)[None]

    def forward(self, pixels):
        return self.answer


def test_boxes_turn_with_the_picture():
    seen = set()
    for key in range(40):
        moved = turned(scene(), (0, 0, key))
        for left, top, right, bottom in moved.boxes_B4.astype(int):
            inside = moved.pixels_CHW[:, top:bottom, left:right]
            assert inside.size and inside.min() == 255
        assert (moved.pixels_CHW[0] == 255).sum() == (scene().pixels_CHW[0] == 255).sum()
        seen.add(moved.pixels_CHW.tobytes())
    assert len(seen) == 8


def test_a_net_that_learns_its_targets_finds_every_box_and_no_other():
    boxes, scores = detect(Knowing(BOXES, 16), scene(), 0.5)
    assert counts(scene(), boxes, scores) == (3, 0, 0)
    assert box_iou(boxes, BOXES).max(1).min() > 0.95
    nothing = detect(Knowing(np.zeros((0, 4)), 16), scene(), 0.5)
    assert counts(scene(), *nothing) == (0, 0, 3)


def test_what_is_wrong_or_found_twice_counts_against_it():
    twice = np.concatenate([BOXES, BOXES[:1] + 1, BOXES[1:2] + 40])
    assert counts(scene(), twice, np.ones(len(twice))) == (3, 2, 0)


def test_a_detector_learns_a_scene_by_heart():
    torch.manual_seed(0)
    net = plain_detector.PlainDetector([4, 8, 8])
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-2)
    losses = []
    for _ in range(12):
        loss = plain_detector.batch_loss(net, [scene()])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_a_cnn_trains_for_its_seconds_and_is_scored(tmp_path):
    given = Namespace(
        shards=make_shard_folder(tmp_path), seconds=0.5, body="batch", size=32, widths=[4, 8], learning_rate=1e-2,
        batch=8, split="train",
    )  # fmt: skip
    result = plain_cnn.run(given, seed=0)
    assert result["images"] == 24 and result["steps"] > 0
    assert 0.5 <= result["training_cpu_seconds"] < 3 and 0 <= result["accuracy"] <= 1


@pytest.mark.parametrize("body", plain_cnn.BODIES)
def test_every_body_starts_with_signals_of_one_scale(body):
    """What the last layer reads neither vanishes nor explodes, and every parameter has a gradient."""
    size = 112 if body == "vit" else 128
    net = plain_cnn.make_net(Namespace(body=body, widths=[8, 16, 16, 32]), 7, 0)
    read = []
    linear = net.head if isinstance(net, plain_cnn.EncoderNet) else net[-1]
    linear.register_forward_hook(lambda module, given, output: read.append(given[0]))
    pixels = torch.randn(8, 3, size, size, generator=torch.Generator().manual_seed(0))
    net(pixels).square().sum().backward()
    assert 0.05 < read[0].square().mean().sqrt() < 5
    assert all(parameter.grad is not None for parameter in net.parameters() if parameter.requires_grad)


def test_accuracy_is_the_share_of_first_choices():
    pictures = plain_cnn.Pictures(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.tensor([0, 1, 1, 1]))
    always_one = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    nn.init.zeros_(always_one[1].weight)
    always_one[1].bias.data = torch.tensor([0.0, 1.0])
    assert plain_cnn.accuracy(always_one, pictures) == 0.75


def test_an_interval_of_three_runs_is_students():
    assert plain_cnn.interval([0.8, 0.82, 0.84]) == {"mean": 0.82, "half_width": pytest.approx(0.0497, abs=1e-4)}
    assert plain_cnn.interval([0.8]) == {"mean": 0.8, "half_width": None}
