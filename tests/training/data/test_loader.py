"""Reading packs: equal for any number of workers; broken samples are left out, named, counted and capped."""

from __future__ import annotations

import io
import multiprocessing
import pickle
import re
from dataclasses import fields, replace
from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

from mmrs.errors import RunFailure, UserError
from mmrs.record import Dialogue, Turn
from tests.training import shard_folder
from tests.training.shard_folder import make_shard_folder
from training.config import AugmentConfig
from training.data.kept import KeptSquares
from training.data.loader import PackDataset, PackSampler, check_skipped, pack_loader, plain_failures
from training.data.planning.lengths import length_table, tokenizer_digest, turns_of
from training.data.planning.plan import PlanSettings
from training.data.planning.selection import select
from training.data.planning.sequence import PackSequence
from training.data.planning.summary import plan_lines, summarise
from training.model import EarthGPTProcessor, build_position_ids, pad_and_resize


@pytest.fixture(scope="module")
def processor(model_folder):
    return EarthGPTProcessor.from_pretrained(model_folder)


def make_stream(selection, processor, cache, tokens_per_pack=320):
    digest = tokenizer_digest(processor)
    settings = PlanSettings(
        data_set_id=selection.data_set_id,
        tokenizer_digest=digest,
        seed=0,
        tokens_per_pack=tokens_per_pack,
        prefix_tokens=len(processor.encode_prefix(True)),
        max_positions=256,
        shuffle_block_samples=4,
        shuffle_window_blocks=2,
        packing_window_units=50,
    )
    return PackSequence(length_table(selection, processor, digest, cache), settings)


def read(selection, processor, stream, workers=0, packs=None, **options):
    dataset = PackDataset(selection, stream.lengths, processor, stream.settings.tokens_per_pack, **options)
    sampler = PackSampler(stream, stream.start(), packs or len(stream.plan(0)), 1)
    return list(pack_loader(dataset, sampler, workers))


def same(first, second):
    pairs = [(getattr(first, field.name), getattr(second, field.name)) for field in fields(first)]
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


def test_equal_content_for_any_number_of_workers(shards, processor, tmp_path):
    selection = select([shards], ["train"])
    stream = make_stream(selection, processor, tmp_path)
    torch.manual_seed(3)
    random_state = torch.get_rng_state()
    alone, one, two = (read(selection, processor, stream, workers, packs=16) for workers in (0, 1, 2))
    assert len(alone) == 16 and alone[-1].epoch >= 1
    assert all(same(a, b) and same(a, c) for a, b, c in zip(alone, one, two, strict=True))
    assert torch.equal(torch.get_rng_state(), random_state)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_packs_are_the_same_whatever_is_kept_of_decoded_images(shards, processor, tmp_path, workers, share):
    selection = select([shards], ["train"])
    stream = make_stream(selection, processor, tmp_path)
    packs, turned = 2 * len(stream.plan(0)) + 3, AugmentConfig(dihedral=True, noise=3)
    all_bytes = len(selection) * 3 * processor.image_processor.image_size**2
    kept = KeptSquares(int(share * all_bytes))
    plain = read(selection, processor, stream, 0, packs, augment=turned)
    again = read(selection, processor, stream, workers, packs, augment=turned, kept=kept)
    assert all(same(a, b) for a, b in zip(plain, again, strict=True)) and plain[-1].epoch >= 2
    assert kept._bytes <= kept.most_bytes


def test_only_pixels_are_handed_over_in_shared_memory(shards, processor, tmp_path, monkeypatch):
    """Each tensor that is costs a descriptor and a handshake between the processes."""
    selection = select([shards], ["train"])
    stream = make_stream(selection, processor, tmp_path)
    (pack,) = read(selection, processor, stream, 0, 1, with_objects=True)
    monkeypatch.setattr("training.data.collate._SMALL_BYTES", pack.pixel_values_NCHW.nbytes - 1)
    rebuild, (values, arrays) = pack.__reduce__()
    large = [name for name, value in values.items() if isinstance(value, torch.Tensor)]
    assert large == ["pixel_values_NCHW"] and len(arrays) == 13
    assert same(rebuild(values, arrays), pack) and same(pickle.loads(pickle.dumps(pack)), pack)


def test_an_image_that_is_kept_is_decoded_once(shards, processor, tmp_path, monkeypatch):
    selection = select([shards], ["train"])
    stream = make_stream(selection, processor, tmp_path)
    decoded = []

    def counted(image, size, out):
        decoded.append(size)
        return pad_and_resize(image, size, out)

    monkeypatch.setattr("training.data.loader.pad_and_resize", counted)
    one = 3 * processor.image_processor.image_size**2
    for room, expected in ((len(selection), len(selection)), (5, 3 * len(selection) - 2 * 5), (0, 3 * len(selection))):
        decoded.clear()
        epochs = sum(len(stream.plan(epoch)) for epoch in range(3))
        read(selection, processor, stream, 0, epochs, kept=KeptSquares(room * one))
        assert len(decoded) == expected


def test_ranks_and_workers_may_change_at_every_resume(shards, processor, tmp_path):
    """With real worker processes: all pixels and tokens come once, in the order of the uninterrupted stream."""
    selection = select([shards], ["train"])
    stream = make_stream(selection, processor, tmp_path)
    dataset = PackDataset(selection, stream.lengths, processor, stream.settings.tokens_per_pack)
    parts = [(1, 1, 0), (2, 2, 1), (1, 3, 2), (2, 1, 2), (3, 6, 0)]
    pointer, seen = stream.start(), []
    for steps, world_size, workers in parts:
        samplers = [PackSampler(stream, pointer, steps, 6, rank, world_size) for rank in range(world_size)]
        ranks = [list(pack_loader(dataset, sampler, workers)) for sampler in samplers]
        seen += [pack for together in zip(*ranks, strict=True) for pack in together]
        pointer = stream.advance(pointer, 6 * steps)
    assert all(same(a, b) for a, b in zip(seen, read(selection, processor, stream, packs=len(seen)), strict=True))
    epochs = [pack.epoch for pack in seen]
    assert len(set(epochs)) > 3
    for epoch in range(max(epochs)):
        shown = [sample_id for pack in seen if pack.epoch == epoch for sample_id in pack.sample_ids]
        assert len(set(shown)) == 24 and sum(pack.samples for pack in seen if pack.epoch == epoch) == len(shown)


def test_a_pack_holds_the_dialogues_and_images_of_the_records(shards, processor, tmp_path):
    selection = select([shards], ["train"])
    stream = make_stream(selection, processor, tmp_path)
    seen = []
    for number, pack in enumerate(read(selection, processor, stream)):
        units = stream.plan(0).pack(number)
        assert pack.sample_ids == tuple(selection.sample_id(row) for row, _ in units)
        cursor = 0
        for image, (row, entries) in enumerate(units):
            with Image.open(io.BytesIO(selection.image(row))) as opened:
                assert np.array_equal(pack.pixel_values_NCHW[image].numpy(), pad_and_resize(opened, 32))
            text = processor.encode_prefix(True)
            for entry in entries:
                dialogue = selection.record(row).dialogues[selection.dialogue_number[entry]]
                text += processor.encode_dialogue(turns_of(dialogue))[0]
                seen.append((row, int(selection.dialogue_number[entry])))
            assert pack.input_ids_L[cursor : cursor + len(text)].tolist() == text
            cursor += len(text)
        assert cursor == pack.real_tokens == stream.plan(0).pack_tokens[number]
        expected = build_position_ids(pack.image_segment_L[None], pack.dialogue_segment_L[None])[0]
        assert torch.equal(pack.position_ids_L, expected)
    assert sorted(seen) == [
        (int(r), int(d)) for r, d in zip(selection.dialogue_row, selection.dialogue_number, strict=True)
    ]


def test_targets_are_the_answers_predicted_from_the_position_before(shards, processor, tmp_path):
    selection = select([shards], ["train"], tasks=("classification",))
    stream = make_stream(selection, processor, tmp_path)
    assert selection.tasks == ("classification",)
    for pack in read(selection, processor, stream):
        assert torch.equal(pack.input_ids_L[pack.target_positions_T + 1], pack.target_ids_T)
        assert torch.equal(
            pack.dialogue_segment_L[pack.target_positions_T + 1], pack.dialogue_segment_L[pack.target_positions_T]
        )
        for unit, sample_id in enumerate(pack.sample_ids):
            answer = processor.tokenizer.decode(pack.target_ids_T[pack.target_units_T == unit])
            colour = ["red", "green", "blue", "white"][int(sample_id[-5:]) % 4]
            assert answer.replace("</s>", "").strip() == colour


def test_a_broken_image_is_replaced_and_named(processor, tmp_path):
    """By a sample of its shard with no more tokens; all other samples are as planned, for any number of workers."""
    selection = select([make_shard_folder(tmp_path / "data", broken=(4, 11))], ["train"])
    stream = make_stream(selection, processor, tmp_path)
    packs = read(selection, processor, stream)
    shard_of = {selection.sample_id(row): int(selection.shard_run[row]) for row in range(len(selection))}
    broken = {"toy/train/00004", "toy/train/00011"}
    assert {sample_id for pack in packs for sample_id, _ in pack.skipped} == broken
    for number, pack in enumerate(packs):
        planned = [selection.sample_id(row) for row, _ in stream.plan(0).pack(number)]
        assert all("Error" in reason for _, reason in pack.skipped)
        assert len(pack.pixel_values_NCHW) == len(pack.sample_ids)
        assert pack.real_tokens == int((pack.image_segment_L >= 0).sum()) <= stream.plan(0).pack_tokens[number]
        assert pack.samples == len(planned) and len(pack.substitutes) == len(pack.skipped)
        for expected, found in zip(planned, pack.sample_ids, strict=True):
            assert (found == expected) == (expected not in broken)
            assert shard_of[found] == shard_of[expected] and found not in broken
    assert all(same(a, b) for a, b in zip(packs, read(selection, processor, stream, workers=1), strict=True))
    # A seed draws the substitute; with eight neighbours some of a few seeds draw different ones.
    drawn = {tuple(pack.substitutes for pack in read(selection, processor, stream, seed=seed)) for seed in range(4)}
    assert len(drawn) > 1


def test_a_broken_image_without_a_fitting_neighbour_is_left_out(processor, tmp_path):
    """Of three samples in a shard, one with one dialogue is broken, the others' dialogues are longer."""
    selection = select([make_shard_folder(tmp_path / "data", samples=2, shards=1, broken=(0,))], ["train"])
    stream = make_stream(selection, processor, tmp_path)
    assert stream.lengths.tokens[0] < stream.lengths.tokens[1:].min()
    packs = read(selection, processor, stream)
    assert [name for pack in packs for name, _ in pack.skipped] == ["toy/train/00000"]
    assert [pack.substitutes for pack in packs] == [()] * len(packs)
    assert sum(pack.samples for pack in packs) == 2
    for pack in packs:
        for name, pixels_CHW in zip(pack.sample_ids, pack.pixel_values_NCHW, strict=True):
            row = selection.ids.to_pylist().index(name)
            with Image.open(io.BytesIO(selection.image(row))) as opened:
                assert np.array_equal(pixels_CHW.numpy(), pad_and_resize(opened, 32))
    assert all(same(a, b) for a, b in zip(packs, read(selection, processor, stream, workers=1), strict=True))


def test_a_pack_of_broken_samples_alone_is_all_padding(processor, tmp_path):
    selection = select([make_shard_folder(tmp_path / "data", 4, 1, broken=range(4))], ["train"])
    stream = make_stream(selection, processor, tmp_path)
    pack = read(selection, processor, stream)[0]
    assert same(pack, read(selection, processor, stream, workers=1)[0])
    assert pack.targets == pack.real_tokens == len(pack.sample_ids) == 0
    assert pack.pixel_values_NCHW.shape == (0, 3, 32, 32)


def test_image_digests_are_compared_on_request(processor, tmp_path):
    folder = make_shard_folder(tmp_path / "data", 6, 1)
    selection = select([folder], ["train"])
    tar = next(folder.glob("toy/*.tar"))
    data = bytearray(tar.read_bytes())
    # The comment-free tail of a JPEG can change without a decoder noticing.
    place = int(selection.image_offset[2] + selection.image_size[2] - 3)
    data[place] ^= 1
    tar.write_bytes(data)
    stream = make_stream(selection, processor, tmp_path)
    unchecked = [pack.skipped for pack in read(selection, processor, stream)]
    checked = [pack.skipped for pack in read(selection, processor, stream, verify_images=True)]
    assert not any(unchecked)
    assert [(name, "sha256" in reason) for skipped in checked for name, reason in skipped] == [
        ("toy/train/00002", True)
    ]


def test_a_length_table_of_another_tokenizer_stops_the_run(shards, processor, tmp_path):
    selection = select([shards], ["train"])
    stream = make_stream(selection, processor, tmp_path)
    wrong = replace(stream.lengths, tokens=stream.lengths.tokens + 1)
    dataset = PackDataset(selection, wrong, processor, 640)
    messages = set()
    for workers in (0, 1):
        loader = pack_loader(dataset, PackSampler(stream, stream.start(), 1, 1), workers)
        with pytest.raises(RunFailure, match=r"^toy/train/\d+: a dialogue has .* start again\.$") as caught:
            next(plain_failures(iter(loader)))
        messages.add(str(caught.value))
        assert multiprocessing.active_children() == []
    assert len(messages) == 1


def test_workers_end_with_an_iteration_that_is_left(shards, processor, tmp_path):
    selection = select([shards], ["train"])
    stream = make_stream(selection, processor, tmp_path)
    dataset = PackDataset(selection, stream.lengths, processor, 640)
    packs = plain_failures(iter(pack_loader(dataset, PackSampler(stream, stream.start(), 8, 1), 2)))
    next(packs)
    assert len(multiprocessing.active_children()) == 2
    packs.close()
    assert multiprocessing.active_children() == []


def test_the_length_table_is_read_back_and_depends_on_the_tokenizer(shards, processor, tmp_path, monkeypatch):
    selection = select([shards], ["train"])
    digest = tokenizer_digest(processor)
    first = length_table(selection, processor, digest, tmp_path)
    (path,) = tmp_path.glob("*.safetensors")
    monkeypatch.setattr(EarthGPTProcessor, "encode_dialogue", lambda self, turns: ([0], [True]))
    again = length_table(selection, processor, digest, tmp_path)
    assert np.array_equal(first.tokens, again.tokens) and np.array_equal(first.targets, again.targets)
    assert tokenizer_digest(processor) != digest
    assert length_table(selection, processor, tokenizer_digest(processor), tmp_path).tokens.max() == 1
    path.write_bytes(path.read_bytes()[:40])
    assert length_table(selection, processor, digest, tmp_path).tokens.max() == 1


def test_the_ceiling_needs_both_count_and_share():
    check_skipped(samples=1000, skipped=10, max_samples=10, max_share=0.0)
    check_skipped(samples=10_000, skipped=50, max_samples=10, max_share=0.005)
    with pytest.raises(RunFailure, match=r"11 of 1000"):
        check_skipped(samples=1000, skipped=11, max_samples=10, max_share=0.01)


def test_selection_by_source_and_refusals(shards, processor, tmp_path):
    other = make_shard_folder(tmp_path / "other", 5, 1, source="second")
    both = select([shards, other], ["train"])
    assert len(both) == 29 and both.sources == ("second", "toy")
    assert select([shards, other], ["train"], sources=("second",)).sources == ("second",)
    assert np.diff(both.shard_run).max() == 1
    assert both.record(28).id == both.sample_id(28) == "second/train/00004"
    with pytest.raises(UserError, match=r"same data set"):
        select([shards, shards], ["train"])
    with pytest.raises(UserError, match=r"third"):
        select([shards, other], ["train"], sources=("third",))
    with pytest.raises(UserError, match=r"no split 'val'"):
        select([shards], ["val"])
    with pytest.raises(UserError, match=r"detection-obb"):
        select([shards], ["train"], tasks=("detection-obb",))
    next(other.glob("second/*.tar")).unlink()
    with pytest.raises(UserError, match=r"is missing"):
        select([other], ["train"])


def test_the_summary_counts_and_names_what_is_left_out(shards, processor, tmp_path):
    selection = select([shards], ["train"])
    stream = make_stream(selection, processor, tmp_path, tokens_per_pack=64)
    summary = summarise(stream.plan(0), stream.lengths, stream.settings, selection)
    assert summary["dialogues"] + len(summary["excluded"]) == len(stream.lengths)
    assert summary["excluded"] and all(item["tokens"] > 64 for item in summary["excluded"])
    assert sum(summary["dialogues_per_task"].values()) == summary["dialogues"]
    lines = "\n".join(plan_lines(summary, stream.settings, 5, 2))
    assert summary["excluded"][0]["sample"] in lines and "left out" in lines
    assert len(list(islice(stream.walk(stream.start()), summary["packs"]))) == summary["packs"]


def test_detections_are_told_from_left_to_right_however_the_image_is_turned(processor, tmp_path, monkeypatch):
    original, boxes = (
        shard_folder.make_record,
        "[0.500,0.100,0.600,0.200;0.100,0.300,0.200,0.900;0.300,0.000,0.400,0.100]",
    )

    def with_boxes(*arguments):
        turns = (Turn(sender="human", value="Find all."), Turn(sender="gpt", value=f"There are {boxes}."))
        return original(*arguments).model_copy(update={"dialogues": (Dialogue(task="detection-hbb", turns=turns),)})

    monkeypatch.setattr(shard_folder, "make_record", with_boxes)
    selection = select([make_shard_folder(tmp_path / "data", 8, 1)])
    stream = make_stream(selection, processor, tmp_path, tokens_per_pack=1000)

    def told(**options):
        packs = read(selection, processor, stream, **options)
        texts = [processor.tokenizer.decode(pack.target_ids_T[pack.target_units_T == unit])
                 for pack in packs for unit in range(len(pack.sample_ids))]  # fmt: skip
        return [re.findall(r"0\.\d{3},0\.\d{3},0\.\d{3},0\.\d{3}", text) for text in texts]

    assert told() == [boxes[1:-1].split(";")] * 8
    assert told(box_order="left-to-right") == [sorted(boxes[1:-1].split(";"))] * 8
    turning = {"augment": AugmentConfig(dihedral=True)}
    turned, in_order = told(**turning), told(**turning, box_order="left-to-right")
    assert [sorted(each) for each in turned] == in_order
    assert turned != in_order and len({*map(tuple, in_order)}) > 2
