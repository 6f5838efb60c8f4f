import pytest

import converters
from mmrs.errors import UserError


def read_all(root, split="train"):
    converter = converters.get("crsvqa")
    found = converter.discover(root, split)
    return found, {item.stem: converter.read(item) for item in found.items}


def test_split_by_image(fake):
    root = fake("crsvqa")
    train, test = read_all(root)[1], read_all(root, "test")[1]
    assert (len(train), len(test)) == (8, 2) and not train.keys() & test.keys()


def test_question_marks_types_and_the_odd_last_line(fake):
    root = fake("crsvqa")
    read = read_all(root)[1] | read_all(root, "test")[1]
    known = read["14281"]
    assert [asked.type for asked in known.questions] == ["scene", "object", "relation"]
    assert all(asked.question.endswith("?") and "？" not in asked.question for asked in known.questions)
    assert known.metadata == {"lines_left_out": 1} and read["14280"].metadata == {}


def test_images_and_texts_without_a_partner(fake):
    root = fake("crsvqa")
    (root / "data" / "text" / "14280.txt").rename(root / "data" / "text" / "9.txt")
    found = read_all(root)[0]
    reasons = [reason for _, reason in found.shared_problems]
    assert reasons == ["image without a text file", "text file without an image"]
    other = read_all(root, "test")[0]
    assert (other.problems, other.shared_problems) == ((), found.shared_problems)


def test_a_question_without_an_answer_costs_itself(fake):
    root = fake("crsvqa")
    converter = converters.get("crsvqa")
    item = converter.discover(root, "train").items[0]
    item.annotations[0].write_text("What?\nWhich?\nred\n")
    known = converter.read(item)
    assert [(asked.question, asked.answer) for asked in known.questions] == [("Which?", "red")]
    assert known.metadata == {"lines_left_out": 1}


@pytest.mark.parametrize("where", ["data", "data/text", "."])
def test_roots_that_are_understood(fake, where):
    assert len(read_all(fake("crsvqa") / where)[1]) == 8


def test_missing_layout(tmp_path):
    with pytest.raises(UserError, match=r"expected: data/image/<id>\.png"):
        read_all(tmp_path)
