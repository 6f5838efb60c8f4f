"""The step's mathematics against independent computations, and its failures."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch.nn import functional

from mmrs.errors import RunFailure
from tests.training.micro import make_config
from training.config import OptimiserConfig, StageConfig
from training.data.collate import EncodedDialogue, EncodedUnit, collate_packs
from training.model import EarthGPTForConditionalGeneration, EarthGPTProcessor
from training.model.masks import build_block_mask
from training.stages.stage import apply_stage
from training.step.objective import loss as loss_module
from training.step.objective.loss import target_losses
from training.step.optim import build_optimiser
from training.step.step import TargetLabels, Training, optimiser_step


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def processor(model_folder):
    return EarthGPTProcessor.from_pretrained(model_folder)


def make_units(processor, count=6):
    generator = torch.Generator().manual_seed(0)
    units = []
    for number in range(count):
        pixels = torch.randint(0, 256, (3, 32, 32), generator=generator, dtype=torch.uint8).numpy()
        texts = [("Which colour?", "red"), ("Describe", "a square " * (1 + number)), ("Where?", "left")]
        dialogues = tuple(
            EncodedDialogue(*processor.encode_dialogue([("human", question), ("gpt", answer)]), task)
            for task, (question, answer) in enumerate(texts[: 1 + number % 3])
        )
        units.append(EncodedUnit(f"sample-{number}", pixels, dialogues))
    return units


def pack_of(processor, units, tokens_per_pack):
    return collate_packs(units, processor.encode_prefix(True), tokens_per_pack, 2, 32)


@pytest.fixture
def training(model_folder, tmp_path):
    model = EarthGPTForConditionalGeneration.from_pretrained(model_folder)
    stage = StageConfig.model_validate({"trainable": [{"pattern": ".*", "learning_rate": 1e-2}]})
    config = make_config(tmp_path / "out", tmp_path, model_folder)
    return Training(
        config=config,
        model=model,
        optimiser=build_optimiser(apply_stage(model, stage), OptimiserConfig()),
        labels=TargetLabels(("a", "b", "c")),
    )


def test_packed_loss_is_that_of_each_dialogue_alone(training, processor):
    units = make_units(processor)
    packed = target_losses(training.model, pack_of(processor, units, 600))
    alone = []
    for unit in units:
        for dialogue in unit.dialogues:
            # Plain causal model without any of the packing code.
            ids = torch.tensor([processor.encode_prefix(True) + dialogue.ids])
            with torch.no_grad():
                logits = training.model(input_ids=ids, pixel_values=torch.from_numpy(unit.pixels_CHW)[None]).logits[0]
            start = len(processor.encode_prefix(True))
            for place, is_target in enumerate(dialogue.is_target):
                if is_target:
                    alone.append(functional.cross_entropy(logits[start + place - 1], ids[0, start + place]))
    assert len(alone) == len(packed) > 50
    assert torch.allclose(packed, torch.stack(alone), atol=2e-6)


def test_the_loss_is_plain_cross_entropy_with_its_gradient(training, processor):
    pack = pack_of(processor, make_units(processor), 600)
    losses = target_losses(training.model, pack)
    losses.sum().backward()
    gradient = training.model.lm_head.weight.grad.clone()
    training.model.zero_grad()
    logits = training.model(
        input_ids=pack.input_ids_L[None],
        pixel_values=pack.pixel_values_NCHW,
        attention_mask=build_block_mask(pack.image_segment_L[None], pack.dialogue_segment_L[None]),
        position_ids=pack.position_ids_L[None],
    ).logits[0]
    plain = functional.cross_entropy(logits[pack.target_positions_T], pack.target_ids_T, reduction="none")
    plain.sum().backward()
    torch.testing.assert_close(losses, plain, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, training.model.lm_head.weight.grad, rtol=1e-4, atol=1e-5)


def test_the_logits_of_a_pack_never_exist_at_once(training, processor, monkeypatch):
    """Neither in the forward pass nor in the backward pass does the head see more than one chunk."""
    vocabulary = training.model.config.text_config.vocab_size
    monkeypatch.setattr(loss_module, "LOGITS_PER_CHUNK", 7 * vocabulary + 3)
    seen = []
    training.model.lm_head.register_forward_hook(lambda module, given, logits: seen.append(len(logits)))
    pack = pack_of(processor, make_units(processor), 600)
    target_losses(training.model, pack).sum().backward()
    assert max(seen) == 7 and sum(seen) == 2 * pack.targets


def test_chunks_of_targets_change_neither_loss_nor_gradient(training, processor, monkeypatch):
    pack = pack_of(processor, make_units(processor), 600)
    results = []
    for size in (10_000, 7):
        monkeypatch.setattr(loss_module, "LOGITS_PER_CHUNK", size * training.model.config.text_config.vocab_size)
        training.model.zero_grad()
        losses = target_losses(training.model, pack)
        losses.sum().backward()
        results.append((losses.detach(), training.model.lm_head.weight.grad.clone()))
    assert torch.allclose(results[0][0], results[1][0], atol=1e-6)
    assert torch.allclose(results[0][1], results[1][1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("parts", [[1, 5], [2, 2, 2], [1, 1, 1, 1, 1, 1]])
def test_accumulated_step_is_one_large_batch(training, processor, parts):
    """Although the parts have very different numbers of target tokens."""
    units = make_units(processor)
    start = {name: parameter.detach().clone() for name, parameter in training.model.named_parameters()}

    def gradients(packs):
        with torch.no_grad():
            for name, parameter in training.model.named_parameters():
                parameter.copy_(start[name])
        outcome = optimiser_step(training, packs, 1)
        return outcome, {name: parameter.grad.clone() for name, parameter in training.model.named_parameters()}

    whole, expected = gradients([pack_of(processor, units, 800)])
    cuts = [sum(parts[:number]) for number in range(len(parts) + 1)]
    split, found = gradients([pack_of(processor, units[a:b], 800) for a, b in pairwise(cuts)])
    assert split.loss == pytest.approx(whole.loss, rel=1e-6)
    assert split.gradient_norm == pytest.approx(whole.gradient_norm, rel=1e-5)
    assert all(torch.allclose(found[name], expected[name], rtol=1e-5, atol=1e-6) for name in expected)
    assert torch.equal(split.sums.task_counts, whole.sums.task_counts)


def test_task_losses_add_up_to_the_loss(training, processor):
    packs = [pack_of(processor, make_units(processor), 600)]
    outcome = optimiser_step(training, packs, 1)
    assert outcome.loss == pytest.approx(float(outcome.sums.task_sums.sum() / outcome.sums.task_counts.sum()))
    assert outcome.sums.task_counts.sum() == packs[0].targets


def test_a_pack_without_samples_changes_nothing(training, processor):
    units = make_units(processor)
    packs = [pack_of(processor, units, 600), pack_of(processor, [], 600)]
    outcome = optimiser_step(training, packs, 1)
    assert math.isfinite(outcome.loss)
    with pytest.raises(RunFailure, match=r"step 4 has no target token"):
        optimiser_step(training, packs[1:], 4)


def test_a_loss_that_is_not_finite_stops_before_the_update_and_names_the_samples(training, processor, monkeypatch):
    def broken(model, pack, in_rows, **options):
        losses = target_losses(model, pack, in_rows, **options)
        return torch.where(pack.target_units_T == 3, losses * math.nan, losses)

    monkeypatch.setattr("training.step.objective.loss.target_losses", broken)
    before = {name: parameter.detach().clone() for name, parameter in training.model.named_parameters()}
    with pytest.raises(RunFailure, match=r"step 7: loss nan.*sample-3\. Lower"):
        optimiser_step(training, [pack_of(processor, make_units(processor), 600)], 7)
    assert all(torch.equal(parameter, before[name]) for name, parameter in training.model.named_parameters())


def test_a_gradient_that_is_not_finite_stops_before_the_update(training, processor):
    training.model.lm_head.weight.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(RunFailure, match=r"gradient norm (nan|inf).*sample-0, sample-1"):
        optimiser_step(training, [pack_of(processor, make_units(processor), 600)], 2)


def test_frozen_encoders_keep_no_activations(training, processor):
    """What the graph of a pack holds does not depend on the encoders when they are frozen."""
    pack = pack_of(processor, make_units(processor), 600)
    inside, kept = False, []

    def keep(tensor):
        kept.append(inside)
        return tensor

    def enter(module, given):
        nonlocal inside
        inside = True

    def leave(module, given, result):
        nonlocal inside
        inside = False

    training.model.vision.register_forward_pre_hook(enter)
    training.model.vision.register_forward_hook(leave)
    for trains in (True, False):
        training.model.vision.requires_grad_(trains)
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            target_losses(training.model, pack)
        assert kept and any(kept) == trains
    assert not training.model.vision.vit.training


def test_a_first_token_that_is_a_target_is_refused(processor):
    unit = EncodedUnit("x", make_units(processor, 1)[0].pixels_CHW, (EncodedDialogue([5, 6], [True, True], 0),))
    with pytest.raises(ValueError, match=r"first token"):
        pack_of(processor, [unit], 60)
    with pytest.raises(ValueError, match=r"do not fit"):
        pack_of(processor, make_units(processor), 60)
