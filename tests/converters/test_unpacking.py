"""The ways in which users have a source on disk, on the generated sample of every source: none changes what is read."""

import json
import re
import shlex
import shutil

import pytest
from click.testing import CliRunner

import cli
import converters
from converters.layout import UNPACKING
from converters.scan import scan_source
from mmrs.errors import UserError
from mmrs.imaging.suffixes import SOURCE_SUFFIXES
from mmrs.progress import Progress
from mmrs.source import ARCHIVE_ENDINGS, unpacked_name

SOURCES = [name for name in converters.names() if name != "generic"]
TEXT_SUFFIXES = {".xml", ".txt", ".csv", ".json", ".yaml"}
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_all(name, root):
    """Every split of a source: (annotations by stem, problems without their paths, notes)."""
    source = converters.get(name)
    read, problems, notes = {}, [], []
    for split in source.splits_in(root):
        found = source.discover(root, split)
        read |= {(split, item.stem): source.read(item) for item in found.items}
        problems += [reason for _, reason in (*found.problems, *found.details, *found.shared_problems)]
        notes += found.notes
    return read, problems, notes


def contents(read):
    """Annotations by stem but for what names a file: suffixes and folders are what the tests change."""
    return {key: known.model_dump(exclude={"provenance"}) for key, known in read.items()}


@pytest.mark.parametrize("name", SOURCES)
def test_one_and_two_folders_too_deep_below_chinese_letters_and_blanks(fake, tmp_path, name):
    expected, problems, _ = read_all(name, fake(name))
    outer = tmp_path / "遥感 数据 (1)"
    inner = outer / "Unpacked"
    outer.mkdir()
    (tmp_path / name).rename(inner)
    for words, root in (("one folder", outer), ("two folders", tmp_path)):
        read, found, notes = read_all(name, root)
        assert (contents(read), len(found)) == (contents(expected), len(problems))
        assert any(f"{words} down, in {inner}" in note or str(inner) in note for note in notes), notes


def test_what_a_mac_packs_beside_a_set_is_no_second_set(fake):
    root = fake("whu-rs19")
    expected, _, _ = read_all("whu-rs19", root)
    shutil.copytree(root / "WHU-RS19", root / "__MACOSX" / "WHU-RS19")
    (root / "WHU-RS19").rename(root / "renamed")
    assert contents(read_all("whu-rs19", root)[0]) == contents(expected)


@pytest.mark.parametrize("name", SOURCES)
def test_suffixes_in_any_case_and_junk_files(fake, name):
    root = fake(name)
    expected, problems, _ = read_all(name, root)
    images = [path for path in sorted(root.rglob("*")) if path.suffix.lower() in SOURCE_SUFFIXES]
    for number, path in enumerate(images):
        path.rename(path.with_suffix((path.suffix.upper(), path.suffix.title(), path.suffix)[number % 3]))
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        for junk in (".DS_Store", "Thumbs.db", "._P0001.png", "._P0001.xml", "readme.txt.bak"):
            (folder / junk).write_bytes(b"\0\1")
    read, found, _ = read_all(name, root)
    assert len(found) == len(problems)
    assert contents(read) == contents(expected)


@pytest.mark.parametrize("name", SOURCES)
def test_byte_order_marks_and_line_ends_in_every_annotation_file(fake, name):
    root = fake(name)
    expected, problems, _ = read_all(name, root)
    for path in (path for path in sorted(root.rglob("*")) if path.suffix in TEXT_SUFFIXES and path.is_file()):
        data = path.read_bytes().removeprefix(BYTE_ORDER_MARK).replace(b"\r\n", b"\n")
        path.write_bytes(BYTE_ORDER_MARK + data.replace(b"\n", b"\r\n"))
    read, found, _ = read_all(name, root)
    assert found == problems
    assert contents(read) == contents(expected)


@pytest.mark.parametrize("name", SOURCES)
def test_a_packed_source_is_named_with_the_command(tmp_path, name):
    (tmp_path / "down loads").mkdir()
    (tmp_path / "down loads" / f"{name}.zip").touch()
    for root in (tmp_path / "down loads", tmp_path / "down loads" / f"{name}.zip"):
        with pytest.raises(UserError, match=rf"{name}\.zip is still packed: `cd '.*down loads' && unzip {name}\.zip`"):
            scan_source(name, root, {}, Progress(quiet=True))


def test_archives_beside_a_set_that_is_not_whole_are_shown_by_scan(fake):
    root = fake("visdrone")
    shutil.rmtree(root / "VisDrone2019-DET-val")
    for archive in ("VisDrone2019-DET-val.zip", "more.part1.rar", "more.part2.rar"):
        (root / archive).touch()
    result = CliRunner().invoke(cli.main, ["--quiet", "scan", "visdrone", str(root)])
    assert result.exit_code == 0
    assert f"packed: VisDrone2019-DET-val.zip is still packed: `cd {root} && unzip VisDrone2019-DET-val.zip`" in (
        result.output
    )
    assert "unrar x more.part1.rar" in result.output and "unrar x more.part2.rar" not in result.output
    shown = json.loads(CliRunner().invoke(cli.main, ["--quiet", "scan", "visdrone", str(root), "--json"]).output)
    assert len(shown["packed"]) == 2 and list(shown["absent"]) == ["val"]


def test_an_archive_beside_its_unpacked_folder_is_nothing_to_unpack(fake):
    root = fake("visdrone")
    shutil.rmtree(root / "VisDrone2019-DET-val" / "annotations")
    (root / "empty").mkdir()
    for archive in ("VisDrone2019-DET-val.zip", "visdrone2019-det-TRAIN.part1.rar", "empty.zip", "other.zip"):
        (root / archive).touch()
    scan = scan_source("visdrone", root, {}, Progress(quiet=True))
    assert [line.partition(" ")[0] for line in scan.packed] == ["empty.zip", "other.zip"]


def test_all_known_archives_have_a_command_and_the_name_of_a_folder():
    endings = [ending for endings in UNPACKING for ending in endings]
    assert sorted(endings) == sorted(ARCHIVE_ENDINGS)
    assert {unpacked_name("Some.Set" + ending) for ending in endings} == {"some.set"}


OTHER_WORDS = [
    ("dota", {}, {"val": "Validation"}),
    ("dota", {}, {"train": "TRAIN"}),
    ("dota", {"layout": "ultralytics"}, {"images/val": "images/Valid", "labels/val_original": "labels/Valid_original"}),
    ("fair1m", {}, {"validation": "Val"}),
    ("fair1m", {}, {"train": "Train"}),
    ("visdrone", {}, {"VisDrone2019-DET-val": "visdrone2019_det_VAL"}),
    ("rsscn7", {"split_folders": ["train", "val"]}, {"val": "Validation"}),
]


@pytest.mark.parametrize(("name", "sample", "words"), OTHER_WORDS)
def test_the_folder_of_a_split_is_known_by_other_words(fake, name, sample, words):
    root = fake(name, **sample)
    expected, _, _ = read_all(name, root)
    for usual, other in words.items():
        (root / usual).rename(root / other)
    assert contents(read_all(name, root)[0]) == contents(expected)


@pytest.mark.parametrize("name", ["dota", "fair1m", "visdrone", "rsscn7"])
def test_a_folder_of_a_split_that_is_mistyped_is_named_with_its_number(fake, name):
    root = fake(name, **({"split_folders": ["train", "val"]} if name == "rsscn7" else {}))
    (folder,) = (child for child in root.iterdir() if "val" in child.name)
    files = sum(path.is_file() for path in folder.rglob("*"))
    folder.rename(root / "vaildation")
    unread = scan_source(name, root, {}, Progress(quiet=True)).unread
    assert [(entry.place, entry.files) for entry in unread.files] == [("vaildation/", files)]


@pytest.mark.parametrize(
    "places", [("images/part1", "images/part2"), ("part1/images", "part2/images"), ("part1", "part2")]
)
def test_parts_of_dota_in_folders_of_their_own(fake, places):
    root = fake("dota")
    expected, _, _ = read_all("dota", root)
    moved = (root / "train" / "images").rename(root / "train" / "moved")
    for number, path in enumerate(sorted(moved.iterdir())):
        place = root / "train" / places[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        path.rename(place / path.name)
    moved.rmdir()
    read, problems, notes = read_all("dota", root)
    assert contents(read) == contents(expected) and problems == []
    assert f"images of train were taken from train/{places[0]}, train/{places[1]}" in notes


def test_parts_of_class_folders_in_folders_of_their_own(fake, tmp_path):
    root = fake("aid")
    expected, _, _ = read_all("aid", root)
    parts = tmp_path / "parts"
    for number, file in enumerate(sorted((root / "AID").glob("*/*.jpg"))):
        place = parts / f"AID_part{number % 3 + 1}" / file.parent.name
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, place)
    read, problems, notes = read_all("aid", parts)
    assert contents(read) == contents(expected) and problems == []
    assert notes == ["the layout was found in parts, which were read together: AID_part1, AID_part2, AID_part3"]


def test_copies_are_no_parts(fake, tmp_path):
    root = fake("aid")
    for name in ("AID", "AID-old"):
        shutil.copytree(root / "AID", tmp_path / "both" / name / "AID")
    with pytest.raises(UserError, match=r"several folders with the layout \(AID, AID-old\); name one of them"):
        read_all("aid", tmp_path / "both")


@pytest.mark.parametrize("options", [(), ("--set", "release=1.0")])
def test_the_next_command_of_a_scan_builds_what_is_there(fake, tmp_path, options):
    root = fake("dota").rename(tmp_path / "with blank")
    shutil.rmtree(root / "val")
    scanned = CliRunner().invoke(cli.main, ["--quiet", "scan", "dota", str(root), *options])
    (command,) = re.findall(r"^next: `mmrs (.*) --out DIR`$", scanned.output, re.MULTILINE)
    words = [*shlex.split(command), "--out", str(tmp_path / "out"), "--workers", "1"]
    built = CliRunner().invoke(cli.main, ["--quiet", *words])
    assert built.exit_code == 0, built.output
    assert {path.name.partition("-")[0] for path in (tmp_path / "out" / "dota").iterdir()} == {"train"}


def test_a_scan_says_that_a_source_is_for_evaluation_only(fake):
    root = fake("mar20")
    (root / "ImageSets" / "Main" / "test.txt").rename(root / "ImageSets" / "Main" / "old.txt")
    shown = CliRunner().invoke(cli.main, ["--quiet", "scan", "mar20", str(root)]).output
    assert "note: the source is for evaluation only" in shown
    assert "next: get test, without which there is nothing to build" in shown
