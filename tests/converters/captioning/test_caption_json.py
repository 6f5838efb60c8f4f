"""What all sources with one caption file share; RSICD's own module has the base's error paths."""

import pytest

import converters
from mmrs.errors import UserError

SPLITS = {
    "ucm-captions": {"train": 12, "val": 3, "test": 3},
    "sydney-captions": {"train": 8, "val": 2, "test": 2},
    "rsitmd": {"train": 12, "test": 4},
    "nwpu-captions": {"train": 14, "val": 3, "test": 3},
}


@pytest.mark.parametrize("name", SPLITS)
def test_splits_come_from_the_file(fake, name):
    root = fake(name)
    converter = converters.get(name)
    assert converter.splits == tuple(SPLITS[name])
    for split, count in SPLITS[name].items():
        items = converter.discover(root, split).items
        assert len(items) == count
        assert [item.stem for item in items] == sorted(item.stem for item in items)


@pytest.mark.parametrize("name", SPLITS)
def test_repeats_are_counted_and_references_stay_apart(fake, name):
    root = fake(name)
    converter = converters.get(name)
    for item in converter.discover(root, "train").items:
        known = converter.read(item)
        wordless = known.metadata.get("captions_without_words", 0)
        assert len(set(known.captions)) == len(known.captions)
        assert sum(known.metadata["caption_counts"]) + wordless == 5


@pytest.mark.parametrize("name", ["ucm-captions", "sydney-captions"])
def test_the_other_name_of_the_image_folder(fake, name):
    root = fake(name)
    (root / "imgs").rename(root / "images")
    converter = converters.get(name)
    assert len(converter.discover(root, "train").items) == SPLITS[name]["train"]
    assert len(converter.discover(root / "images", "train").items) == SPLITS[name]["train"]


def test_rsitmd_has_no_val_and_keeps_the_text_as_written(fake):
    root = fake("rsitmd")
    converter = converters.get("rsitmd")
    texts = [text for item in converter.discover(root, "train").items for text in converter.read(item).captions]
    assert {text[-2:] == " ." for text in texts} == {True, False}
    assert any(text[-1] != "." for text in texts) and all(text[0].isupper() for text in texts)
    with pytest.raises(UserError, match="no split 'val'"):
        converter.discover(root, "val")
