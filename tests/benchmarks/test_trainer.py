"""The trainers of the benchmark see the same targets, and count what they see."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch

from benchmarks import dialogues, padded
from benchmarks.trainer import Counts, _count, lengths_of, packs_of, summary
from training.data.planning.plan import PlanSettings
from training.data.planning.sequence import PackSequence
from training.model import EarthGPTImageProcessor, EarthGPTProcessor, initialise, preset, train_tokenizer
from training.model.tokenizer import IMAGE
from training.step.objective.loss import target_losses


@pytest.fixture(scope="module")
def model_and_processor():
    tokenizer = train_tokenizer(dialogues.texts(dialogues.generate(20, seed=1)), 512)
    ids = {key: getattr(tokenizer, key) for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    config = preset("tiny", vocab_size=len(tokenizer), image_token_id=tokenizer.get_vocab()[IMAGE], **ids)
    processor = EarthGPTProcessor(EarthGPTImageProcessor(config.image_size), tokenizer, config.image_slots)
    return initialise(config, 0), processor


def test_samples_depend_on_the_seed_alone():
    assert dialogues.generate(20, seed=3) == dialogues.generate(20, seed=3)
    assert dialogues.generate(20, seed=3) != dialogues.generate(20, seed=4)


def test_packed_and_padded_trainers_have_the_same_targets_and_losses(model_and_processor):
    model, processor = model_and_processor
    units = dialogues.encode(dialogues.generate(3, seed=0), processor, 0)
    prefix = processor.encode_prefix(True)
    settings = PlanSettings("generated", "none", 0, 1024, len(prefix), 1024, 256, 64, 4096)
    stream = PackSequence(lengths_of(units), settings)
    packs = packs_of(units, stream, processor)
    data = padded.sequences(units, prefix, 1024)
    collate = padded.Collator(processor.tokenizer.pad_token_id)

    counts = Counts()
    for pack in packs:
        _count(counts, pack)
    model.eval()
    with torch.no_grad(), padded.counted(model, processor.tokenizer.pad_token_id) as counter:
        packed = torch.cat([target_losses(model, pack) for pack in packs]).sum()
        mean, total = [], 0
        for first in range(0, len(data), 4):
            batch = collate([data[number] for number in range(first, min(first + 4, len(data)))])
            targets = int((batch["labels"] != padded.IGNORED).sum())
            mean.append(model(**batch).loss * targets)
            total += targets
        by_hook = counter.counts(0, padded.Clock(), len(mean))

    assert counts.targets == total == by_hook.targets
    assert counts.dialogues == len(data) == by_hook.dialogues
    assert counts.real == sum(pack.real_tokens for pack in packs)
    assert by_hook.real == sum(data.lengths())
    torch.testing.assert_close(packed, torch.stack(mean).sum(), rtol=1e-4, atol=1e-2)


def test_visible_pairs_are_counted_as_the_mask_has_them(model_and_processor):
    from training.model.masks import PADDING, build_block_mask

    _, processor = model_and_processor
    units = dialogues.encode(dialogues.generate(2, seed=2), processor, 0)
    settings = PlanSettings("generated", "none", 0, 1024, len(processor.encode_prefix(True)), 1024, 256, 64, 4096)
    for pack in packs_of(units, PackSequence(lengths_of(units), settings), processor):
        counts = Counts()
        _count(counts, pack)
        mask = build_block_mask(pack.image_segment_L[None], pack.dialogue_segment_L[None])[0, 0]
        assert counts.pairs == int(mask[pack.image_segment_L != PADDING].sum())


def test_summary_takes_the_best_setting_and_ignores_parts_that_did_not_run():
    def part(name: str, settings: dict, wall: float, processor: float) -> dict:
        rates = {"target_tokens_per_second": wall, "target_tokens_per_processor_second": processor}
        return {"name": name, "settings": settings} | rates

    parts = [
        part("ours", {"tokens_per_pack": 1}, 30.0, 30.0),
        part("ours", {"tokens_per_pack": 2}, 50.0, 32.0),
        part("ours", {"tokens_per_pack": 2}, 70.0, 28.0),
        part("padded loop", {"batch": 4}, 20.0, 20.0),
        {"name": "hf trainer", "settings": {"batch": 4}, "not_run": "no accelerate"},
    ]
    result = summary(parts)
    assert result["ours"]["settings"] == {"tokens_per_pack": 2}
    assert result["ours"]["target_tokens_per_second_median"] == 60.0
    assert result["ours / padded loop"] == 3.0
    assert result["ours / padded loop by processor time"] == 1.5
    assert "hf trainer" not in result and "ours / hf trainer" not in result
    assert asdict(Counts())["seconds"] == asdict(Counts())["processor_seconds"] == 0.0
