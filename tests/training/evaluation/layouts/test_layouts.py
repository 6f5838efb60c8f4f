"""Answers of other projects, in small invented files of their layouts, score what they should."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from shapely.geometry import Polygon

from cli import main
from mmrs.errors import UserError
from training.evaluation.adapters import find_adapter
from training.evaluation.answers import read_answers
from training.evaluation.layouts import find_layout, layouts, register_layout
from training.evaluation.layouts.geochat import _image_of as image_of
from training.evaluation.questions import QuestionScope, load_questions
from training.evaluation.rescore import RescoreConfig, rescore
from training.evaluation.scores import score


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def values(pairs, protocol=()):
    return {row.protocol: row for row in score(pairs, protocol)}


def test_classes_listed_in_any_order_are_scored_as_classification(tmp_path):
    rows = [
        {"question": "Classify. Classes: Bare Land, Pond. ", "answer": "bareland", "annotation": "BareLand"},
        {"question": "Classify. Classes: Pond, Bare Land. \\nAnswer.", "answer": "Pond", "annotation": "Pond"},
        {"question": "Classify. Classes:  Bare Land, Pond.", "answer": "Lake", "annotation": "Pond"},
    ]
    (row,) = score(find_layout("earthdial").read(lines(tmp_path / "My_Set.jsonl", rows)))
    assert (row.task, row.source, row.questions, row.failures) == (
        "classification", "my-set", 3, {"outside_class_list": 1},
    )  # fmt: skip
    assert row.value == pytest.approx(2 / 3)


def test_questions_of_rsvqa_are_scored_by_its_rules(tmp_path):
    rows = [
        {"question": "How many?", "answer": "7", "annotation": "3", "vqa_type": "count"},
        {"question": "How many?", "answer": "11", "annotation": "3", "vqa_type": "count"},
        {"question": "Is there?", "answer": "not sure", "annotation": "no", "vqa_type": "presence"},
        {"question": "Rural?", "answer": "Urban", "annotation": "urban", "vqa_type": "rural_urban"},
    ]
    pairs = find_layout("earthdial").read(lines(tmp_path / "RSVQA_LR.jsonl", rows))
    found = values(pairs, ("rsvqa/authors", "rsvqa/three-types-oa"))
    assert found["rsvqa/authors"].details["accuracy_by_type"] == {"count": 0.5, "presence": 0.0, "rural_urban": 1.0}
    assert found["rsvqa/three-types-oa"].value == 0.5


def test_captions_that_are_empty_are_no_references(tmp_path):
    rows = [
        {"question": "Describe.", "answer": "a red ship", "caption0": "a red ship", "caption1": ""},
        {"question": "Describe.", "answer": "two cars", "caption0": "two cars", "caption1": "cars on a road"},
    ]
    pairs = find_layout("earthdial").read(lines(tmp_path / "c.jsonl", rows))
    assert [pair.question.truth.references for pair in pairs] == [("a red ship",), ("two cars", "cars on a road")]
    assert {pair.question.task for pair in pairs} == {"captioning"}


def test_regions_have_one_phrase_and_plain_annotations_are_questions(tmp_path):
    rows = [
        {"question": "what is in <box>[[1, 2, 3, 4, 0]]</box>", "answer": "a", "annotation": "a ship"},
        {"question": "Does it show a plume?", "answer": "Yes", "annotation": "No"},
    ]
    pairs = find_layout("earthdial").read(lines(tmp_path / "c.jsonl", rows))
    assert [pair.question.task for pair in pairs] == ["region-captioning", "vqa"]


def turned(box):
    """The corners of EarthDial's scorer: a row of numbers times a matrix, in the grid."""
    x1, y1, x2, y2, angle = box
    middle = np.array([(x1 + x2) / 2, (y1 + y2) / 2])
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    corners = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]]) - middle
    return corners @ np.array([[cos, -sin], [sin, cos]]) + middle


def test_boxes_with_angles_are_matched_as_shapely_matches_them(tmp_path):
    rng = np.random.default_rng(0)
    rows, found = [], 0
    for _ in range(60):
        low = rng.integers(-3, 60, 2)
        true = [*low.tolist(), *(low + rng.integers(5, 35, 2)).tolist(), int(rng.integers(0, 180))]
        said = [value + int(rng.integers(-3, 4)) for value in true]
        one, other = Polygon(turned(true)), Polygon(turned(said))
        found += one.intersection(other).area / one.union(other).area >= 0.5
        rows.append({"question": "Where?", "answer": f"[{said}]", "gt_bbox": f"[{true}]", "size_group": "small"})
    assert 10 < found < 60
    (row,) = score(find_layout("earthdial").read(lines(tmp_path / "b.jsonl", rows)))
    assert (row.task, row.protocol) == ("detection-obb", "detection-obb/f1-50")
    assert row.details["true_positives"] == found
    assert (row.details["false_negatives"], row.details["malformed_boxes"]) == (60 - found, 0)


def test_a_box_that_was_cut_off_counts_as_false_and_missing_ones_as_missed(tmp_path):
    true = "[[1, 2, 30, 40, 0]][[50,50,70,70,9]]"
    rows = [{"question": "Where?", "answer": "[[1, 2, 30, 40, 0]][[5, 6", "gt_bbox": true}]
    (row,) = score(find_layout("earthdial").read(lines(tmp_path / "b.jsonl", rows)))
    counts = [row.details[name] for name in ("true_positives", "false_positives", "false_negatives", "malformed_boxes")]
    assert (counts, row.failures) == ([1, 1, 1, 1], {"malformed_box": 1})


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"question": "<image> <image> what changed?", "answer": "a", "annotation": "b"}, "2 images"),
        ({"question": "q", "answer": "a"}, "no annotation, caption0 or gt_bbox"),
        ({"question": "q", "answer": None, "annotation": "b"}, "'answer' is None"),
        ({"question": "q", "answer": "a", "gt_bbox": "[[1, 2]]"}, "cannot be read"),
        ({"question": "q", "answer": "a", "caption0": " "}, "no caption that is not empty"),
        ({"question": "Classes: a, b.", "answer": "a", "annotation": "c"}, "none of the listed classes"),
    ],
)
def test_lines_without_a_truth_are_named(tmp_path, row, told):
    path = lines(tmp_path / "b.jsonl", [{"question": "q", "answer": "a", "annotation": "b"}, row])
    with pytest.raises(UserError, match=f"b.jsonl, line 2: .*{told}"):
        find_layout("earthdial").read(path)


def test_files_that_are_no_lines_are_named(tmp_path):
    path = tmp_path / "b.jsonl"
    path.write_text('{"question": "q", "answer": "a", "annotation": "b"}\nnonsense\n')
    with pytest.raises(UserError, match="line 2: no JSON"):
        find_layout("earthdial").read(path)
    path.write_text("[1]")
    with pytest.raises(UserError, match="int and no object"):
        find_layout("earthdial").read(path)
    with pytest.raises(UserError, match="cannot be read"):
        find_layout("earthdial").read(tmp_path / "none.jsonl")


def test_vrsbench_has_boxes_captions_and_typed_questions(tmp_path):
    same = {"dataset": "RSBench", "size_group": "small"}
    rows = [
        {"question_id": 0, "image_id": "a.png", "type": "ref", "question": "the ship", "answer": "{<10><20><30><40>}",
         "ground_truth": "{<10><20><30><40>}"},
        {"question_id": 1, "image_id": "a.png", "type": "ref", "question": "the car", "answer": "nowhere",
         "ground_truth": "{<50><20><70><40>}"},
        {"question_id": 2, "image_id": "b.png", "type": "caption", "question": "Describe.", "answer": "ships",
         "ground_truth": "two ships"},
        {"question_id": 3, "image_id": "b.png", "type": "Object quantity", "question": "How many?", "answer": "Two",
         "ground_truth": "2"},
    ]  # fmt: skip
    path = tmp_path / "v.json"
    path.write_text(json.dumps([row | same for row in rows]))
    pairs = find_layout("vrsbench").read(path)
    assert [pair.question.task for pair in pairs] == ["visual-grounding", "visual-grounding", "captioning", "vqa"]
    assert pairs[0].question.record.id == pairs[1].question.record.id != pairs[2].question.record.id
    (boxes,) = score(pairs[:2])
    assert (boxes.value, boxes.images, boxes.failures) == (0.5, 1, {"no_box": 1})
    (typed,) = score(pairs[3:])
    assert typed.details["accuracy_by_type"] == {"object quantity": 1.0}


def braces(box, width, height):
    x1, y1, x2, y2 = box
    numbers = (100 * x1 / width, 100 * y1 / height, 100 * x2 / width, 100 * y2 / height)
    return "{" + "".join(f"<{number:.4f}>" for number in numbers) + "|<0>}"


def test_geochat_is_joined_by_image_and_question(data, tmp_path):
    scope = QuestionScope(tasks=("referring",))
    questions = load_questions(data, scope)
    rows = []
    for question in questions:
        image = question.record.image
        wanted = [
            item.extent()
            for item in question.record.objects
            if item.category == question.truth.text and not item.ignore
        ]
        name = "folder/" + question.record.id.rpartition("/")[2] + ".png"
        said = "<p>it</p> " + "<delim>".join(braces(box, image.width, image.height) for box in wanted)
        rows.append({"question_id": 1, "image_id": name, "question": question.prompt, "answer": said})
    path = lines(
        tmp_path / "theirs.jsonl", [*reversed(rows), {"image_id": "other.png", "answer": "x", "question_id": 2}]
    )
    config = RescoreConfig(path, data.location, tmp_path / "out", scope, ("referring/f1-50",), "geochat")
    (row,) = rescore(config).rows
    assert (row.value, row.failed, row.questions) == (1, 0, len(questions))
    written = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert (written["answers_to_other_questions"], written["layout"]) == (1, "geochat")
    # What is kept is in our words, so that everything else that reads answers reads them.
    kept = read_answers(tmp_path / "out" / "answers.jsonl")
    assert {answer.said for answer in kept} >= {row["answer"] for row in rows}
    again = rescore(
        RescoreConfig(tmp_path / "out" / "answers.jsonl", data.location, tmp_path / "two", scope, (row.protocol,))
    )
    assert again.rows == (row,)


def test_geochat_lines_without_a_question_are_taken_in_order_or_refused(data, tmp_path):
    scope = QuestionScope(tasks=("counting",))
    questions = load_questions(data, scope)
    rows = [
        {"image_id": question.record.id.rpartition("/")[2] + ".png", "answer": str(question.truth.most)}
        for question in questions
    ]
    several = max({q.record.id for q in questions}, key=lambda name: sum(q.record.id == name for q in questions))
    assert sum(q.record.id == several for q in questions) > 1
    config = RescoreConfig(lines(tmp_path / "a.jsonl", rows), data.location, tmp_path / "out", scope, (), "geochat")
    (row,) = rescore(config).rows
    assert (row.value, row.questions) == (1, len(questions))
    twice = [row for row, question in zip(rows, questions, strict=True) if question.record.id == several]
    config = RescoreConfig(
        lines(tmp_path / "b.jsonl", [*twice, twice[0]]), data.location, tmp_path / "o", scope, (), "geochat"
    )
    with pytest.raises(UserError, match=r"b.jsonl, line 1: 3 lines without `question`"):
        rescore(config)


def test_a_file_with_its_truth_takes_no_data_and_others_need_it(data, tmp_path):
    row = {"question": "Is there?", "answer": "yes", "annotation": "yes", "vqa_type": "presence"}
    path, out = lines(tmp_path / "RSVQA_LR.jsonl", [row]), tmp_path / "out"
    done = CliRunner().invoke(main, ["score", str(path), "--layout", "earthdial", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "rsvqa/authors" in done.output and "predictions.png" not in done.output
    written = json.loads((out / "scores.json").read_text())
    assert (written["data_set"], written["intervals"]) == (None, "over lines: the file names no image")
    page = (out / "evaluation.html").read_text()
    assert "Is there?" in page and "<image" not in page
    with pytest.raises(UserError, match="carry their truth and are joined to no data set: `mmrs score"):
        rescore(RescoreConfig(path, data.location, out, layout="earthdial"))
    with pytest.raises(UserError, match=r"carry no truth; name the data set: `mmrs score .* DATA --layout geochat"):
        rescore(RescoreConfig(path, None, out, layout="geochat"))
    with pytest.raises(UserError, match=r"earthdail.*earthdial"):
        find_layout("earthdail")


def test_layouts_are_registered_once_and_say_what_they_read():
    assert [layout.name for layout in layouts()] == ["mmrs", "earthdial", "geochat", "vrsbench"]
    assert all(len(layout.summary) > 40 for layout in layouts())
    with pytest.raises(ValueError, match="already"):
        register_layout(find_layout("earthdial"))


def test_the_drawing_of_boxes_without_an_image_is_shown_alone(tmp_path):
    row = {
        "question": "Where?",
        "answer": "[[1, 2, 30, 40, 9]]",
        "gt_bbox": "[[1, 2, 30, 40, 0]]",
        "size_group": "small",
    }
    rescore(RescoreConfig(lines(tmp_path / "b.jsonl", [row]), None, tmp_path / "out", layout="earthdial"))
    page = (tmp_path / "out" / "evaluation.html").read_text()
    assert page.count("<polygon") == 2 and "<image" not in page


def test_lines_in_the_words_of_another_family_are_read_by_its_adapter(data, tmp_path):
    scope, adapter = QuestionScope(tasks=("detection-hbb",)), find_adapter("internvl")
    questions = load_questions(data, scope)
    rows = [{"id": question.id, "text": adapter.reference(question)} for question in questions]
    path = lines(tmp_path / "answers.jsonl", rows)
    read = RescoreConfig(path, data.location, tmp_path / "out", scope, adapter="internvl")
    (row,) = rescore(read).rows
    (unread,) = rescore(RescoreConfig(path, data.location, tmp_path / "two", scope)).rows
    assert (row.value, row.failed) == (1, 0) and unread.value == 0
    kept = tmp_path / "out" / "answers.jsonl"
    assert [answer.said for answer in read_answers(kept)] == [row["text"] for row in rows]
    # Once in our words they are scored without the adapter, and with it again from what was said.
    for more, name in (({}, "three"), ({"adapter": "internvl"}, "four")):
        (again,) = rescore(RescoreConfig(kept, data.location, tmp_path / name, scope, **more)).rows
        assert again == row
    with pytest.raises(UserError, match="would be written over"):
        rescore(RescoreConfig(kept, data.location, tmp_path / "out", scope, adapter="internvl"))
    with pytest.raises(UserError, match="says itself how boxes are written"):
        rescore(RescoreConfig(path, data.location, tmp_path / "out", scope, (), "geochat", "internvl"))


def test_images_of_one_name_in_two_folders_are_told_apart_by_their_path():
    images = {"a/one": 1, "b/one": 2, "b/two": 3}
    assert image_of("x/TWO.png", images) == "b/two"
    assert image_of("b/one.tif", images) == "b/one"
    assert image_of("one.png", images) == "one"
