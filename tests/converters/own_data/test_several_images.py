"""A user's pairs (before and after, optical and SAR) from LLaVA JSON, CSV and Parquet to verified shards."""

import csv
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner

from cli import main
from mmrs.shards.reader import ShardSet
from tests.support.pairs import COLOURS, plain_picture

GENERATOR = np.random.default_rng(3)
QUESTION = "Did the colour change?"


@pytest.fixture
def folder(tmp_path):
    """Six pairs in ``A/`` and ``B/``; those of even number change."""
    for number in range(6):
        first = list(COLOURS)[number % 4]
        second = first if number % 2 else list(COLOURS)[(number + 1) % 4]
        for part, colour in (("A", first), ("B", second)):
            (tmp_path / part).mkdir(exist_ok=True)
            (tmp_path / part / f"{number}.png").write_bytes(plain_picture(GENERATOR, colour, "png"))
    return tmp_path


def names(number):
    return [f"A/{number}.png", f"B/{number}.png"]


def answer(number):
    return "no" if number % 2 else "yes"


def llava_row(number, image=None, marks="<image>\n<image>\n", **more):
    turns = [{"from": "human", "value": f"{marks}{QUESTION}"}, {"from": "gpt", "value": answer(number)}]
    return {"id": str(number), "image": image or names(number), "conversations": turns} | more


def described(folder, **content):
    given = {"name": "changes", "sensor": "optical", "images": ".", "splits": ["train"]} | content
    (folder / "mmrs.yaml").write_text(yaml.safe_dump(given))
    return ["--option", f"description={folder / 'mmrs.yaml'}"]


def run(*words, code=0):
    done = CliRunner().invoke(main, list(map(str, words)))
    assert done.exit_code == code, done.output
    return done.output


def build(folder, options, *more):
    run("build", "generic", "--root", f"generic={folder}", "--out", folder / "out", "--workers", 1, *options, *more)
    assert "ok:" in run("verify", folder / "out")
    shards = ShardSet(folder / "out")
    return {row["id"]: (shards.record(row), shards.images(row)) for row in shards.table("train").to_pylist()}


def check_pairs(folder, built, roles):
    assert len(built) == 6
    for number in range(6):
        record, images = built[f"changes/train/A/{number}"]
        assert list(images) == [(folder / name).read_bytes() for name in names(number)]
        assert [image.role for image in record.images] == roles
        assert [turn.value for turn in record.dialogues[0].turns][-1] == answer(number)
        assert QUESTION in record.dialogues[0].turns[0].value


def write_llava(folder, rows):
    (folder / "pairs.json").write_text(json.dumps(rows))


def test_llava_lists(folder):
    write_llava(folder, [llava_row(number) for number in range(6)])
    options = described(folder, format="llava", annotations="pairs.json")
    told = run("scan", "generic", folder, *options)
    assert "6 samples have 2 images each" in told and "not named" not in told and "not looked at" not in told
    built = build(folder, options)
    check_pairs(folder, built, [None, None])
    assert {dialogue.turns[0].value for record, _ in built.values() for dialogue in record.dialogues} == {QUESTION}


def test_lists_of_images_are_guessed_where_folders_look_like_classes(folder):
    for split in ("train", "test"):
        write_llava(folder, [llava_row(number) for number in range(6)])
        (folder / "pairs.json").rename(folder / f"{split}.json")
        for number in range(6):
            for name in names(number):
                (folder / "images" / split / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / "images" / split / name).write_bytes((folder / name).read_bytes())
    for part in ("A", "B"):
        shutil.rmtree(folder / part)
    assert "format: llava" in run("scan", "generic", folder, "--guess")


def test_a_sequence_says_what_each_image_is(folder):
    write_llava(folder, [llava_row(number) for number in range(6)])
    built = build(folder, described(folder, format="llava", annotations="pairs.json", sequence=["before", "after"]))
    check_pairs(folder, built, ["before", "after"])
    sensors = {"optical": "optical", "sar": "sar"}
    built = build(folder, described(folder, format="llava", annotations="pairs.json", sequence=sensors))
    check_pairs(folder, built, ["optical", "sar"])
    assert {record.further_images[0].sensor for record, _ in built.values()} == {"sar"}
    assert {record.image.sensor for record, _ in built.values()} == {None}


def test_captions_of_pairs(folder):
    write_llava(folder, [llava_row(number, marks="") for number in range(6)])
    own = {"format": "llava", "annotations": "pairs.json", "options": {"task": "captioning"}}
    built = build(folder, described(folder, **own))
    assert [record.captions for record, _ in built.values()] and all(r.captions for r, _ in built.values())


def test_what_cannot_be_told_apart_or_is_not_there_is_named(folder):
    rows = [
        llava_row(0),
        llava_row(1, marks="<image>\n"),
        llava_row(2, image=["A/2.png", "B/none.png"]),
        llava_row(3, image=["A/3.png", "../secret.png"]),
        llava_row(4, image=["A/4.png"] * 17),
        llava_row(5, image=["A/5.png", 7]),
    ]
    write_llava(folder, rows)
    options = described(folder, format="llava", annotations="pairs.json")
    told = run("scan", "generic", folder, *options)
    for reason in (
        "2 images and 1 marks",
        "image B/none.png is named but is not there",
        "leads to another folder",
        "17 images; a sample has at most 16",
        "one file name is expected, or a list",
    ):
        assert reason in told
    assert list(build(folder, options, "--set", "quarantine_ceiling=1")) == ["changes/train/A/0"]


def test_pairs_that_share_an_image_are_samples_of_their_own(folder):
    shared = [llava_row(0), llava_row(0, image=["A/0.png", "B/1.png"]), llava_row(0, image="A/0.png", marks="<image>")]
    write_llava(folder, [*shared, llava_row(2)])
    built = build(folder, described(folder, format="llava", annotations="pairs.json"))
    ids = {f"changes/train/{stem}" for stem in ("A/0", "A/0+B/0", "A/0+B/1", "A/2")}
    assert set(built) == ids and len(built["changes/train/A/0"][1]) == 1


def test_another_number_than_the_sequence_is_left_out(folder):
    write_llava(folder, [llava_row(0), llava_row(1, image="A/1.png", marks="<image>")])
    options = described(folder, format="llava", annotations="pairs.json", sequence=["before", "after"])
    assert "has 1 images; the sequence is before, after" in run("scan", "generic", folder, *options)


def test_columns_of_a_csv_table(folder):
    with (folder / "pairs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["before", "after", "question", "answer"])
        writer.writerows([*names(number), QUESTION, answer(number)] for number in range(6))
        writer.writerow(["A/0.png", "", QUESTION, "yes"])
    columns = {"image": ["before", "after"], "question": "question", "answer": "answer"}
    options = described(folder, format="csv", annotations="pairs.csv", columns=columns)
    assert "the row has no after" in run("scan", "generic", folder, *options)
    check_pairs(folder, build(folder, options, "--set", "quarantine_ceiling=1"), ["before", "after"])


@pytest.mark.parametrize("content", [True, False])
def test_columns_of_a_parquet_table(folder, content):
    cells = {part: [f"{part}/{number}.png" for number in range(6)] for part in ("A", "B")}
    if content:
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        cells = {
            part: pa.array([{"bytes": (folder / name).read_bytes(), "path": name} for name in same], kind)
            for part, same in cells.items()
        }
    texts = {"question": [QUESTION] * 6, "answer": [answer(number) for number in range(6)]}
    pq.write_table(pa.table(cells | texts), folder / "train.parquet")
    columns = {"image": ["A", "B"], "question": "question", "answer": "answer"}
    own = {"format": "parquet", "annotations": "{split}", "columns": columns}
    built = build(folder, described(folder, **own, sequence=["before", "after"]))
    if content:
        built = {name.replace("train/", "train/A/"): value for name, value in built.items()}
    check_pairs(folder, built, ["before", "after"])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"format": "yolo", "annotations": "labels", "classes": ["car"], "sequence": ["a", "b"]}, "one image a sample"),
        ({"format": "llava", "annotations": "x.json", "sequence": ["a"]}, "2 to 16 different names"),
        ({"format": "llava", "annotations": "x.json", "sequence": {"a": "sar", "b": "sar"}}, "the first image"),
        (
            {"format": "csv", "annotations": "x.csv", "columns": {"image": ["a", "b"], "captions": "c"}}
            | {"sequence": ["x", "y", "z"]},
            "names 2 columns",
        ),
        (
            {"format": "csv", "annotations": "x.csv", "classes": ["car"], "options": {"box_order": "xyxy"}}
            | {"columns": {"image": ["a", "b"], "boxes": {"b": ["x"]}, "category": "k"}},
            "boxes are those of the first image",
        ),
    ],
)
def test_descriptions_that_contradict_themselves_are_refused(folder, content, expected):
    options = described(folder, **content)
    assert expected in run("scan", "generic", folder, *options, code=2)


def test_pairs_are_not_cut_into_tiles(folder):
    write_llava(folder, [llava_row(0)])
    own = {"format": "llava", "annotations": "pairs.json", "options": {"tile_size": 16}}
    options = described(folder, **own)
    told = run("build", "generic", "--root", f"generic={folder}", "--out", folder / "out", *options, code=2)
    assert "has 2 images" in told and "tile_size" in told
