import json

import pytest

import converters
from mmrs.errors import UserError


def read_all(root, split="train", **options):
    converter = converters.get("floodnet", **options)
    found = converter.discover(root, split)
    return found, {item.stem: converter.read(item) for item in found.items}


def test_split_is_by_image(fake):
    root = fake("floodnet")
    train, test = read_all(root)[1], read_all(root, "test")[1]
    assert (len(train), len(test)) == (8, 2) and not train.keys() & test.keys()
    assert len(read_all(root, train_share=0.5)[1]) == 5


def test_counts_become_text_and_mixed_states_stay(fake):
    root = fake("floodnet")
    read = read_all(root)[1] | read_all(root, "test")[1]
    by_type = {}
    for known in read.values():
        for asked in known.questions:
            by_type.setdefault(asked.type, set()).add(asked.answer)
    assert all(answer.isdigit() for answer in by_type["Simple_Counting"])
    assert "flooded,non flooded" in by_type["Condition_Recognition"]
    assert by_type["Yes_No"] <= {"Yes", "No"}


def test_genuine_questions(genuine, tmp_path):
    source = genuine("floodnet-vqa") / "Questions" / "Training Question.json"
    (tmp_path / "Questions").mkdir()
    (tmp_path / "Questions" / source.name).write_bytes(source.read_bytes())
    rows = json.loads(source.read_text()).values()
    images = tmp_path / "Images" / "Train_Image"
    images.mkdir(parents=True)
    for row in rows:
        (images / row["Image_ID"]).touch()
    read = read_all(tmp_path)[1] | read_all(tmp_path, "test")[1]
    assert sum(len(known.questions) for known in read.values()) == len(rows) == 300
    kept = {(stem, asked.question): asked for stem, known in read.items() for asked in known.questions}
    for row in rows:
        asked = kept[row["Image_ID"].removesuffix(".JPG"), row["Question"]]
        assert (asked.answer, asked.type) == (str(row["Ground_Truth"]), row["Question_Type"])


def test_questions_without_image_or_answer_are_problems_once(fake):
    root = fake("floodnet")
    path = root / "Questions" / "Training Question.json"
    rows = json.loads(path.read_text())
    del rows["0"]["Ground_Truth"]
    rows["900"] = {"Image_ID": "1.JPG", "Question": "What?", "Ground_Truth": "x", "Question_Type": "Yes_No"}
    path.write_text(json.dumps(rows))
    found = read_all(root)[0]
    reasons = [reason for _, reason in found.shared_problems]
    assert reasons == ["row '0' lacks Image_ID, Question or Ground_Truth", "image 1.JPG has questions but is not there"]
    other = read_all(root, "test")[0]
    assert (other.problems, other.shared_problems) == ((), found.shared_problems)


def test_damaged_and_missing_files(fake):
    root = fake("floodnet")
    path = root / "Questions" / "Training Question.json"
    path.write_text("[]")
    with pytest.raises(UserError, match="an object of rows expected"):
        read_all(root)
    path.unlink()
    with pytest.raises(UserError, match=r"expected: Images/Train_Image"):
        read_all(root)
