"""Auxiliary heads: targets against arithmetic by hand, gradients whatever packs and ranks there are, resumed runs."""

from __future__ import annotations

import math
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch.nn import functional

from mmrs.record import AnnotatedObject
from tests.training import shard_folder
from tests.training.data.test_loader import make_stream
from tests.training.micro import make_config
from tests.training.ranks import run_ranks
from tests.training.run.test_loop import make_units, pack_of
from training.config import AugmentConfig, OptimiserConfig
from training.data.collate import SeenObjects, collate_packs
from training.data.loader import PackDataset
from training.data.planning.selection import select
from training.model import EarthGPTForConditionalGeneration, EarthGPTProcessor
from training.report.monitor import read_metrics
from training.run.checkpoint import latest_checkpoint
from training.run.prepare import head_rows
from training.run.signals import Requeue
from training.run.train import train
from training.stages.stage import apply_stage
from training.step.objective.auxiliary import (
    HEADS,
    IMAGE_SIDE,
    NAMES,
    AuxiliaryHeads,
    Phase,
    assigned,
    image_words,
    offsets,
    phase_of,
    said_boxes,
)
from training.step.optim import build_optimiser
from training.step.ranks import Ranks, open_ranks
from training.step.step import TargetLabels, Training, optimiser_step

TASKS = ("classification", "captioning", "detection-hbb")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def processor(model_folder):
    return EarthGPTProcessor.from_pretrained(model_folder)


@pytest.fixture(scope="module")
def found_shards(tmp_path_factory):
    """The data set of the tests with the square that each image shows as its object."""
    original = shard_folder.make_record

    def with_object(*asked):
        record = original(*asked)
        square = ((10.0, 10.0), (30.0, 10.0), (30.0, 30.0), (10.0, 30.0))
        item = AnnotatedObject(category=record.label, label=record.label, quad=square)
        return record.model_copy(update={"objects": (item,)})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard_folder, "make_record", with_object)
        return shard_folder.make_shard_folder(tmp_path_factory.mktemp("found"))


def units_with_objects(processor):
    """Six units; the second and the fourth were not asked for objects, the third shows none."""
    generator = np.random.default_rng(0)
    units = []
    for number, unit in enumerate(make_units(processor)):
        count = 0 if number == 2 else 1 + number % 3
        low = generator.uniform(0, 0.6, (count, 2))
        boxes_B4 = np.concatenate([low, low + generator.uniform(0.05, 0.4, (count, 2))], 1)
        seen = SeenObjects(boxes_B4, tuple((40 + number, 41)[: 1 + place % 2] for place in range(count)))
        units.append(replace(unit, objects=None if number in (1, 3) else seen))
    return units


def training_of(model_folder, config, ranks=None):
    model = EarthGPTForConditionalGeneration.from_pretrained(model_folder)
    heads = AuxiliaryHeads(model.config.text.hidden_size, model.lm_head.out_features)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in heads.parameters():
            value.normal_(0, 0.1, generator=generator)
    rows = [*apply_stage(model, config.stage), *head_rows(heads, config)]
    optimiser = build_optimiser(rows, OptimiserConfig())
    return Training(config, model, optimiser, TargetLabels(TASKS), ranks or Ranks(), heads=heads)


def auxiliary_config(out, model_folder, **changes):
    changes = {"auxiliary": {"weight": 0.5}, "optimiser": {"clip_norm": 1e9}} | changes
    return make_config(out, out, model_folder, **changes)


def by_hand(training, units):
    """The heads' losses, image by image and object by object, from the definition."""
    model, heads, eos_id = training.model, training.heads, training.model.config.text.eos_token_id
    focal, box, name, words = [], [], [], []
    objects = 0
    for unit in units:
        features = model.get_image_features(torch.from_numpy(unit.pixels_CHW)[None]).pooler_output[0, 1:-1]
        grid = math.isqrt(len(features))
        said = heads.cells(features)
        told = {
            identity
            for dialogue in unit.dialogues
            if dialogue.task < 2
            for identity, wanted in zip(dialogue.ids, dialogue.is_target, strict=True)
            if wanted and identity != eos_id
        }
        if told:
            log = functional.log_softmax(heads.words(features.mean(0)), -1)
            words.append(-torch.stack([log[identity] for identity in told]).mean())
        if unit.objects is None:
            continue
        owner = {}
        for number, (left, top, right, bottom) in enumerate(unit.objects.boxes_B4.tolist()):
            cell = int((top + bottom) / 2 * grid) * grid + int((left + right) / 2 * grid)
            area = (right - left) * (bottom - top)
            owner[cell] = min(owner.get(cell, (math.inf, 0)), (area, number))
        for cell in range(grid**2):
            right_probability = torch.sigmoid(said[cell, 0] if cell in owner else -said[cell, 0])
            focal.append(-((1 - right_probability) ** 2) * right_probability.log())
        for cell, (_, number) in owner.items():
            objects += 1
            left, top, right, bottom = (value * grid for value in unit.objects.boxes_B4[number])
            x, y = cell % grid + 0.5 + said[cell, 1], cell // grid + 0.5 + said[cell, 2]
            width, height = said[cell, 3].exp(), said[cell, 4].exp()
            one = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
            two = [torch.tensor(value).float() for value in (left, top, right, bottom)]
            inner = [torch.maximum(one[0], two[0]), torch.maximum(one[1], two[1])]
            inner += [torch.minimum(one[2], two[2]), torch.minimum(one[3], two[3])]
            shared = (inner[2] - inner[0]).clamp(min=0) * (inner[3] - inner[1]).clamp(min=0)
            outer = [torch.minimum(one[0], two[0]), torch.minimum(one[1], two[1])]
            outer += [torch.maximum(one[2], two[2]), torch.maximum(one[3], two[3])]
            hull = (outer[2] - outer[0]) * (outer[3] - outer[1])
            union = width * height + (right - left) * (bottom - top) - shared
            giou = shared / union - (hull - union) / hull
            distance = abs(x - (left + right) / 2) + abs(y - (top + bottom) / 2)
            distance = distance + abs(said[cell, 3] - math.log(right - left))
            box.append(1 - giou + distance + abs(said[cell, 4] - math.log(bottom - top)))
            log = functional.log_softmax(heads.names(features[cell]), -1)
            name.append(-torch.stack([log[identity] for identity in unit.objects.names[number]]).mean())
    return torch.stack([sum(focal) / objects, sum(box) / objects, sum(name) / objects, sum(words) / len(words)])


@pytest.mark.parametrize("parts", [[6], [1, 3, 2]])
def test_the_gradient_is_that_of_the_definition_however_images_lie_in_packs(model_folder, processor, tmp_path, parts):
    units = units_with_objects(processor)
    config = auxiliary_config(tmp_path, model_folder)
    training = training_of(model_folder, config)
    expected = by_hand(training, units)
    (config.auxiliary.weight * expected.sum()).backward()
    named = {name: value for name, value in training.model.named_parameters()}
    named |= {HEADS + name: value for name, value in training.heads.named_parameters()}
    gradients = {name: value.grad.clone() for name, value in named.items() if value.grad is not None}
    packs, first = [], 0
    for count in parts:
        packs.append(pack_of(processor, units[first : first + count], 600))
        first += count
    outcome = optimiser_step(training, packs, 1, Phase(0, 1, text=False, heads=True))
    assert outcome.auxiliary == pytest.approx(dict(zip(NAMES, expected.tolist(), strict=True)), rel=1e-4)
    assert outcome.loss == pytest.approx(float(expected.sum()), rel=1e-4)
    assert any(name.startswith(IMAGE_SIDE) for name in gradients) and any(name.startswith(HEADS) for name in gradients)
    for name, value in named.items():
        if not name.startswith((*IMAGE_SIDE, HEADS)):
            assert value.grad is None
            continue
        wanted = gradients.get(name, torch.zeros_like(value))
        torch.testing.assert_close(value.grad, wanted, rtol=2e-3, atol=2e-6, msg=name)


def test_beside_the_text_both_gradients_add_up(model_folder, processor, tmp_path):
    pack = pack_of(processor, units_with_objects(processor), 600)
    config = auxiliary_config(tmp_path, model_folder)
    gradients, losses = [], []
    for text, heads in ((True, False), (False, True), (True, True)):
        training = training_of(model_folder, config)
        outcome = optimiser_step(training, [pack], 1, Phase(0, 1, text=text, heads=heads))
        losses.append(outcome.loss)
        gradients.append(training.model.projector.linear.weight.grad)
    torch.testing.assert_close(gradients[0] + gradients[1], gradients[2], rtol=1e-3, atol=1e-6)
    # What is reported beside text is the text's loss alone.
    assert losses[2] == pytest.approx(losses[0], rel=1e-5) != losses[1]


def test_a_cell_answers_for_the_smallest_object_and_says_its_box():
    generator = torch.Generator().manual_seed(0)
    low = torch.rand(60, 2, generator=generator) * 0.8
    boxes_B4 = torch.cat((low, low + 0.02 + 0.18 * torch.rand(60, 2, generator=generator)), 1)
    images_B = torch.arange(60) % 3
    chosen, cells = assigned(boxes_B4, images_B, 4)
    area = (boxes_B4[:, 2:] - boxes_B4[:, :2]).prod(-1)
    place = ((boxes_B4[:, :2] + boxes_B4[:, 2:]) / 2 * 4).floor()
    keys = [(int(image), int(y * 4 + x)) for image, (x, y) in zip(images_B, place, strict=True)]
    assert len(chosen) == len(set(keys)) < 60
    for number, cell in zip(chosen.tolist(), cells.tolist(), strict=True):
        assert keys[number][1] == cell
        assert area[number] == min(area[other] for other in range(60) if keys[other] == keys[number])
    said_T4 = torch.zeros(16, 4)
    said_T4[cells[:1]] = offsets(boxes_B4[chosen[:1]], cells[:1], 4)
    torch.testing.assert_close(said_boxes(said_T4)[cells[0]], boxes_B4[chosen[0]])


def test_words_are_those_of_answers_about_the_whole_image(processor):
    units = make_units(processor)
    eos_id = processor.tokenizer.eos_token_id
    several = replace(units[5], further_CHW=(units[0].pixels_CHW,))
    prefix, slots = processor.encode_prefix(True), processor.image_slots
    pack = collate_packs([replace(units[0], pixels_CHW=None), several, units[1]], prefix, 900, 2, 32, image_slots=slots)
    images, words = image_words(pack, TASKS, eos_id)
    # Text alone and a unit of two images have none; the one image of the last unit is the pack's third.
    assert images.unique().tolist() == [2]
    encode = processor.tokenizer.encode
    assert {*words.tolist()} == {*encode(" red"), *encode(" a square a square ")}
    assert len(image_words(pack, ("vqa", "vqa", "vqa"), eos_id)[0]) == 0


@pytest.mark.parametrize("dihedral", [False, True])
def test_objects_are_where_the_pixels_show_them(found_shards, processor, tmp_path, dihedral):
    selection = select([found_shards])
    stream = make_stream(selection, processor, tmp_path)
    augment = AugmentConfig(dihedral=True) if dihedral else None
    dataset = PackDataset(selection, stream.lengths, processor, 320, augment=augment, with_objects=True)
    checked = 0
    for _, reference in zip(range(6), stream.walk(stream.start()), strict=False):
        pack = dataset[reference]
        for box, image, name in zip(pack.object_boxes_B4, pack.object_images_B, pack.object_names_BK, strict=True):
            pixels = pack.pixel_values_NCHW[image].float()
            coloured = (pixels.amax(0) - pixels.amin(0) > 60) | (pixels.amin(0) > 180)
            rows, columns = (coloured.any(axis).nonzero().flatten() for axis in (1, 0))
            seen = torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / pixels.shape[-1]
            assert (box - seen).abs().max() < 0.05
            text = processor.tokenizer.decode([identity for identity in name.tolist() if identity >= 0])
            assert text in shard_folder.COLOURS
            checked += 1
    assert checked > 4


def test_phases_follow_each_other(model_folder, tmp_path):
    config = auxiliary_config(tmp_path, model_folder, auxiliary={"alone_share": 0.3, "frozen_after": True}).auxiliary
    phases = [phase_of(config, done, 10) for done in range(10)]
    assert [(phase.done, phase.steps) for phase in phases] == [(n, 3) for n in range(3)] + [(n, 7) for n in range(7)]
    names = ("model.vision.vit.x", "model.projector.linear.weight", "auxiliary.words.bias", "lm_head.weight")
    assert [phases[0].trains(name) for name in names] == [True, True, True, False]
    assert [phases[3].trains(name) for name in names] == [False, False, False, True]
    together = phase_of(config.model_copy(update={"frozen_after": False}), 3, 10)
    assert all(together.trains(name) for name in names) and together.text and together.heads
    assert phase_of(None, 3, 10) == Phase(3, 10)


def run_config(out, shards, model_folder):
    auxiliary = {"alone_share": 0.4, "frozen_after": True}
    return make_config(out, shards, model_folder, auxiliary=auxiliary, checkpoint={"every_steps": 1})


@pytest.fixture(scope="module")
def straight(found_shards, model_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("straight") / "out"
    return train(run_config(out, found_shards, model_folder).model_copy(update={"checkpoint": keep_all()}))


def keep_all():
    from training.config import CheckpointConfig

    return CheckpointConfig(every_steps=1, keep_last=99)


def test_each_part_of_the_run_trains_its_own_and_no_head_is_saved(straight):
    states = {
        step: load_file(straight.out / "checkpoints" / f"step-{step:08d}" / "trainable.safetensors")
        for step in range(1, straight.steps + 1)
    }
    alone = round(0.4 * straight.steps)
    lines = read_metrics(straight.metrics)
    assert [bool(line["task_loss"]) for line in lines] == [step >= alone for step in range(straight.steps)]
    assert set(lines[0]["auxiliary_loss"]) == set(NAMES) and not lines[-1]["auxiliary_loss"]
    assert lines[0]["loss"] == pytest.approx(sum(lines[0]["auxiliary_loss"].values()))
    for name in states[1]:
        seen = name.startswith((*IMAGE_SIDE, HEADS))
        in_first = not torch.equal(states[1][name], states[alone][name])
        in_rest = not torch.equal(states[alone][name], states[straight.steps][name])
        if not seen:
            assert not in_first, name
        assert not (seen and in_rest), name
    assert not torch.equal(states[alone]["lm_head.weight"], states[straight.steps]["lm_head.weight"])
    assert not [name for name in load_file(straight.model / "model.safetensors") if "auxiliary" in name]


@pytest.mark.parametrize("stop", [1, pytest.param(4, marks=pytest.mark.nightly)])
def test_a_run_resumes_bit_for_bit_in_either_part(straight, found_shards, model_folder, tmp_path, monkeypatch, stop):
    from training.report.monitor import Monitor

    original = Monitor.step

    def step(self, report):
        original(self, report)
        if report.step == stop:
            os.kill(os.getpid(), signal.SIGTERM)

    config = run_config(tmp_path / "out", found_shards, model_folder)
    with monkeypatch.context() as patch:
        patch.setattr(Monitor, "step", step)
        with pytest.raises(Requeue):
            train(config)
    assert train(config).resumed_from == stop
    for name in ("trainable", "optimiser"):
        mine, other = (latest_checkpoint(out / "checkpoints") for out in (config.out, straight.out))
        assert (mine / f"{name}.safetensors").read_bytes() == (other / f"{name}.safetensors").read_bytes()


def ranked_step(folder, config, result):
    processor = EarthGPTProcessor.from_pretrained(folder)
    units = units_with_objects(processor)
    packs = [pack_of(processor, units[first : first + 3], 600) for first in (0, 3)]
    with open_ranks("cpu") as ranks:
        training = training_of(folder, config, ranks)
        outcome = optimiser_step(training, packs[ranks.rank :: ranks.size], 1, Phase(0, 1, heads=True))
        gradients = {name: value.grad for name, value in training.model.named_parameters()}
        gradients |= {name: value.grad for name, value in training.heads.named_parameters()}
        sums = torch.tensor([outcome.auxiliary[name] for name in NAMES])
        if ranks.is_first:
            save_file(gradients | {"sums": sums}, result / f"{ranks.size}.safetensors")


def test_two_ranks_are_one(model_folder, tmp_path):
    config = auxiliary_config(tmp_path, model_folder)
    for size in (1, 2):
        assert run_ranks(size, ranked_step, model_folder, config, tmp_path, log=tmp_path / str(size)) == [0] * size
    one, two = (load_file(tmp_path / f"{size}.safetensors") for size in (1, 2))
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"parallel": {"mode": "fsdp"}}, "cannot be sharded"),
        ({"data": {"folders": [], "webdataset": "a.tar"}, "max_steps": 1}, "tars of others have none"),
    ],
)
def test_what_cannot_have_heads_is_refused(model_folder, tmp_path, changes, message):
    with pytest.raises(ValidationError, match=message):
        auxiliary_config(tmp_path, model_folder, **changes)
