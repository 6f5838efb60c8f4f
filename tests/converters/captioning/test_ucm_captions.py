from collections import Counter

import converters
from converters.formats.captions import read_captions


def test_genuine_file(genuine, tmp_path):
    """Every row of the genuine excerpt becomes an item with all its sentences; images are stand-ins by name."""
    path = genuine("ucm-captions") / "dataset.json"
    rows = read_captions(path).images
    (tmp_path / "imgs").mkdir()
    for row in rows:
        (tmp_path / "imgs" / row.file_name).touch()
    (tmp_path / "dataset.json").write_bytes(path.read_bytes())
    converter = converters.get("ucm-captions")
    known = {}
    for split in converter.splits:
        found = converter.discover(tmp_path, split)
        assert found.problems == ()
        known |= {(split, item.stem): converter.read(item) for item in found.items}
    assert Counter(split for split, _ in known) == {"train": 56, "val": 8, "test": 6}
    assert all(sum(one.metadata["caption_counts"]) == 5 for one in known.values())
    assert "There is a piece of farmland ." in known["train", "1"].captions


def test_numbers_sort_as_text_and_keep_their_own_id(fake):
    converter = converters.get("ucm-captions")
    items = converter.discover(fake("ucm-captions"), "train").items
    assert [item.stem for item in items][:3] == ["1", "10", "11"]
    assert converter.read(items[1]).provenance.original_id == "9"
