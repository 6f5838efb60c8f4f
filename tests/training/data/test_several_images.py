"""Samples of several images in the planned stream: packed as alone, resumed bit for bit, shared by ranks, learnt."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from mmrs.shards.reader import ShardSet
from tests.support.pairs import built_pairs
from tests.training.micro import make_config
from tests.training.ranks import run_ranks
from tests.training.shard_folder import make_shard_folder
from training.config import AugmentConfig
from training.data.loader import PackDataset, PackSampler, pack_loader
from training.data.open import open_training_selection, plan_stream
from training.data.planning.lengths import turns_of
from training.data.webdataset import WebdatasetPacks, open_webdataset
from training.evaluation.generate import Decoding, generate_answers
from training.evaluation.questions import QuestionScope, load_questions
from training.model import EarthGPTForConditionalGeneration, EarthGPTProcessor, pad_and_resize
from training.run.checkpoint import latest_checkpoint
from training.run.sample_page import draw_samples
from training.run.train import train
from training.step.objective.loss import target_losses

SAMPLES = 13


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Samples of one, two and three images in turn."""
    return make_shard_folder(tmp_path_factory.mktemp("several"), SAMPLES, 2, images=3)


@pytest.fixture(scope="module")
def processor(model_folder):
    return EarthGPTProcessor.from_pretrained(model_folder)


@pytest.fixture(autouse=True)
def no_plot(monkeypatch):
    monkeypatch.setattr("training.run.train.plot_run", lambda out, image: None)


def config_of(out, shards, model_folder, **changes):
    return make_config(out, shards, model_folder, **changes)


def stream_of(config, processor):
    return plan_stream(config, open_training_selection(config), processor, 256)


def packs_of(stream, count=None):
    sampler = PackSampler(stream.sequence, stream.start(), count or len(stream.sequence.plan(0)), 1)
    return list(pack_loader(stream.dataset, sampler, 0))


def test_a_pack_is_of_all_images_in_order_and_each_dialogue_is_as_it_is_alone(
    folder, model_folder, processor, tmp_path
):
    stream = stream_of(config_of(tmp_path / "out", folder, model_folder), processor)
    selection = stream.selection
    model = EarthGPTForConditionalGeneration.from_pretrained(model_folder).eval()
    prefix, seen = processor.encode_prefix(True), 0
    for number, pack in enumerate(packs_of(stream)):
        units = stream.sequence.plan(0).pack(number)
        assert pack.real_tokens == stream.sequence.plan(0).pack_tokens[number]
        with torch.no_grad():
            losses, in_rows = (target_losses(model, pack, rows) for rows in (False, True))
        torch.testing.assert_close(losses, in_rows, rtol=1e-4, atol=1e-5)
        first = 0
        for unit, (row, entries) in enumerate(units):
            images = selection.images_of(row)
            assert len(images) == selection.images[row] == 1 + int(selection.sample_id(row)[-5:]) % 3
            squares = pack.pixel_values_NCHW[first : first + len(images)]
            first += len(images)
            for data, square_CHW in zip(images, squares, strict=True):
                with Image.open(io.BytesIO(data)) as opened:
                    assert np.array_equal(square_CHW.numpy(), pad_and_resize(opened, 32))
            shown = [*prefix[: -processor.image_slots], *prefix[-processor.image_slots :] * len(images)]
            alone = []
            for entry in entries:
                dialogue = selection.record(row).dialogues[selection.dialogue_number[entry]]
                ids, is_target = processor.encode_dialogue(turns_of(dialogue))
                labels = [-100] * len(shown) + [i if t else -100 for i, t in zip(ids, is_target, strict=True)]
                with torch.no_grad():
                    found = model(torch.tensor([[*shown, *ids]]), pixel_values=squares, labels=torch.tensor([labels]))
                alone.append(found.loss * sum(is_target))
                seen += 1
            torch.testing.assert_close(losses[pack.target_units_T == unit].sum(), sum(alone), rtol=1e-4, atol=1e-4)
        assert first == len(pack.pixel_values_NCHW)
    assert seen == len(stream.sequence.lengths)


def test_the_plan_counts_images_and_their_bytes(folder, model_folder, processor, tmp_path):
    stream = stream_of(config_of(tmp_path / "out", folder, model_folder), processor)
    shards = ShardSet(folder)
    every = [shards.images(row) for row in shards.table("train").to_pylist()]
    summary = stream.summary()
    assert summary["image_bytes"] == sum(len(image) for images in every for image in images)
    assert summary["images"] == sum(map(len, every)) and summary["samples"] == SAMPLES


def test_images_of_a_sample_are_turned_and_shaded_alike(model_folder, processor, tmp_path):
    """Of a pair of equal pictures the squares stay equal, whatever is drawn; of one alone they do not."""
    folder = make_shard_folder(tmp_path / "data", 8, 1, images=2)
    augment = AugmentConfig(brightness=0.3, contrast=0.3, noise=4, dihedral=True)
    stream = stream_of(config_of(tmp_path / "out", folder, model_folder), processor)
    pairs = stream.selection.images > 1
    selection = replace(
        stream.selection,
        further_offset=stream.selection.image_offset[pairs],
        further_size=stream.selection.image_size[pairs],
    )
    dataset = PackDataset(selection, stream.sequence.lengths, processor, 320, augment=augment)
    plain = PackDataset(selection, stream.sequence.lengths, processor, 320)
    changed = 0
    for reference in PackSampler(stream.sequence, stream.start(), len(stream.sequence.plan(0)), 1):
        first = 0
        varied, as_stored = dataset[reference], plain[reference]
        for row, _ in reference.units:
            squares = varied.pixel_values_NCHW[first : first + int(selection.images[row])]
            changed += not torch.equal(squares[0], as_stored.pixel_values_NCHW[first])
            first += len(squares)
            assert all(torch.equal(squares[0], other) for other in squares)
    assert changed > 4


def test_a_broken_further_image_is_replaced_by_a_sample_of_as_many(model_folder, processor, tmp_path):
    folder = make_shard_folder(tmp_path / "data", 12, 1, images=2)
    stream = stream_of(config_of(tmp_path / "out", folder, model_folder, data={"verify_images": True}), processor)
    selection = stream.selection
    row = selection.ids.to_pylist().index("toy/train/00003")
    tar = next(folder.glob("toy/*.tar"))
    data = bytearray(tar.read_bytes())
    data[int(selection.further_offset[selection.further_start[row]]) + 300] ^= 255
    tar.write_bytes(data)
    packs = packs_of(stream)
    assert {name for pack in packs for name, _ in pack.skipped} == {"toy/train/00003"}
    (substitute,) = {name for pack in packs for name in pack.substitutes}
    assert int(substitute[-5:]) % 2 == 1
    for pack in packs:
        shown = sum(1 + int(name[-5:]) % 2 for name in pack.sample_ids)
        assert len(pack.pixel_values_NCHW) == shown
        slots = int((pack.input_ids_L == processor.image_token_id).sum())
        assert slots == shown * processor.image_slots


def bytes_of(out):
    checkpoint = latest_checkpoint(out / "checkpoints")
    return {path.name: path.read_bytes() for path in checkpoint.glob("*.safetensors")}


def test_a_run_that_was_stopped_ends_with_the_same_bytes(folder, model_folder, tmp_path):
    fixed = {"schedule": {"total_steps": 6}}
    for name, steps in (("parts", 2), ("parts", 5), ("whole", 5)):
        train(config_of(tmp_path / name, folder, model_folder, max_steps=steps, **fixed))
    assert bytes_of(tmp_path / "parts") == bytes_of(tmp_path / "whole")


def test_two_ranks_end_as_one(folder, model_folder, tmp_path):
    train(config_of(tmp_path / "one", folder, model_folder, epochs=1))
    config = config_of(tmp_path / "two", folder, model_folder, epochs=1)
    assert run_ranks(2, train, config, log=tmp_path) == [0, 0], (tmp_path / "rank-1.txt").read_text()
    one, two = (
        EarthGPTForConditionalGeneration.from_pretrained(tmp_path / name / "model").state_dict()
        for name in ("one", "two")
    )
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=1e-5, rtol=1e-4, msg=name)


def test_the_page_of_samples_shows_all_images(folder, model_folder, tmp_path):
    from mmrs.progress import Progress

    config = config_of(tmp_path / "out", folder, model_folder)
    page = draw_samples(config, 4, Progress(quiet=True)).read_text()
    squares = page.count("<img src='data:image/png;base64,")
    assert page.count("<section class='sample'>") == 4 and 4 < squares <= 12


def test_tars_of_ours_give_the_same_images_to_the_stream_of_others(tmp_path, model_folder, processor):
    out = built_pairs(tmp_path, (2, 1, 3))
    tars = [str(tar) for tar in (out / "toy").glob("train-*.tar")]
    changes = {"data": {"folders": [], "webdataset": tars}, "max_steps": 2}
    config = config_of(tmp_path / "run", out, model_folder, **changes)
    units = {name: 0 for name in range(3)}
    for pack in WebdatasetPacks(open_webdataset(config, processor, 256)).one_pass():
        slots = [int(((pack.image_segment_L == unit) & (pack.input_ids_L == processor.image_token_id)).sum())
                 for unit in range(len(pack.sample_ids))]  # fmt: skip
        assert not pack.skipped
        for name, count in zip(pack.sample_ids, slots, strict=True):
            units[int(name[-8:])] = count // processor.image_slots
    counted = {row["key"][-8:]: len(row["further_offset"]) + 1 for row in ShardSet(out).table("train").to_pylist()}
    assert units == {int(key): count for key, count in counted.items()}


@pytest.mark.nightly
def test_whether_the_colour_changed_is_learnt(tmp_path):
    """The answer depends on both images: half of the pairs change, so no constant answer is right of many more."""
    out = built_pairs(tmp_path, [2] * 160)
    changes = {"model": {"path": None, "preset": "tiny"}, "max_steps": 120, "checkpoint": {"every_steps": 1000}}
    rate = {"stage": {"trainable": [{"pattern": ".*", "learning_rate": 1e-3}]}}
    sizes = {"tokens_per_pack": 512, "tokens_per_step": 1024}
    train(config_of(tmp_path / "run", out, None, **changes, **rate, **sizes))
    model = EarthGPTForConditionalGeneration.from_pretrained(tmp_path / "run" / "model").eval()
    data = ShardSet(out)
    questions = load_questions(data, QuestionScope(tasks=("vqa",)))
    trained = EarthGPTProcessor.from_pretrained(tmp_path / "run" / "model")
    answers = generate_answers(model, trained, data, questions, Decoding(max_new_tokens=4), lambda count: None)
    right = [answer.text.strip() == asked.truth.text for answer, asked in zip(answers, questions, strict=True)]
    changed = sum(asked.truth.text == "yes" for asked in questions) / len(questions)
    assert sum(right) / len(right) > max(changed, 1 - changed) + 0.2
