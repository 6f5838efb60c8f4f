"""Every source says what it looked at: of its generated sample nothing else is left, and what is added is named."""

import os
import sys
from contextlib import suppress
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner

import cli
import converters
from mmrs.builder.survey.unread_files import find_unread
from mmrs.errors import BadItem

# What a sample has in its true layout and what these options do not read.
LEFT = {
    "dior": {"Annotations/Oriented Bounding Boxes/"},
    "floodnet": {"Questions/*.json"},
    "hit-uav": {
        "normal_json/",
        "normal_xml/",
        "rotate_json/annotations/log.json",
        "rotate_xml/ImageSets/",
        "rotate_xml/JPEGImages/",
    },
    "hrrsd": {"OPT2017/ImageSets/Main/*.txt"},
    "mar20": {"Annotations/Oriented Bounding Boxes/"},
    "nwpu-vhr10": {"NWPU VHR-10 dataset/annotations.json", "NWPU VHR-10 dataset/readme.txt"},
    "rsod": {f"{name}/Annotation/labels/" for name in ("aircraft", "oiltank", "overpass", "playground")},
    "ssdd": {
        "BBox_RBox_PSeg_SSDD/coco_style/",
        "BBox_RBox_PSeg_SSDD/voc_style/JPEGImages_test_inshore/",
        "BBox_RBox_PSeg_SSDD/voc_style/JPEGImages_test_offshore/",
    },
    "ucas-aod": {"CAR/names.txt", "PLANE/names.txt"},
    "ucmerced": {"UCMerced_LandUse/readme.txt", "UCMerced_LandUse/readme.txt.bak"},
}


OTHER_OPTIONS = {
    "dior": {"boxes": "oriented"},
    "hit-uav": {"layout": "rotate_xml"},
    "nwpu-vhr10": {"annotations": "coco", "negatives": False},
    "rsod": {"labels": "txt"},
    "ssdd": {"layout": "coco"},
}
# Layouts of other projects: options of the sample and of the converter, and what the project itself has beside them.
OTHER_LAYOUTS = [
    ("dota", {"layout": "torchgeo"}, {}, {"samples.csv"}),
    ("dota", {"layout": "mmrotate"}, {}, set()),
    ("dota", {"layout": "ultralytics"}, {}, {"labels/train/", "labels/val/"}),
    ("dota", {"layout": "unsplit"}, {"split": "train"}, set()),
    ("ucmerced", {"layout": "torchgeo"}, {}, LEFT["ucmerced"]),
    ("eurosat", {"layout": "hugging-face"}, {}, set()),
    ("rsscn7", {"split_folders": ["train", "validation", "test"]}, {}, set()),
    ("ssdd", {"layouts": ["mmrotate"]}, {}, {"train/train.json", "test/all/test.json"}),
]
OPENED: list[set[str]] = []


def note_opened(event, arguments):
    if event == "open" and OPENED:
        OPENED[-1].add(os.path.abspath(os.fsdecode(arguments[0])) if not isinstance(arguments[0], int) else "")


sys.addaudithook(note_opened)


def discovered(name, root, **options):
    described = {"description": root / "mmrs.yaml"} if name == "generic" else {}
    converter = converters.get(name, **described, **options)
    return converter, [converter.discover(root, split) for split in converter.splits_in(root)]


def left_over(root, found):
    looked_at = [path for one in found for path in one.looked_at()]
    return {entry.place: entry.files for entry in find_unread(root, looked_at).files}


def read_whole(name, root, **options):
    """What is found, after a check against what was opened to find and to read it."""
    OPENED.append(set())
    converter, found = discovered(name, root, **options)
    for item in (item for one in found for item in one.items):
        with suppress(BadItem):
            converter.read(item)
    opened = {path for path in OPENED.pop() if Path(path).is_relative_to(root) and Path(path).is_file()}
    assert sorted(opened - {path for one in found for path in one.looked_at()}) == []
    return found


@pytest.mark.parametrize("name", converters.names())
def test_of_every_sample_that_alone_is_left_which_nothing_reads(name, fake):
    root = fake(name)
    before = left_over(root, read_whole(name, root))
    assert set(before) == LEFT.get(name, set())
    for stray in ("1.csv", "2.csv", "more/3.txt"):
        (root / "zz stray" / stray).parent.mkdir(parents=True, exist_ok=True)
        (root / "zz stray" / stray).write_bytes(b"")
    (root / "kaggle.csv").write_bytes(b"")
    assert left_over(root, discovered(name, root)[1]) == before | {"zz stray/": 3, "kaggle.csv": 1}


@pytest.mark.parametrize("name", OTHER_OPTIONS)
def test_with_other_options_the_other_form_is_left(name, fake):
    root = fake(name)
    before, after = (left_over(root, read_whole(name, root, **options)) for options in ({}, OTHER_OPTIONS[name]))
    assert before != after


@pytest.mark.parametrize(("name", "sample", "options", "left"), OTHER_LAYOUTS, ids=range(len(OTHER_LAYOUTS)))
def test_of_what_other_projects_made_of_a_set_only_their_own_files_are_left(name, sample, options, left, fake):
    root = fake(name, **sample)
    assert set(left_over(root, read_whole(name, root, **options))) == left


def test_a_scan_names_the_third_folder_and_lists_of_others(fake):
    root = fake("rsscn7")
    image = next(root.rglob("*.jpg"))
    (root / "validation" / image.parent.name).mkdir(parents=True)
    for number in range(3):
        (root / "validation" / image.parent.name / f"{number}.jpg").write_bytes(b"")
    (root / "train_torchgeo.txt").write_bytes(b"")
    done = CliRunner().invoke(cli.main, ["scan", "rsscn7", str(root)])
    assert "\nnot looked at: validation/ (3 files: 3 .jpg)\nnot looked at: train_torchgeo.txt\n" in done.output
    told = orjson.loads(CliRunner().invoke(cli.main, ["scan", "rsscn7", str(root), "--json"]).stdout)["unread"]
    assert told == {
        "files": [
            {"place": "validation/", "files": 3, "suffixes": {".jpg": 3}},
            {"place": "train_torchgeo.txt", "files": 1, "suffixes": {".txt": 1}},
        ],
        "splits": {},
        "is_whole": True,
    }


@pytest.mark.parametrize("inside", [False, True])
def test_a_build_names_them_too_and_not_its_own_output(inside, fake, tmp_path):
    root = fake("dior")
    (root / "Kaggle.csv").write_bytes(b"")
    out = root / "shards" if inside else tmp_path / "out"
    words = ["build", "dior", "--root", f"dior={root}", "--out", str(out), "--workers", "1"]
    for _ in range(2):
        done = CliRunner().invoke(cli.main, [*words, "--set", "sources.0.splits=[train, test]"])
        assert done.exit_code == 0, done.output
        told = [line for line in done.output.splitlines() if line.startswith("dior: not ")]
        assert told == [
            "dior: not asked for: split val: 2 images",
            "dior: not looked at: Annotations/Oriented Bounding Boxes/ (8 files: 8 .xml)",
            "dior: not looked at: Kaggle.csv",
        ]
