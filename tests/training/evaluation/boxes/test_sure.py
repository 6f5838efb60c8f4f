"""F1 of sure boxes: the best threshold against trying them all, and that no scene has a say in its own."""

from dataclasses import replace

import numpy as np
import pytest

from mmrs.record import Window
from tests.support.questions import answer, ask, make_object, make_record, protocol
from tests.training.evaluation.boxes.test_scores import CLASSES, random_case
from training.evaluation.boxes.outcome import outcome, outcomes
from training.evaluation.boxes.sure import best_confidence, score_sure_f1, sure_counts
from training.evaluation.metrics.matching import f1_score
from training.evaluation.tasks.detection import HorizontalDetection

SHAPES = HorizontalDetection.shapes


def answered(records, predictions):
    """The predictions as answers, with their confidences."""
    questions = ask("detection-hbb", records, CLASSES)
    texts = []
    for question, said in zip(questions, predictions, strict=True):
        written = [
            f"<p>one {label}</p>{question.form.dialect.format_hbb([box], question.frame)}" for label, box, _ in said
        ]
        texts.append("There are " + ", ".join(written) + " in the image.")
    return [
        replace(
            pair, answer=replace(pair.answer, box_log_probabilities=tuple(np.log(sure + 0.01) for *_, sure in said))
        )
        for pair, said in zip(answer(questions, texts), predictions, strict=True)
    ]


def kept_alone(image, least):
    """The outcome when only boxes of that confidence had ever been said."""
    predicted, kept = image.predicted, image.predicted.confidences >= least
    fewer = replace(
        predicted,
        quads=predicted.quads[kept],
        extents=predicted.extents[kept],
        categories=tuple(name for name, sure in zip(predicted.categories, kept, strict=True) if sure),
        confidences=predicted.confidences[kept],
    )
    return outcome(image.truth, fewer, SHAPES, 0.5, by_confidence=True)


@pytest.mark.parametrize("seed", range(6))
def test_the_best_threshold_is_that_of_trying_all(seed):
    images = outcomes(answered(*random_case(seed)), SHAPES, 0.5, ranked=True)
    tried = {}
    for least in {0.0, *np.concatenate([image.predicted.confidences for image in images]).tolist()}:
        counts = [sure_counts(kept_alone(image, least), 0.0) for image in images]
        assert counts == [sure_counts(image, least) for image in images]
        tried[least] = f1_score(counts)
    best = best_confidence(images)
    assert tried[best] == max(tried.values())
    assert all(value < tried[best] for least, value in tried.items() if 0 < least < best)


def test_a_scene_has_no_say_in_its_own_threshold():
    """A scene whose unsure box is right alone cannot lower the threshold that it is scored with."""
    ship, other = make_object("ship", (100, 100, 300, 200)), make_object("ship", (500, 500, 700, 700))
    records = [make_record(f"scene {number}", [ship]) for number in range(40)]
    box, wrong = "0.100,0.100,0.300,0.200", "0.500,0.500,0.700,0.700"
    said = f"There are <p>two ships</p>[{box};{wrong}] in the image."

    def found(objects_of_first):
        changed = [make_record("scene 0", objects_of_first), *records[1:]]
        pairs = answer(ask("detection-hbb", changed), [said] * 40, box_log_probabilities=(-0.1, -3.0))
        return score_sure_f1(pairs, SHAPES, 0.5)

    before, after = found([ship]), found([ship, other])
    assert before.value == 1
    assert after.details["least_confidence_by_half"] == before.details["least_confidence_by_half"]
    assert (after.details["true_positives"], after.details["false_negatives"]) == (40, 1)
    plain = protocol("detection-hbb", "detection-hbb/f1-50").score
    pairs = answer(ask("detection-hbb", records), [said] * 40, box_log_probabilities=(-0.1, -3.0))
    assert plain(pairs).value == pytest.approx(2 / 3)


def test_windows_of_a_scene_lie_in_one_half():
    """Were they parted, half of the scene's windows would choose for the other half."""
    ship = make_object("ship", (10, 10, 60, 60))
    records = [make_record(f"w{x}", [ship]) for x in range(20)]
    tiles = [
        record.model_copy(
            update={
                "image": record.image.model_copy(
                    update={"parent": "scene.png", "window": Window(x=x, y=0, width=1000, height=1000)}
                )
            }
        )
        for x, record in enumerate(records)
    ]
    said = "There is <p>one ship</p>[0.010,0.010,0.060,0.060] in the image."
    alone = score_sure_f1(
        answer(ask("detection-hbb", tiles), [said] * 20, box_log_probabilities=(-1.0,)), SHAPES, 0.5
    ).details["least_confidence_by_half"]
    parted = score_sure_f1(
        answer(ask("detection-hbb", records), [said] * 20, box_log_probabilities=(-1.0,)), SHAPES, 0.5
    ).details["least_confidence_by_half"]
    assert sorted(alone) == [0.0, pytest.approx(np.exp(-1))] and parted == pytest.approx([np.exp(-1)] * 2)


def test_nothing_said_and_nothing_to_find():
    questions = ask("detection-hbb", [make_record("a"), make_record("b")])
    none = answer(questions, ["There are no objects in the image."] * 2, box_log_probabilities=())
    assert score_sure_f1(none, SHAPES, 0.5).value is None
    assert best_confidence([]) == 0
