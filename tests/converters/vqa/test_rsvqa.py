import json
from collections import Counter

import pytest

import converters
from mmrs.errors import UserError


def read_all(root, split, name="rsvqa-lr"):
    converter = converters.get(name)
    found = converter.discover(root, split)
    return found, {item.stem: converter.read(item) for item in found.items}


def test_splits_have_their_own_images_though_stubs_come_first(fake):
    root = fake("rsvqa-lr")
    rows = json.loads((root / "LR_split_test_questions.json").read_text())["questions"]
    assert rows[0] == {"id": 0, "active": False} and rows[-1]["active"]
    read = {split: read_all(root, split)[1] for split in ("train", "val", "test")}
    assert [sorted(part, key=int) for part in read.values()] == [
        [str(number) for number in numbers] for numbers in (range(8), range(8, 10), range(10, 13))
    ]


def test_types_and_text_are_the_source_s(fake):
    known = read_all(fake("rsvqa-lr"), "train")[1]["0"]
    assert Counter(asked.type for asked in known.questions) == {"rural_urban": 1, "presence": 2, "count": 1, "comp": 1}
    assert known.questions[0].question == "Is it a rural or an urban area"
    assert next(asked for asked in known.questions if asked.type == "count").answer.isdigit()
    assert known.provenance.annotation == "LR_split_train_questions.json"


def test_genuine_excerpt(genuine, tmp_path):
    """The authors' excerpt under the names of the release; PNG stands in for TIFF."""
    excerpt = genuine("rsvqa-lr-excerpt")
    for table in ("images", "questions", "answers"):
        data = (excerpt / f"{table}.json").read_bytes()
        (tmp_path / f"LR_split_train_{table}.json").write_bytes(data)
    (tmp_path / "Images_LR").symlink_to(excerpt / "images")
    with pytest.raises(UserError, match="such links are not followed"):
        read_all(tmp_path, "train")
    (tmp_path / "Images_LR").unlink()
    (tmp_path / "Images_LR").mkdir()
    for path in (excerpt / "images").iterdir():
        (tmp_path / "Images_LR" / path.name).write_bytes(path.read_bytes())
    found, read = read_all(tmp_path, "train")
    assert len(read) == 12 and found.problems == ()
    kept = Counter(asked.type for known in read.values() for asked in known.questions)
    repeats = sum(known.metadata.get("repeated_questions", 0) for known in read.values())
    assert sum(kept.values()) + repeats == 1200
    assert set(kept) == {"comp", "presence", "count", "rural_urban"} and kept["rural_urban"] == 12


def test_missing_tables_images_and_damage(fake):
    root = fake("rsvqa-lr")
    (root / "Images_LR" / "3.tif").rename(root / "Images_LR" / "3.png")
    (root / "Images_LR" / "4.tif").unlink()
    found, read = read_all(root, "train")
    assert len(read) == 7 and "3" in read
    assert [reason for _, reason in found.problems] == ["image 4 has questions but is not there"]
    table = root / "LR_split_val_answers.json"
    table.write_bytes(table.read_bytes()[:-5])
    with pytest.raises(UserError, match="download it again"):
        read_all(root, "val")
    table.unlink()
    with pytest.raises(UserError, match=r"has no LR_split_val_answers\.json"):
        read_all(root, "val")


def test_high_resolution_is_for_evaluation_and_keeps_double_blanks(fake):
    root = fake("rsvqa-hr")
    assert converters.facts("rsvqa-hr").evaluation_only
    assert [len(read_all(root, split, "rsvqa-hr")[1]) for split in ("test", "test_phili")] == [4, 3]
    asked = [one for known in read_all(root, "test", "rsvqa-hr")[1].values() for one in known.questions]
    assert all(one.answer == "0m2" and "by  " in one.question for one in asked if one.type == "area")
