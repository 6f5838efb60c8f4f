"""Tars of others: streamed through the webdataset library, packed as they come, endless for every reader."""

from __future__ import annotations

import io
import json
import tarfile
from itertools import islice

import numpy as np
import pytest
from PIL import Image

from mmrs.errors import RunFailure, UserError
from tests.training.micro import make_config
from tests.training.shard_folder import make_shard_folder
from training.data.dialogue_parsing import dialogues_of
from training.data.planning.pointer import Position
from training.data.webdataset import NOTICE, open_webdataset
from training.model import EarthGPTProcessor
from training.report.monitor import read_metrics
from training.report.plan_preview import preview
from training.run.train import train
from training.step.ranks import Ranks

pytest.importorskip("webdataset")


def jpeg(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((40, 60, 3), number * 7 % 256, np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def llava(number: int) -> bytes:
    turns = [("human", f"<image>\nWhat is in image {number}?"), ("gpt", "A field."), ("human", "And?"), ("gpt", "No.")]
    return json.dumps({"id": number, "conversations": [{"from": role, "value": text} for role, text in turns]}).encode()


def write_tars(folder, shards=4, samples=12, text="json", broken=()):
    """`samples` of each shard; those numbered in `broken` have a cut image."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        with tarfile.open(folder / f"part-{shard:02d}.tar", "w") as tar:
            for number in range(shard * samples, (shard + 1) * samples):
                image = jpeg(number)[:150] if number in broken else jpeg(number)
                words = llava(number) if text == "json" else f" a field of number {number} \n".encode()
                for suffix, data in (("jpg", image), (text, words)):
                    info = tarfile.TarInfo(f"{number:04d}.{suffix}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    return str(folder / f"part-{{00..{shards - 1:02d}}}.tar")


@pytest.fixture(scope="module")
def processor(model_folder):
    return EarthGPTProcessor.from_pretrained(model_folder)


def config_of(tmp_path, urls, model_folder, **changes):
    data = {"folders": [], "webdataset": urls, "webdataset_shuffle": 8} | changes.pop("data", {})
    return make_config(tmp_path / "out", tmp_path, model_folder, data=data, max_steps=4, **changes)


def packs_of(config, processor, count, pointer=None, rank=0, world_size=1):
    stream = open_webdataset(config, processor, 256)
    loader = stream.loader(Position(0, pointer or stream.start()), Ranks(rank, world_size))
    return list(islice(loader, count))


def names(packs):
    return [int(sample_id.partition("/")[2]) for pack in packs for sample_id in pack.sample_ids]


@pytest.mark.parametrize("text", ["json", "txt"])
def test_samples_become_packs(tmp_path, model_folder, processor, text):
    config = config_of(tmp_path, write_tars(tmp_path / "tars", text=text), model_folder)
    for pack in packs_of(config, processor, 20):
        assert pack.input_ids_L.shape == (320,) and len(pack.pixel_values_NCHW) == len(pack.sample_ids) > 0
        answers = processor.tokenizer.decode(pack.target_ids_T).replace("</s>", "").replace("<s>", "")
        if text == "txt":
            assert all(f"a field of number {number}" in answers for number in names([pack]))
        else:
            assert answers.count("A field.") == len(pack.sample_ids)
            slots = "<image>" * processor.image_slots
            assert "<image>" not in processor.tokenizer.decode(pack.input_ids_L[: pack.real_tokens]).replace(slots, "")
        grey = pack.pixel_values_NCHW[:, 0, 16, 16].tolist()
        assert all(abs(level - number * 7 % 256) <= 2 for level, number in zip(grey, names([pack]), strict=True))


@pytest.mark.parametrize(("world_size", "workers"), [(1, 0), (2, 1), (2, 2)])
def test_readers_share_the_shards_and_pass_over_them_without_end(
    tmp_path, model_folder, processor, world_size, workers
):
    config = config_of(tmp_path, write_tars(tmp_path / "tars"), model_folder, workers=workers)
    seen = [names(packs_of(config, processor, 60, rank=rank, world_size=world_size)) for rank in range(world_size)]
    assert set().union(*seen) == set(range(48))
    assert sum(len(set(part)) for part in seen) == 48
    for part in seen:
        counts = [part.count(number) for number in set(part)]
        # Up to 16 packs and a shuffle buffer of 8 are on their way, more than twice all samples.
        assert max(counts) - min(counts) <= 4


def test_equal_seeds_give_equal_streams_and_a_resumed_one_differs(tmp_path, model_folder, processor):
    config = config_of(tmp_path, write_tars(tmp_path / "tars"), model_folder)
    first, again = (names(packs_of(config, processor, 10)) for _ in range(2))
    stream = open_webdataset(config, processor, 256)
    pointer = stream.advance(stream.start(), 10, samples=40, skipped=1)
    assert (pointer.next_pack, pointer.samples, pointer.skipped) == (10, 40, 1)
    assert first == again != names(packs_of(config, processor, 10, pointer))
    assert first[:12] != sorted(first[:12])
    other = open_webdataset(
        config.model_copy(update={"data": config.data.model_copy(update={"seed": 1})}), processor, 256
    )
    with pytest.raises(UserError, match=r"seed 0, this run has 1"):
        other.check(pointer)


def test_broken_samples_and_shards_are_named_and_counted(tmp_path, model_folder, processor):
    pattern = write_tars(tmp_path / "tars", broken=(3, 17))
    (tmp_path / "tars" / "part-02.tar").write_bytes(b"no tar at all" * 1000)
    packs = packs_of(config_of(tmp_path, pattern, model_folder), processor, 12)
    skipped = {name: reason for pack in packs for name, reason in pack.skipped}
    assert {"webdataset/0003", "webdataset/0017"} <= set(skipped)
    assert any("part-02.tar" in name for name in skipped)
    assert {3, 17}.isdisjoint(names(packs)) and set(names(packs)) <= {*range(24), *range(36, 48)}


def test_a_run_on_foreign_tars_and_its_resume(tmp_path, model_folder, capsys):
    pattern = write_tars(tmp_path / "tars", broken=(3,))
    config = config_of(tmp_path, pattern, model_folder, schedule={"total_steps": 6}, workers=1)
    result = train(config)
    assert NOTICE in capsys.readouterr().err and result.steps == 4
    known = json.loads((result.out / "plan.json").read_text())
    assert (known["shards"], known["steps"], known["stream"]["next_pack"]) == (4, 4, 0)
    longer = train(config.model_copy(update={"max_steps": 6}))
    assert longer.resumed_from == 4 and longer.steps == 6
    lines = read_metrics(result.metrics)
    assert lines[-1]["samples"] > lines[0]["samples"] > 0 and set(lines[0]["task_loss"]) == {"webdataset"}


def test_our_own_shards_are_webdatasets_too(tmp_path, model_folder, processor):
    shards = make_shard_folder(tmp_path / "shards")
    urls = [str(path) for path in sorted(shards.glob("toy/*.tar"))]
    packs = packs_of(config_of(tmp_path, urls, model_folder), processor, 4)
    assert {len(pack.skipped) for pack in packs} == {0} and packs[0].targets > 0


@pytest.mark.parametrize(
    "sample",
    [
        {}, {"json": b"[]"}, {"json": b"{}"}, {"json": b"{"}, {"json": b'{"conversations": []}'},
        {"json": b'{"conversations": [{"from": "human", "value": "x"}]}'}, {"json": b'{"dialogues": []}'},
        {"json": b'{"conversations": [{"from": "cat", "value": "x"}, {"from": "gpt", "value": "y"}]}'},
        {"json": b'{"conversations": [{"from": "human", "value": 1}, {"from": "gpt", "value": "y"}]}'},
        {"txt": b"\xff"},
    ],
)  # fmt: skip
def test_text_in_another_form_is_refused(sample):
    with pytest.raises((ValueError, KeyError, TypeError)):
        dialogues_of(sample)


def test_what_cannot_work_is_refused(tmp_path, model_folder, processor):
    pattern = write_tars(tmp_path / "tars")
    with pytest.raises(UserError, match=r"4 shards for 6 readers"):
        packs_of(config_of(tmp_path, pattern, model_folder, workers=3), processor, 1, world_size=2)
    for url in (
        "pipe:ls",
        "pipe:cat /etc/passwd",
        "http://x/'; rm -r y;'",
        "http://x/a b",
        "-O/tmp/x",
        "http://x/$HOME",
    ):
        with pytest.raises(UserError, match=r"is refused"):
            open_webdataset(config_of(tmp_path, url, model_folder), processor, 256)
    with pytest.raises(RunFailure, match=r"no usable sample in .*none.tar on.*No such file"):
        packs_of(config_of(tmp_path, str(tmp_path / "none.tar"), model_folder), processor, 1)
    with pytest.raises(UserError, match=r"without a plan"):
        preview(config_of(tmp_path, pattern, model_folder))
    for changes, message in [
        ({"data": {"mixture": [{"task": "vqa", "epochs": 1}]}}, "data.mixture needs the index"),
        ({"data": {"folders": "shards"}}, "exactly one of data.folders"),
        ({"model": {"path": None, "preset": "tiny"}}, "needs max_steps and model.path"),
    ]:
        with pytest.raises(ValueError, match=message):
            config_of(tmp_path, pattern, model_folder, **changes)
