"""Tars of others: streamed through the webdataset library, packed as they come, endless for every reader."""

from __future__ import annotations

import io
import json
import tarfile
from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

from mmrs.errors import RunFailure, UserError
from tests.training.micro import make_config
from tests.training.shard_folder import make_shard_folder
from training.data.dialogue_parsing import parse_texts, pictures_of
from training.data.planning.pointer import Position
from training.data.webdataset import NOTICE, WebdatasetPacks, open_webdataset
from training.model import EarthGPTForConditionalGeneration, EarthGPTProcessor
from training.report.monitor import read_metrics
from training.report.plan_preview import preview
from training.run.train import train
from training.step.objective.loss import target_losses
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


@pytest.mark.nightly
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


@pytest.mark.nightly
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
        parse_texts(sample)


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


CHAT = [
    {"role": "system", "content": "You are kind."},
    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "How many ships?"}]},
    {"role": "assistant", "content": "Two."},
]
LLAVA = [
    {"from": "human", "value": "Look at <image> and count.\n<image>"},
    {"from": "gpt", "value": "Two."},
    {"from": "human", "value": "And cars in <image>?"},
    {"from": "gpt", "value": "None."},
]
IMG2DATASET = {"url": "https://example.org/0.jpg", "caption": "a field", "status": "success", "width": 64, "exif": "{}"}


def as_json(content) -> bytes:
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    ("texts", "answers"),
    [
        ({"json": as_json({"conversations": LLAVA})}, [["Two.", "None."]]),
        ({"json": as_json(LLAVA)}, [["Two.", "None."]]),
        ({"json": as_json({"messages": CHAT})}, [["Two."]]),
        ({"json": as_json({"conversations": LLAVA, "caption": "a field"}), "txt": b"a port"}, [["Two.", "None."]]),
        ({"json": as_json(IMG2DATASET), "txt": b" a field \n"}, [["a field"]]),
        ({"json": as_json(IMG2DATASET)}, [["a field"]]),
        ({"json": as_json(IMG2DATASET), "txt": b" "}, [["a field"]]),
        ({"json": as_json({"id": 3}), "txt": "\ufeffein Feld".encode()}, [["ein Feld"]]),
        ({"json": as_json({"caption": ["a field", "a meadow"]})}, [["a field"], ["a meadow"]]),
        ({"cls": b"1\n"}, [["harbor"]]),
        ({"cls": b"sea ice"}, [["sea ice"]]),
        ({"cls": b"7", "json": as_json({"class_name": "dam"})}, [["dam"]]),
        ({"cls": b"0", "txt": b"a field"}, [["a field"], ["airport"]]),
    ],
)
def test_what_a_text_member_is_its_content_says(texts, answers):
    parsed = parse_texts(texts, ("airport", "harbor"))
    assert [[text for role, text in turns if role == "gpt"] for turns in parsed.dialogues] == answers
    assert parsed.left_out == ()


def test_marks_are_taken_off_as_the_builder_does():
    from converters.formats.llava import parse_llava

    (image,) = parse_llava(as_json([{"id": 0, "image": "a.jpg", "conversations": LLAVA}]), "x.json").images
    (turns,) = parse_texts({"json": as_json({"conversations": LLAVA})}).dialogues
    assert [text for _, text in turns] == [text for exchange in image.conversations[0] for text in exchange]
    assert turns[0][1] == "Look at and count."


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        ({"txt": b" \n"}, "an empty caption"),
        ({"json": as_json({"conversations": [LLAVA[0], {"from": "gpt", "value": " "}]})}, "a turn without text"),
        ({"cls": b"3"}, "class 3 has no name: --set data.webdataset_classes=FILE"),
        ({"cls": b"-1"}, "class -1 has no name"),
        ({"json": as_json({"url": "x", "width": 3})}, "no dialogue, caption or class in json"),
    ],
)
def test_a_sample_without_a_usable_text_says_why(texts, reason):
    with pytest.raises(ValueError, match=reason):
        parse_texts(texts, ("airport",))


def test_an_empty_answer_beside_others_is_left_out_and_said():
    content = {"dialogues": [{"turns": LLAVA}, {"turns": [LLAVA[0], {"from": "gpt", "value": ""}]}]}
    parsed = parse_texts({"json": as_json(content), "cls": b"9"})
    assert len(parsed.dialogues) == 1
    assert parsed.left_out[0] == "a turn without text" and parsed.left_out[1].startswith("class 9 has no name")


@pytest.mark.parametrize(
    ("members", "found"),
    [
        (["jpg", "json"], {"k": "jpg"}),
        (["jpg", "json", "npy", "pyd", "pickle"], {"k": "jpg"}),
        (["webp", "txt"], {"k": "webp"}),
        (["jpg", "seg.png", "json"], {"k": "jpg"}),
        (["rgb.jpg", "json"], {"k.rgb": "rgb.jpg"}),
        (["jpg", "caption.txt"], {"k": "jpg"}),
        (["25.jpg", "25.txt", "5.jpg", "5.txt"], {"k.25": "25.jpg", "k.5": "5.jpg"}),
    ],
)
def test_a_picture_goes_with_the_text_of_its_name(members, found):
    sample = {"__key__": "k", "__url__": "a.tar"} | {member: member.encode() for member in members}
    assert {picture.name: picture.images[0].decode() for picture in pictures_of(sample)} == found


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        (["json"], "no image among json"),
        (["npy", "json"], "no image among json, npy"),
        (["jpg"], "no json, txt or cls member among jpg"),
        (["jpg", "png", "json"], "jpg, png of one name"),
        (["before.jpg", "after.jpg", "json"], "which image a text is about is not said"),
    ],
)
def test_what_belongs_together_is_never_guessed(members, reason):
    with pytest.raises(ValueError, match=reason):
        list(pictures_of({"__key__": "k"} | {member: b"" for member in members}))


def write_samples(path, samples):
    with tarfile.open(path, "w") as tar:
        for name, data in samples:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return str(path)


def saved(pixels, kind, **options) -> bytes:
    buffer = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def foreign_pictures():
    rng = np.random.default_rng(18)
    colours = np.asarray(Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((64, 48)))
    deep = rng.integers(0, 4000, (48, 64), dtype=np.uint16)
    turned = Image.Exif()
    turned[0x0112] = 6
    rgb = Image.fromarray(colours)
    return {
        "jpg": saved(rgb, "JPEG"),
        "JPG": saved(rgb, "JPEG", exif=turned),
        "png": saved(deep, "PNG"),
        "bmp": saved(rgb, "BMP"),
        "gif": saved(rgb.convert("P"), "GIF", save_all=True, append_images=[rgb.rotate(180).convert("P")]),
        "webp": saved(rgb, "WEBP", lossless=True),
        "tif": saved(deep, "TIFF"),
        "tiff": saved(rgb.convert("CMYK"), "TIFF"),
        "jpeg": saved(rgb.convert("CMYK"), "JPEG"),
        "PNG": saved(rgb.convert("RGBA"), "PNG"),
    }


def test_pictures_look_as_the_builder_stores_them(tmp_path, model_folder, processor):
    from mmrs.imaging.probe import probe
    from mmrs.imaging.store import store_file
    from training.model import pad_and_resize

    pictures = foreign_pictures()
    samples = [
        member
        for number, (suffix, data) in enumerate(pictures.items())
        for member in ((f"a/b/{number}.{suffix}", data), (f"a/b/{number}.txt", b"a field"))
    ]
    url = write_samples(tmp_path / "a.tar", samples)
    config = config_of(tmp_path, url, model_folder)
    seen = {}
    for pack in packs_of(config, processor, 12):
        assert pack.skipped == ()
        for name, pixels_CHW in zip(pack.sample_ids, pack.pixel_values_NCHW, strict=True):
            seen[int(name.rpartition("/")[2])] = pixels_CHW.numpy()
    assert sorted(seen) == list(range(len(pictures)))
    for number, (suffix, data) in enumerate(pictures.items()):
        path = tmp_path / f"{number}.{suffix}"
        path.write_bytes(data)
        stored = store_file(path, probe(path), "jpg" if suffix == "jpg" else "png", "optical", "L1")
        with Image.open(io.BytesIO(stored.data)) as image:
            expected = pad_and_resize(image, processor.image_processor.image_size)
        np.testing.assert_array_equal(seen[number], expected, err_msg=suffix)


def test_without_rasterio_what_needs_it_is_skipped_with_the_reason(tmp_path, model_folder, processor, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "rasterio", None)
    deep = saved(np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) * 9, "PNG")
    samples = [("0.png", deep), ("0.txt", b"deep"), ("1.jpg", jpeg(1)), ("1.txt", b"plain")]
    packs = packs_of(config_of(tmp_path, write_samples(tmp_path / "a.tar", samples), model_folder), processor, 2)
    assert set(names(packs)) == {1}
    assert dict(pair for pack in packs for pair in pack.skipped)["webdataset/0"].endswith(
        "a PNG of this kind needs rasterio: pip install rasterio"
    )


def test_labels_take_their_names_from_the_list_beside_the_tars(tmp_path, model_folder, processor):
    samples = [member for n in range(3) for member in ((f"{n}.jpg", jpeg(n)), (f"{n}.cls", str(n).encode()))]
    url = write_samples(tmp_path / "a.tar", samples)
    with pytest.raises(RunFailure, match=r"class \d has no name: --set data.webdataset_classes=FILE"):
        packs_of(config_of(tmp_path, url, model_folder), processor, 1)
    (tmp_path / "classes.txt").write_text("airport\nharbor\n")
    packs = packs_of(config_of(tmp_path, url, model_folder), processor, 2)
    assert set(names(packs)) == {0, 1}
    assert any("class 2 has no name" in reason for pack in packs for _, reason in pack.skipped)
    (tmp_path / "other.json").write_text('["a", "b", "c"]')
    given = config_of(tmp_path, url, model_folder, data={"webdataset_classes": tmp_path / "other.json"})
    assert set(names(packs_of(given, processor, 2))) == {0, 1, 2}
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(UserError, match="is no list of names; write one name a line"):
        packs_of(given, processor, 1)


def write_laion(folder, first, shards=2, samples=10):
    """Tars as img2dataset writes them: picture, caption, and facts with the caption again; now and then one failed."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        with tarfile.open(folder / f"{shard:05d}.tar", "w") as tar:
            for number in range(first + shard * samples, first + (shard + 1) * samples):
                caption = f"a field of number {number}"
                facts = {"caption": caption, "url": "https://a.b/c.jpg", "key": f"{number:09d}", "status": "success",
                         "error_message": None, "width": 60, "height": 40, "original_width": 60, "original_height": 40,
                         "exif": "{}", "sha256": "0" * 64}  # fmt: skip
                members = {"jpg": jpeg(number), "txt": caption.encode(), "json": json.dumps(facts).encode()}
                if number % 7 == 3:
                    members |= {"txt": b"", "json": json.dumps(facts | {"caption": None}).encode()}
                for suffix, data in members.items():
                    info = tarfile.TarInfo(f"{number:09d}.{suffix}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    return str(folder / f"{{00000..{shards - 1:05d}}}.tar")


def test_stage_a_learns_from_laion_tars_with_a_held_out_loss(tmp_path, model_folder, monkeypatch):
    monkeypatch.setattr("training.run.train.plot_run", lambda out, image: None)
    trained, kept = write_laion(tmp_path / "laion", 0), write_laion(tmp_path / "kept", 500, shards=1)
    stage = {"trainable": [{"set": name, "learning_rate": 5e-3} for name in ("projector", "attention", "norms")]}
    changes = {
        "stage": stage,
        "data": {"max_skipped_share": 0.5, "max_skipped_samples": 50},
        "held_out": {"webdataset": kept, "every_steps": 2, "packs": 3},
        "checkpoint": {"every_steps": 2, "keep_best": 1},
    }
    result = train(config_of(tmp_path, trained, model_folder, **changes))
    lines = read_metrics(result.out / "held-out.jsonl")
    assert [line["step"] for line in lines] == [2, 4] and lines[1]["loss"] < lines[0]["loss"]
    # Eight of ten captions are whole, and each is looked at once.
    words = sum(len(f" a field of number {number}") for number in range(500, 510) if number % 7 != 3)
    assert 8 < lines[0]["target_tokens"] <= words + 8 and lines[0]["target_tokens"] == lines[1]["target_tokens"]
    with pytest.raises(UserError, match=r"held_out\.webdataset: the run trains on .*00000\.tar too"):
        train(config_of(tmp_path / "same", trained, model_folder, **(changes | {"held_out": {"webdataset": trained}})))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"held_out": {"split": "val"}}, "tars of its own"),
        ({"held_out": {"webdataset": "a.tar", "answers": 2}}, "held_out.answers needs questions"),
        ({"held_out": {"webdataset": "pipe:rm x"}}, "pipe:"),
    ],
)
def test_a_held_out_loss_of_tars_needs_tars(tmp_path, model_folder, changes, words):
    with pytest.raises((UserError, ValueError), match=words):
        config_of(tmp_path, "b.tar", model_folder, **changes)


def write_pairs(folder):
    """Tars of others with all that is not one picture: two compared, in the order of the text, and none."""
    folder.mkdir(parents=True, exist_ok=True)
    said = {}
    with tarfile.open(folder / "pairs.tar", "w") as tar:
        for number in range(9):
            answer = f"Number {number} changed."
            turns = [{"from": "human", "value": "What changed?"}, {"from": "gpt", "value": answer}]
            content, members = {"conversations": turns}, {}
            if number % 3 == 0:
                members = {"before.jpg": jpeg(2 * number), "after.jpg": jpeg(2 * number + 1)}
                content["images"] = ["after", "before.jpg"] if number else ["before.jpg", "after.jpg"]
            elif number % 3 == 1:
                members = {"jpg": jpeg(2 * number)}
            said[f"{number:04d}"] = answer, len(members)
            for suffix, data in {**members, "json": json.dumps(content).encode()}.items():
                info = tarfile.TarInfo(f"{number:04d}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return str(folder / "pairs.tar"), said


def test_units_of_two_images_and_of_none_are_packed_as_they_are_alone(tmp_path, model_folder, processor):
    """Tokens, images in their order, and the loss of each dialogue: packed, in rows, and one after the other."""
    urls, said = write_pairs(tmp_path / "tars")
    config = config_of(tmp_path, urls, model_folder, tokens_per_pack=256, tokens_per_step=256)
    packs = list(WebdatasetPacks(open_webdataset(config, processor, 256)).one_pass())
    model = EarthGPTForConditionalGeneration.from_pretrained(model_folder).eval()
    prefix, seen = processor.encode_prefix(True), set()
    for pack in packs:
        with torch.no_grad():
            losses = [target_losses(model, pack, in_rows) for in_rows in (False, True)]
        torch.testing.assert_close(losses[0], losses[1], rtol=1e-4, atol=1e-5)
        first = 0
        for unit, sample_id in enumerate(pack.sample_ids):
            answer, images = said[sample_id.rpartition("/")[2]]
            seen.add(sample_id)
            number = int(sample_id.rpartition("/")[2])
            pixels = pack.pixel_values_NCHW[first : first + images]
            first += images
            levels = [round(float(picture[:, 16, 16].float().mean())) for picture in pixels]
            order = [2 * number, 2 * number + 1] if number in (0, 1) else [2 * number + 1, 2 * number]
            wanted = [value * 7 % 256 for value in (order if images == 2 else [2 * number])][:images]
            assert np.allclose(levels, wanted, atol=3)
            ids, is_target = processor.encode_dialogue([("human", "What changed?"), ("gpt", answer)])
            row = [*prefix[: -processor.image_slots], *prefix[-processor.image_slots :] * images, *ids]
            labels = torch.tensor(
                [[-100] * (len(row) - len(ids)) + [i if t else -100 for i, t in zip(ids, is_target, strict=True)]]
            )
            with torch.no_grad():
                alone = model(torch.tensor([row]), pixel_values=pixels if images else None, labels=labels).loss
            torch.testing.assert_close(losses[0][pack.target_units_T == unit].mean(), alone, rtol=1e-4, atol=1e-5)
        assert first == len(pack.pixel_values_NCHW)
    assert len(seen) == 9


def test_a_run_learns_from_pairs_and_text_alone(tmp_path, model_folder, monkeypatch):
    monkeypatch.setattr("training.run.train.plot_run", lambda out, image: None)
    urls, _ = write_pairs(tmp_path / "tars")
    config = config_of(tmp_path, urls, model_folder, tokens_per_pack=256, tokens_per_step=512)
    losses = [line["loss"] for line in read_metrics(train(config).metrics)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"conversations": [], "images": ["after", "lost"]}, "images names lost; the sample has"),
        ({"conversations": [], "images": []}, "images names none"),
        ({"conversations": [{"from": "human", "value": "<image> What?"}]}, "no image among"),
        ({"caption": "a field"}, "no image among"),
    ],
)
def test_a_lost_picture_is_no_text_alone(content, words):
    members = {"before.jpg": b"", "after.jpg": b""} if "images" in content else {}
    with pytest.raises(ValueError, match=words):
        list(pictures_of({"__key__": "k", "json": json.dumps(content).encode()} | members))
