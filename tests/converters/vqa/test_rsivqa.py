import shutil
from collections import Counter

import pytest

import converters
from converters.vqa.rsivqa import LABELS
from mmrs.errors import UserError


def read_all(root, split="train", **options):
    converter = converters.get("rsivqa", **options)
    found = converter.discover(root, split)
    return found, {item.stem: converter.read(item) for item in found.items}


def everything(root, **options):
    return read_all(root, "train", **options)[1] | read_all(root, "test", **options)[1]


def test_all_five_sets_with_stems_of_their_own(fake):
    read = everything(fake("rsivqa"))
    assert Counter(stem.split("-")[0] for stem in read) == dict.fromkeys(LABELS, 5)
    assert "ucm-1" in read and "sydney-1" in read and "hrrsd-00001" in read


def test_splits_are_disjoint_and_seeded_within_each_set(fake):
    root = fake("rsivqa")
    train, test = read_all(root)[1], read_all(root, "test")[1]
    assert not train.keys() & test.keys()
    assert Counter(stem.split("-")[0] for stem in test) == dict.fromkeys(LABELS, 1)
    assert read_all(root, "test", seed=1)[1].keys() != test.keys()


def test_both_label_files_of_a_set_come_together(fake):
    read = everything(fake("rsivqa"))
    themes = [asked.question for asked in read["ucm-2"].questions if "theme" in asked.question]
    assert themes == ["what is the theme of this picture?", "What is the theme of this picture?"]
    assert read["ucm-2"].provenance.annotation == "ucm_vqa.txt, ucm_res.txt"
    assert read["dota-P0004"].provenance.annotation == "dota_val_vqa2.txt"


def test_types_are_inferred_and_answers_keep_their_text(fake):
    read = everything(fake("rsivqa"))
    assert [asked.type for asked in read["hrrsd-00001"].questions] == ["number", "yes_no", "yes_no"]
    answers = {asked.answer: asked.type for asked in read["ucm-4"].questions}
    assert answers["about forty"] == "number" and answers["top left corner"] == "other"


def test_repeats_and_questions_without_their_object_word_are_said(fake):
    found, read = read_all(fake("rsivqa"))
    assert "opt_val_vqa.txt: 1 lines repeat another one and were counted, not kept" in found.notes
    assert "ucm_res.txt: 1 questions lack the word that they ask for and were left out" in found.notes
    assert found.problems == ()
    assert not any("  " in asked.question for known in read.values() for asked in known.questions)


def test_folders_by_option_and_sets_left_out(fake, tmp_path):
    root = fake("rsivqa")
    shutil.move(root / "images" / "DOTA", tmp_path / "elsewhere" / "train" / "images")
    shutil.rmtree(root / "images" / "Sydney")
    found, _ = read_all(root, dota=str(tmp_path / "elsewhere"))
    stems = {stem.split("-")[0] for stem in everything(root, dota=str(tmp_path / "elsewhere"))}
    assert stems == {"hrrsd", "dota", "rsicd", "ucm"}
    assert any(note.startswith("sydney left out") and "option sydney" in note for note in found.notes)


def test_images_of_the_sources_beside_the_root(fake, tmp_path):
    """The folder of `mmrs-1m`: every source under its own name, RSIVQA among them with its labels alone."""
    root = fake("rsivqa")
    expected = everything(root)
    places = {
        "HRRSD": "hrrsd/OPT2017/JPEGImages",
        "DOTA": "dota/train/images",
        "RSICD": "rsicd/RSICD_images",
        "UCM": "ucm-captions/imgs",
        "Sydney": "sydney-captions/images",
    }
    for name, place in places.items():
        shutil.move(root / "images" / name, tmp_path / place)
    assert everything(root) == expected
    found, _ = read_all(root)
    assert f"images of hrrsd were taken from {tmp_path / 'hrrsd'}" in found.notes


def test_where_images_lie_is_no_part_of_the_output():
    assert converters.get("rsivqa", dota="/data").options() == {"seed": 0, "train_share": 0.8}


def test_lines_and_files_that_cannot_be_used(fake):
    root = fake("rsivqa")
    labels = root / "RSIVQA"
    (labels / "AID" / "rsicd_vqa.txt").unlink()
    path = labels / "Sydney" / "sydney_vqa.txt"
    path.write_text(path.read_text() + "no marks\n../1.tif:what?x\n99.tif:what?x\n")
    found = read_all(root)[0]
    reasons = [reason for _, reason in found.shared_problems]
    assert "label file is missing" in reasons
    assert "'no marks' is not of the form image:question?answer" in reasons
    assert any("is not a plain name" in reason for reason in reasons)
    assert "image 99.tif has questions but is not there" in reasons
    other = read_all(root, "test")[0]
    assert (other.problems, other.shared_problems) == ((), found.shared_problems)


def test_labels_without_any_image(fake):
    root = fake("rsivqa")
    shutil.rmtree(root / "images")
    with pytest.raises(UserError, match="has no images for any label file"):
        read_all(root)


def test_genuine_lines(genuine, tmp_path):
    """All 1,750 genuine lines are kept, counted as repeats, or named as lacking a word; images are stand-ins."""
    shutil.copytree(genuine("rsivqa"), tmp_path / "RSIVQA")
    suffixes = {"hrrsd": ".jpg", "dota": ".png"}
    folders = {"hrrsd": "HRRSD", "dota": "DOTA", "rsicd": "RSICD", "ucm": "UCM", "sydney": "Sydney"}
    for name, labels in LABELS.items():
        folder = tmp_path / "images" / folders[name]
        folder.mkdir(parents=True)
        for label in labels:
            for line in (tmp_path / "RSIVQA" / label).read_text().splitlines():
                (folder / (line.split(":")[0] + suffixes.get(name, ""))).touch()
    read = everything(tmp_path)
    kept = sum(len(known.questions) for known in read.values())
    repeats = sum(known.metadata.get("repeated_questions", 0) for known in read.values())
    assert kept + repeats + 42 == 1750
    types = Counter(asked.type for known in read.values() for asked in known.questions)
    assert set(types) == {"yes_no", "number", "other"}
