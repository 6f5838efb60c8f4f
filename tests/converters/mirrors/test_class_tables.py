"""Class-folder sources in Parquet tables: the same scenes, labels and names as in folders."""

import contextlib
import shutil
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import cli
import converters
from converters.mirrors.columns import read_image_table, read_labelled_rows
from mmrs.errors import BadItem, UserError
from mmrs.imaging.row_images import read_row_images
from mmrs.shards.manifest import load_manifest
from mmrs.shards.reader import ShardSet
from mmrs.source import RowImage
from tests.support.hints import commands_in, words_of
from tests.support.tables import write_table

CLASSES = tuple(converters.facts("eurosat").classes)
SPLITS = ("train", "val", "test")


def test_the_same_scenes_as_in_folders(fake):
    folders = fake("eurosat")
    read = converters.get("eurosat", given_splits=False)
    expected = {
        item.stem: (item.payload, item.file.read_bytes(), split)
        for split in ("train", "test")
        for item in read.discover(folders, split).items
    }
    shutil.rmtree(folders)
    root = fake("eurosat", layout="hugging-face")
    seeded = {split: read.discover(root, split).items for split in ("train", "test")}
    contents = dict(read_row_images([item.image for items in seeded.values() for item in items]))
    found = {
        item.stem: (item.payload, contents[item.image], split) for split, items in seeded.items() for item in items
    }
    assert found == expected and len(found) == 50

    named = converters.get("eurosat")
    assert tuple(named.splits_in(root)) == SPLITS
    parts = {split: named.discover(root, split) for split in SPLITS}
    assert {split: len(part.items) for split, part in parts.items()} == {"train": 20, "val": 20, "test": 10}
    assert {item.stem for part in parts.values() for item in part.items} == expected.keys()
    known = named.read(parts["val"].items[0])
    assert known.provenance.annotation == "data/validation-00000-of-00001.parquet"
    assert known.source_label in CLASSES and known.provenance.original_id == parts["val"].items[0].image.name
    assert all(part.problems == part.shared_problems == () for part in parts.values())
    assert any("split was taken from the table" in note for note in parts["val"].notes)


def test_a_mirror_is_scanned_built_and_built_again(fake, tmp_path):
    root = fake("eurosat", images_per_class=3, layout="hugging-face")
    told = CliRunner().invoke(cli.main, ["scan", "eurosat", str(root)])
    assert told.exit_code == 0 and "not looked at" not in told.output
    (command,) = commands_in(told.output)
    words = [*words_of(command.replace("DIR", str(tmp_path / "out")))[1:], "--workers", "1"]
    assert CliRunner().invoke(cli.main, words).exit_code == 0
    manifest = load_manifest(tmp_path / "out")
    splits = manifest.sources["eurosat"].splits
    assert {split: (part.records, part.reencoded) for split, part in splits.items()} == dict.fromkeys(SPLITS, (10, 0))
    (row, *_) = ShardSet(tmp_path / "out").table("val").to_pylist()
    assert row["label"] in converters.facts("eurosat").categories
    again = CliRunner().invoke(cli.main, words)
    assert again.exit_code == 0 and "(0 written now" in again.output


@pytest.mark.parametrize("where", ["data", "default", "x/data"])
def test_tables_are_found_below_the_root(fake, where):
    root = fake("eurosat", images_per_class=3, layout="hugging-face")
    (root / where).parent.mkdir(exist_ok=True)
    (root / "data").rename(root / where)
    assert len(converters.get("eurosat").discover(root, "test").items) == 10


def test_one_table_that_names_no_split_is_cut_by_the_seeded_rule(tmp_path):
    names = [f"{label}_{number}.jpg" for label in CLASSES for number in range(5)]
    write_table(tmp_path / "all-00000-of-00001.parquet", [b"x"] * 50, names, [n // 5 for n in range(50)], CLASSES)
    converter = converters.get("eurosat")
    found = [converter.discover(tmp_path, split) for split in converter.splits_in(tmp_path)]
    assert [len(part.items) for part in found] == [40, 10] and found[0].notes == ()


def test_a_table_of_train_alone_holds_nothing_out_and_says_so(tmp_path):
    write_table(tmp_path / "train.parquet", [b"x"], ["River_1.jpg"], [0], ["River"])
    converter = converters.get("eurosat")
    assert tuple(converter.splits_in(tmp_path)) == ("train",)
    assert any("nothing is held out" in note for note in converter.discover(tmp_path, "train").notes)


def test_an_evaluation_set_is_one_split_and_does_without_names(tmp_path):
    classes = tuple(converters.facts("clrs").classes)
    write_table(tmp_path / "data" / "train-00000-of-00001.parquet", [b"x"] * 3, [None] * 3, [0, 0, 1], classes)
    found = converters.get("clrs").discover(tmp_path, "test")
    assert [item.stem for item in found.items] == [
        f"{classes[0]}-train-00000-of-00001-0",
        f"{classes[0]}-train-00000-of-00001-1",
        f"{classes[1].replace('_', '').replace('-', '').lower()}-train-00000-of-00001-2",
    ]
    assert any("3 rows have no name of the source" in note for note in found.notes)


@pytest.mark.parametrize(("name", "written"), [("resisc45", None), ("resisc45", "7.jpg"), ("aid", "img_1.jpg")])
def test_lost_names_that_another_source_needs_are_refused(tmp_path, name, written):
    label = next(iter(converters.facts(name).classes))
    write_table(tmp_path / "test.parquet", [b"x"], [written], [0], [label])
    with pytest.raises(UserError, match=r"row 0 has .* none of the source's.*same images.*`mmrs sources"):
        converters.get(name).discover(tmp_path, "test")


def test_rows_that_contradict_themselves_are_named(tmp_path):
    names = ["Forest_1.jpg", "River_1.jpg", "Forest_2.jpg", "River_2.tif", "River_1.png", "Lake_1.jpg"]
    write_table(tmp_path / "train.parquet", [b"x"] * 6, names, [1, 1, 0, 1, 1, 2], ["Forest", "River", "Lake"])
    found = converters.get("eurosat").discover(tmp_path, "train")
    assert [item.stem for item in found.items] == ["Forest_2", "River_1.jpg", "River_1.png"]
    table = tmp_path / "train.parquet"
    assert found.problems == (
        (f"{table}/row 0", "name 'Forest_1.jpg' says another class than its label 'River'"),
        (f"{table}/row 5", "class 'Lake' is unknown"),
    )
    assert any("1 rows are images of another suffix" in note for note in found.notes)


def test_the_tables_of_several_configurations_are_not_mixed(tmp_path):
    for config in ("rgb", "msi"):
        write_table(tmp_path / config / "train" / "0000.parquet", [b"x"], ["River_1.jpg"], [0], ["River"])
    with pytest.raises(UserError, match=r"several folders with tables \(msi, rgb\); name one"):
        converters.get("eurosat").discover(tmp_path, "train")
    assert len(converters.get("eurosat").discover(tmp_path / "rgb", "train").items) == 1


def test_a_pointer_in_the_place_of_a_table_says_what_to_do(tmp_path):
    (tmp_path / "train.parquet").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(UserError, match=r"pointer of Git LFS.*git lfs pull.*`mmrs scan eurosat"):
        converters.get("eurosat").discover(tmp_path, "train")


def test_blocks_are_runs_of_rows_wherever_the_folder_lies(fake, tmp_path):
    root = fake("eurosat", layout="hugging-face")
    blocks = {item.image.block for item in converters.get("eurosat").discover(root, "train").items}
    assert blocks == {"train-00000-of-00001.parquet:0"}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "train.parquet"
    write_table(path, [b"x" * 50] * 12, [f"River_{n}.jpg" for n in range(12)], [0] * 12, ["River"], rows_per_group=5)
    return path


@settings(max_examples=80, deadline=None)
@given(
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6),
    kept=st.floats(0.5, 1),
)
def test_damaged_tables_cost_a_message_never_a_crash(sound, changes, kept):
    content = bytearray(sound.read_bytes())
    for place, value in changes:
        content[int(place * len(content))] = value
    path = sound.parent / "damaged" / "train.parquet"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bytes(content[: int(kept * len(content))] if kept < 0.6 else content))
    with contextlib.suppress(BadItem):
        rows = list(read_labelled_rows(path, read_image_table(path)))
        assert all(row.fault or row.label for row in rows)
    image = RowImage(path, 7, "River_7.jpg", "image.bytes", "b")
    ((_, answer),) = read_row_images([image])
    assert isinstance(answer, bytes | BadItem)


def test_names_of_columns_that_are_no_text_cost_the_images(sound, tmp_path):
    path = tmp_path / "train.parquet"
    path.write_bytes(sound.read_bytes().replace(b"bytes", b"by\x80es"))
    ((_, answer),) = read_row_images([RowImage(path, 7, "River_7.jpg", "image.bytes", "b")])
    assert isinstance(answer, BadItem)


def test_every_row_of_a_damaged_table_is_answered(sound, tmp_path):
    names = [item.image for item in converters.get("eurosat").discover(sound.parent, "train").items]
    path = shutil.copy(sound, tmp_path / "train.parquet")
    start = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    content = bytearray(path.read_bytes())
    content[start : start + 60] = bytes(60)
    path.write_bytes(bytes(content))
    answers = list(read_row_images([replace(image, file=path) for image in names]))
    assert len(answers) == 12 and any(isinstance(content, BadItem) for _, content in answers)


@pytest.mark.parametrize("name", ["ucmerced", "rsscn7"])
def test_tables_are_stored_as_folders_are(fake, tmp_path, name):
    classes = list(converters.facts(name).classes)[:2]
    stored = []
    for layout in ("official", "hugging-face"):
        root = fake(name, images_per_class=3, classes=classes, layout=layout)
        words = ["build", name, "--root", f"{name}={root}", "--out", str(tmp_path / layout), "--workers", "1"]
        assert CliRunner().invoke(cli.main, [*words, "--option", "given_splits=false"]).exit_code == 0
        shards = ShardSet(tmp_path / layout)
        rows = [row for split in ("train", "test") for row in shards.table(split).to_pylist()]
        stored.append({row["id"]: (row["sha256"], row["reencoded"], row["label"]) for row in rows})
        shutil.rmtree(root)
    assert stored[0] == stored[1] and len(stored[0]) == 6


def test_of_several_names_the_one_that_says_the_class_is_the_source_s(tmp_path):
    label = next(iter(converters.facts("resisc45").classes))
    named = {"image_id": [f"{label}_007", f"{label}_008"]}
    write_table(tmp_path / "test.parquet", [b"x"] * 2, ["0.jpg", None], [0, 0], [label], **named)
    assert [item.stem for item in converters.get("resisc45").discover(tmp_path, "test").items] == named["image_id"]
