import json
from collections import Counter

import pytest

import converters
from mmrs.errors import UserError


def read_all(root, split="train"):
    converter = converters.get("rsicd")
    found = converter.discover(root, split)
    return found, {item.stem: converter.read(item) for item in found.items}


def edit(root, change):
    path = root / "dataset_rsicd.json"
    tables = json.loads(path.read_text())
    change(tables["images"])
    path.write_text(json.dumps(tables))


def test_splits_come_from_the_file(fake):
    root = fake("rsicd")
    assert [len(read_all(root, split)[1]) for split in ("train", "val", "test")] == [16, 4, 5]


def test_every_sentence_is_a_caption_a_repeat_or_a_problem(fake):
    root = fake("rsicd")
    totals = Counter()
    for split in ("train", "val", "test"):
        found, read = read_all(root, split)
        totals["problems"] += sum("has no words" in reason for _, reason in found.details)
        for known in read.values():
            assert len(known.captions) == len(set(known.captions)) == len(known.metadata["caption_counts"])
            totals["kept"] += sum(known.metadata["caption_counts"])
            totals["wordless"] += known.metadata.get("captions_without_words", 0)
    assert totals == {"kept": 124, "problems": 1, "wordless": 1}


def test_wordless_caption_names_its_image(fake):
    found, read = read_all(fake("rsicd"))
    assert found.problems == ()
    assert [reason for _, reason in found.details] == ["beach_2.jpg: caption 3 of 5 has no words: ' .'"]
    assert not any(text.strip(" .") == "" for text in read["beach_2"].captions)


def test_image_with_wordless_captions_only_is_no_item(fake):
    root = fake("rsicd")
    edit(root, lambda rows: rows[0].update(sentences=[{"raw": " ."}, {"raw": "1 ."}]))
    found, read = read_all(root)
    assert len(read) == 15
    assert "no caption with words" in [reason for _, reason in found.problems]


def test_images_without_a_partner_are_problems_of_their_split_or_of_the_set(fake):
    root = fake("rsicd")
    (root / "RSICD_images" / "beach_2.jpg").rename(root / "RSICD_images" / "stray.jpg")
    found, _read = read_all(root)
    assert [reason for _, reason in found.problems] == ["image beach_2.jpg is named but is not in RSICD_images"]
    assert [reason for _, reason in found.shared_problems] == ["dataset_rsicd.json does not name this image"]
    other = read_all(root, "val")[0]
    assert (other.problems, other.shared_problems) == ((), found.shared_problems)


@pytest.mark.parametrize("name", ["../../secret.jpg", "/etc/passwd", "..\\x.jpg"])
def test_file_names_never_lead_out(fake, name):
    root = fake("rsicd")
    edit(root, lambda rows: rows[0].update(filename=name))
    found, read = read_all(root)
    assert len(read) == 15
    assert any("is not a plain name" in reason for _, reason in found.problems)


def test_unknown_split_is_a_problem(fake):
    root = fake("rsicd")
    edit(root, lambda rows: rows[0].update(split="restval"))
    assert any("unknown split 'restval'" in reason for _, reason in read_all(root)[0].shared_problems)


def test_annotations_in_their_own_folder(fake):
    root = fake("rsicd")
    (root / "annotations_rsicd").mkdir()
    (root / "dataset_rsicd.json").rename(root / "annotations_rsicd" / "dataset_rsicd.json")
    assert len(read_all(root)[1]) == 16
    assert len(read_all(root / "RSICD_images")[1]) == 16


def test_half_a_layout(fake):
    root = fake("rsicd")
    (root / "dataset_rsicd.json").rename(root / "kept.json")
    with pytest.raises(UserError, match=r"has RSICD_images but no dataset_rsicd\.json"):
        read_all(root)
    (root / "kept.json").rename(root / "dataset_rsicd.json")
    (root / "RSICD_images").rename(root / "pictures")
    with pytest.raises(UserError, match=r"has dataset_rsicd\.json but no RSICD_images"):
        read_all(root)


def test_a_damaged_file_is_a_user_error(fake):
    root = fake("rsicd")
    path = root / "dataset_rsicd.json"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"dataset_rsicd.json.*not JSON.*download it again"):
        read_all(root)


def test_captions_without_an_image_id_still_have_a_provenance(fake):
    root = fake("rsicd")
    edit(root, lambda rows: rows[0].pop("imgid"))
    known = read_all(root)[1]["airport_0"]
    assert (known.provenance.annotation, known.provenance.original_id) == ("dataset_rsicd.json", "0")
