import hashlib

import pytest

import converters
from converters.scan import scan_source
from mmrs.errors import UserError
from mmrs.progress import Progress


def read_all(root, split="train", **options):
    converter = converters.get("ucmerced", **options)
    found = converter.discover(root, split)
    return found, {item.stem: converter.read(item) for item in found.items}


def test_split_is_four_fifths_of_every_class(fake):
    root = fake("ucmerced")
    train, test = read_all(root)[1], read_all(root, "test")[1]
    assert (len(train), len(test)) == (84, 21)
    assert not train.keys() & test.keys()
    assert len({known.label for known in test.values()}) == 21


def test_split_follows_the_documented_rule(fake):
    root = fake("ucmerced")
    stems = [f"river{number:02d}" for number in range(5)]
    ordered = sorted(stems, key=lambda stem: hashlib.sha256(f"7:{stem}".encode()).hexdigest())
    train = read_all(root, seed=7, train_share=0.6)[1]
    assert {stem for stem in train if stem.startswith("river")} == set(ordered[:3])


def test_split_depends_on_the_seed_and_on_nothing_else(fake):
    root = fake("ucmerced")
    splits = [tuple(read_all(root, "test", seed=seed)[1]) for seed in (0, 0, 1)]
    assert splits[0] == splits[1] != splits[2]
    (root / "UCMerced_LandUse" / "Images" / "river" / "river00.tif").unlink()
    kept = [stem for stem in splits[0] if not stem.startswith("river")]
    assert [stem for stem in read_all(root, "test")[1] if not stem.startswith("river")] == kept


def test_label_in_both_spellings(fake):
    root = fake("ucmerced")
    known = next(known for stem, known in read_all(root)[1].items() if stem.startswith("baseballdiamond"))
    assert (known.label, known.source_label) == ("baseball diamond", "baseballdiamond")
    assert known.label in converters.get("ucmerced").categories


@pytest.mark.parametrize("where", ["..", ".", "UCMerced_LandUse", "UCMerced_LandUse/Images"])
def test_roots_that_are_understood(fake, where):
    root = fake("ucmerced")
    if where == "..":
        (root / "UCMerced_LandUse").rename(root / "ucm")
        where = "."
    assert len(read_all(root / where)[1]) == 84


def test_junk_is_no_image_and_another_file_is_not_looked_at(fake):
    root = fake("ucmerced")
    for name in ("Thumbs.db", "labels.csv"):
        (root / "UCMerced_LandUse" / "Images" / "river" / name).touch()
    found, read = read_all(root)
    assert len(read) == 84 and found.problems == ()
    unread = [entry.place for entry in scan_source("ucmerced", root, {}, Progress(quiet=True)).unread.files]
    assert unread[0] == "UCMerced_LandUse/Images/river/labels.csv" and not any("Thumbs" in place for place in unread)


def test_folder_and_file_spelling_in_another_case(fake):
    root = fake("ucmerced")
    images = root / "UCMerced_LandUse" / "Images"
    (images / "tenniscourt").rename(images / "Tennis_Court")
    (images / "river" / "river00.tif").rename(images / "river" / "river00.TIF")
    found, read = read_all(root)
    assert len(read) == 84 and found.problems == ()


def test_unknown_missing_and_mixed_up_classes_are_problems_once(fake):
    root = fake("ucmerced")
    images = root / "UCMerced_LandUse" / "Images"
    (images / "river").rename(images / "canal")
    (images / "beach" / "beach00.tif").rename(images / "beach" / "forest99.tif")
    found, read = read_all(root)
    reasons = [reason for _, reason in found.shared_problems]
    assert reasons.count("class folder 'canal' is unknown") == 5
    assert "class folder is missing or empty" in reasons
    assert "file name says another class than its folder 'beach'" in reasons
    assert found.problems == read_all(root, "test")[0].problems == ()
    assert read_all(root, "test")[0].shared_problems == found.shared_problems
    assert not any(stem.startswith(("river", "forest99")) for stem in read)


def test_missing_layout(tmp_path):
    (tmp_path / "Pictures").mkdir()
    with pytest.raises(UserError, match=r"found:    Pictures/\n  expected: UCMerced_LandUse/Images"):
        read_all(tmp_path)
