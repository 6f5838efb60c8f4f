"""Scores of boxes: average precision against pycocotools and closed formulas, ignored regions, order, quads."""

import contextlib
import io
from dataclasses import replace

import numpy as np
import pytest

from mmrs.errors import UserError
from tests.support.questions import answer, ask, make_object, make_record, protocol
from training.evaluation.boxes.outcome import PredictedBoxes, outcome
from training.evaluation.boxes.scores import score_f1, score_ranked_ap, score_tied_ap
from training.evaluation.metrics.average_precision import ranked_precision, tied_precision
from training.evaluation.tasks import find_task
from training.evaluation.tasks.detection import HorizontalDetection

SHAPES = HorizontalDetection.shapes
CLASSES = tuple(f"class {number}" for number in range(20))


def random_box(generator):
    # On a coarse grid, so that equal IoUs and exact hits occur.
    x, y = generator.integers(0, 12, 2) * 8
    width, height = generator.integers(1, 5, 2) * 8
    return float(x), float(y), float(x + width), float(y + height)


def random_case(seed, images=6):
    """Records with objects and crowds of 20 classes, and boxes predicted for each, with confidences."""
    generator = np.random.default_rng(seed)
    records, predictions = [], []
    for image in range(images):
        objects, said = [], []
        for category in CLASSES:
            for _ in range(generator.integers(0, 4)):
                box = random_box(generator)
                objects.append(make_object(category, box, ignore=bool(generator.random() < 0.2)))
                if generator.random() < 0.6:
                    moved = np.array(box) + generator.integers(-1, 2, 4) * 2
                    said.append((category, tuple(moved.tolist())))
            said += [(category, random_box(generator)) for _ in range(generator.integers(0, 2))]
        confidences = generator.random(len(said)).round(1)
        records.append(make_record(image, objects, size=(200, 200)))
        predictions.append([(name, box, float(c)) for (name, box), c in zip(said, confidences, strict=True)])
    return records, predictions


def coco_values(records, predictions):
    """AP at 0.5 of each class by pycocotools."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, results = [], []
    for image, (record, said) in enumerate(zip(records, predictions, strict=True)):
        for item in record.objects:
            x1, y1, x2, y2 = item.hbb
            truth.append(
                {
                    "id": len(truth) + 1,
                    "image_id": image,
                    "category_id": CLASSES.index(item.category),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": int(item.ignore),
                }
            )
        results += [
            {
                "image_id": image,
                "category_id": CLASSES.index(name),
                "bbox": [b[0], b[1], b[2] - b[0], b[3] - b[1]],
                "score": confidence,
            }
            for name, b, confidence in said
        ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": number} for number in range(len(records))],
            "annotations": truth,
            "categories": [{"id": number, "name": name} for number, name in enumerate(CLASSES)],
        }
        coco.createIndex()
        scorer = COCOeval(coco, coco.loadRes(results), "bbox")
        scorer.params.iouThrs = np.array([0.5])
        scorer.params.maxDets = [1, 10, 10_000]
        scorer.params.areaRng, scorer.params.areaRngLbl = [[0, 1e10]], ["all"]
        scorer.evaluate()
        scorer.accumulate()
    precision = scorer.eval["precision"][0, :, :, 0, -1]
    return {name: float(precision[:, number].mean()) for number, name in enumerate(CLASSES)}


def with_boxes(records, predictions, monkeypatch):
    """Answered questions whose answers are read as the predicted boxes, without the rounding of text."""
    questions = ask("detection-hbb", records, CLASSES)
    read = {}
    for question, said in zip(questions, predictions, strict=True):
        extents = np.array([box for _, box, _ in said], dtype=np.float64).reshape(-1, 4)
        quads = extents[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
        confidences = np.array([confidence for _, _, confidence in said])
        read[question.id] = PredictedBoxes(quads, extents, tuple(name for name, _, _ in said), confidences, 0)
    for module in ("outcome", "scores"):
        name = f"training.evaluation.boxes.{module}.predicted_boxes"
        monkeypatch.setattr(name, lambda pair: read[pair.question.id])
    return answer(questions, ["stated by the test"] * len(questions))


@pytest.mark.parametrize("seed", range(10))
def test_ap_of_ranked_boxes_is_that_of_pycocotools(seed, monkeypatch):
    """A hundred classes a seed, a thousand in all, with crowds, misses, doubles, equal IoUs and equal confidences."""
    for part in range(5):
        records, predictions = random_case(100 * seed + part)
        expected = coco_values(records, predictions)
        pairs = with_boxes(records, predictions, monkeypatch)
        monkeypatch.setattr("training.evaluation.boxes.scores.image_draws", lambda images: iter(()))
        found = score_ranked_ap(pairs, SHAPES, 0.5, by_confidence=True).details["by_class"]
        assert {name for name, value in expected.items() if value >= 0} == set(found)
        for name, values in found.items():
            assert values["coco101"] == pytest.approx(expected[name], abs=1e-12), name


def test_all_ap_rules_lie_between_their_bounds_and_the_tied_one_is_the_worst_order():
    generator = np.random.default_rng(0)
    for _ in range(200):
        found, wrong = generator.integers(0, 30, 2).tolist()
        positives = found + int(generator.integers(0, 30))
        right = np.array([True] * found + [False] * wrong)
        tied = tied_precision(found, wrong, positives)
        worst = ranked_precision(right[::-1], positives)
        shuffled = ranked_precision(generator.permutation(right), positives)
        if not positives:
            assert tied is None and worst is None and shuffled is None
            continue
        precision, recall = found / max(1, found + wrong), found / positives
        assert tied.area == pytest.approx(precision * recall) and worst.area == pytest.approx(tied.area)
        assert tied.area - 1e-12 <= shuffled.area <= recall + 1e-12
        # The sampled rules agree up to a recall that is a sample itself, where floating point decides.
        assert worst.voc07 == pytest.approx(tied.voc07, abs=1 / 11)
        assert worst.coco101 == pytest.approx(tied.coco101, abs=1 / 101)


@pytest.mark.parametrize(
    ("found", "wrong", "positives", "expected"),
    [(60, 40, 120, (0.6 * 0.5, 0.6 * 6 / 11, 0.6 * 51 / 101)), (72, 8, 90, (0.9 * 0.8, 0.9 * 9 / 11, 0.9 * 81 / 101))],
)
def test_tied_ap_by_hand(found, wrong, positives, expected):
    value = tied_precision(found, wrong, positives)
    assert (value.area, value.voc07, value.coco101) == pytest.approx(expected)


def test_weights_are_repetitions():
    """A draw counts the boxes of an image as often as it was drawn."""
    generator = np.random.default_rng(3)
    for _ in range(50):
        right, weight = generator.random(12) < 0.5, generator.integers(0, 4, 12)
        whole = ranked_precision(np.repeat(right, weight), float((right * weight).sum()) + 3)
        drawn = ranked_precision(right, float((right * weight).sum()) + 3, weight.astype(float))
        # Within one image's boxes a repetition is a step of its own, so only the area rule may differ between the two.
        assert drawn.coco101 == pytest.approx(whole.coco101, abs=0.2)
        assert drawn.area <= whole.area + 1e-9


SHIPS = [make_object("ship", (100 * n, 100, 100 * n + 60, 160)) for n in range(6)]


def text(objects):
    (question,) = ask("detection-hbb", [make_record("a", objects)])
    return find_task("detection-hbb").reference(question)


PROTOCOLS = [each.name for each in find_task("detection-hbb").protocols]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_right_answers_score_one_and_absence_nothing(name):
    records = [make_record("a", SHIPS), make_record("b", [make_object("car", (0, 0, 50, 50)), *SHIPS[:2]])]
    questions = ask("detection-hbb", records)
    task = find_task("detection-hbb")
    pairs = [
        replace(pair, answer=replace(pair.answer, box_log_probabilities=(-0.1,) * len(pair.question.truth.categories)))
        for pair in answer(questions, map(task.reference, questions))
    ]
    score = protocol("detection-hbb", name).score
    assert score(pairs).value == 1 and score(pairs).interval == (1, 1)
    assert score(answer(questions, task.constant_answers(questions), box_log_probabilities=())).value == 0


# The other thresholds of the same rules take seconds of draws each.
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name.endswith("-50") else pytest.mark.nightly)
        for name in PROTOCOLS
        if "ap-nc" not in name
    ],
)
def test_scores_do_not_depend_on_the_order_of_images(name):
    records, predictions = random_case(7)
    records.append(make_record("last", [make_object(CLASSES[0], (10, 10, 50, 50))], size=(200, 200)))
    predictions.append([(CLASSES[0], (10, 10, 50, 50), 1.0)])
    questions = ask("detection-hbb", records, CLASSES)
    texts, probabilities = [], []
    for question, said in zip(questions, predictions, strict=True):
        written = [
            f"<p>one {label}</p>{question.form.dialect.format_hbb([box], question.frame)}" for label, box, _ in said
        ]
        texts.append("There are " + ", ".join(written) + " in the image.")
        # All different, since equal ones are ranked by their place in the file.
        probabilities.append(tuple(-1 - 0.001 * place for place in range(len(said))))
    pairs = [
        replace(pair, answer=replace(pair.answer, box_log_probabilities=tuple(p - number * 1e-5 for p in row)))
        for number, (pair, row) in enumerate(zip(answer(questions, texts), probabilities, strict=True))
    ]
    score = protocol("detection-hbb", name).score
    first, second = score(pairs), score(pairs[::-1])
    assert first.value == second.value and 0 < first.value < 1
    # Draws name images by their place, so the interval is another draw of the same distribution.
    assert first.interval == pytest.approx(second.interval, abs=0.05)


def test_confidences_rank_boxes_and_their_absence_is_said():
    questions = ask("detection-hbb", [make_record("a", SHIPS[:2])])
    said = "There are <p>three ships</p>[0.000,0.100,0.060,0.160;x;0.700,0.700,0.800,0.800;0.100,0.100,0.160,0.160]"
    score = protocol("detection-hbb", "detection-hbb/ap-conf-50").score
    sure = answer(questions, [said], box_log_probabilities=(-0.1, -0.2, -9.0, -0.3))
    unsure = answer(questions, [said], box_log_probabilities=(-0.1, -0.2, -0.01, -0.3))
    assert score(sure).value == 1 and score(unsure).value == pytest.approx(2 / 3)
    with pytest.raises(UserError, match=r"made/test/a#detection-hbb-0: no box_log_probabilities.*ap-tied"):
        score(answer(questions, [said]))


def test_inside_ignored_regions_nothing_is_wrong():
    """A crowd forgives its own class, a region without a class every class, a difficult object its own class."""
    objects = [
        *SHIPS[:1],
        make_object("ship", (0, 500, 400, 900), ignore=True),
        make_object("dontcare", (500, 500, 900, 900), ignore=True),
        make_object("ship", (300, 100, 360, 160), difficult=True),
    ]
    questions = ask("detection-hbb", [make_record("a", objects)])

    def wrong(category, box):
        said = f"There is <p>one ship</p>[0.000,0.100,0.060,0.160] and <p>one {category}</p>[{box}] in the image."
        details = score_f1(answer(questions, [said]), SHAPES, 0.5).details
        assert details["true_positives"] == 1 and details["false_negatives"] == 0
        return details["false_positives"]

    assert wrong("ship", "0.100,0.600,0.120,0.620") == 0
    assert wrong("car", "0.100,0.600,0.120,0.620") == 1
    assert wrong("car", "0.600,0.600,0.620,0.620") == 0
    assert wrong("ship", "0.300,0.100,0.360,0.160") == 0
    assert wrong("car", "0.300,0.100,0.360,0.160") == 1
    assert wrong("ship", "0.380,0.600,0.430,0.650") == 1
    assert find_task("detection-hbb").reference(questions[0]).count(";") == 1


def test_a_bow_tie_is_the_quad_of_its_corners():
    record = make_record("a", [make_object("ship", (100, 100, 300, 200))])
    questions = ask("detection-obb", [record])
    crossed = "There is <p>one ship</p>[0.100,0.100,0.300,0.200,0.300,0.100,0.100,0.200] in the image."
    backwards = "There is <p>one ship</p>[0.100,0.100,0.100,0.200,0.300,0.200,0.300,0.100] in the image."
    for said in (crossed, backwards):
        assert protocol("detection-obb", "detection-obb/f1-50").score(answer(questions, [said])).value == 1


@pytest.mark.parametrize("scorer", [score_tied_ap, lambda *each: score_ranked_ap(*each, by_confidence=False)])
def test_nothing_to_find_is_undefined(scorer):
    questions = ask("detection-hbb", [make_record("a")])
    scores = scorer(answer(questions, ["There are no objects in the image."]), SHAPES, 0.5)
    assert scores.value is None and scores.interval is None and scores.details["by_class"] == {}


def test_details_by_class_and_by_size_add_up():
    records, predictions = random_case(2)
    with pytest.MonkeyPatch.context() as patch:
        details = score_f1(with_boxes(records, predictions, patch), SHAPES, 0.5).details
    by_class = details["by_class"].values()
    assert sum(row["found"] for row in by_class) == details["true_positives"] > 0
    assert sum(row["wrong"] for row in by_class) == details["false_positives"] > 0
    wanted = sum(not item.ignore for record in records for item in record.objects)
    assert sum(row["objects"] for row in details["recall_by_size"].values()) == wanted
    assert sum(row["objects"] for row in by_class) == wanted


def test_matching_by_rank_lets_the_surer_box_choose_first():
    truth = ask("detection-hbb", [make_record("a", SHIPS[:1])])[0].truth
    boxes = np.array([[0, 100, 60, 160], [4, 100, 64, 160]], dtype=float)
    predicted = PredictedBoxes(
        boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2), boxes, ("ship", "ship"), np.array([0.2, 0.9]), 0
    )
    assert outcome(truth, predicted, SHAPES, 0.5).found.tolist() == [0, -1]
    assert outcome(truth, predicted, SHAPES, 0.5, by_confidence=True).found.tolist() == [-1, 0]


PARTLY = {"metadata": {"unread_rows": 2}}
SHIP, CAR = make_object("ship", (100, 100, 300, 200)), make_object("car", (500, 500, 600, 700))
SHIP_BOX, OTHER_BOX = "0.100,0.100,0.300,0.200", "0.800,0.800,0.900,0.900"


def partly_scores(name, text, objects=(SHIP, CAR)):
    """Scores of one text about an image whose rows were all understood, and about one with two that were not."""
    values = []
    for fields in ({}, PARTLY):
        questions = ask("detection-hbb", [make_record("a", objects, **fields)])
        values.append(protocol("detection-hbb", name).score(answer(questions, [text] * len(questions))))
    return values


@pytest.mark.parametrize("name", ["f1-50", "ap-tied-50", "ap-nc-50"])
def test_in_an_image_with_unread_rows_objects_are_missed_and_no_box_is_wrong(name):
    """The box beside the ship may be what a row meant; the car is missed in either case."""
    text = f"There are <p>two ships</p>[{OTHER_BOX};{SHIP_BOX}] in the image."
    whole, partly = partly_scores(f"detection-hbb/{name}", text)
    (alone, _) = partly_scores(f"detection-hbb/{name}", f"There is <p>one ship</p>[{SHIP_BOX}] in the image.")
    assert whole.value < partly.value == alone.value < 1


def test_details_of_an_image_with_unread_rows():
    text = f"There are <p>three ships</p>[{SHIP_BOX};{OTHER_BOX};x] in the image."
    whole, partly = partly_scores("detection-hbb/f1-50", text)
    kept = ("true_positives", "false_positives", "false_negatives", "forgiven", "images_with_unread_rows")
    assert [whole.details[key] for key in kept] == [1, 2, 1, 0, 0]
    # What is no box is wrong everywhere: no row can have meant it.
    assert [partly.details[key] for key in kept] == [1, 1, 1, 1, 1]
    assert whole.details["count_accuracy"] == 0 and partly.details["count_accuracy"] == 1


def test_an_image_of_which_no_row_was_understood_is_neither_right_nor_wrong():
    text = f"There is <p>one ship</p>[{OTHER_BOX}] in the image."
    whole, partly = partly_scores("detection-hbb/all-right-50", text, objects=())
    assert whole.value == 0 and partly.value is None
    text = f"There are <p>two ships</p>[{SHIP_BOX};{OTHER_BOX}] in the image."
    whole, partly = partly_scores("detection-hbb/all-right-50", text, objects=(SHIP,))
    assert (whole.value, partly.value) == (0, 1)
