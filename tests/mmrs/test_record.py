"""The schema refuses what would be wrong later, and equal records have equal bytes."""

import pytest
from pydantic import ValidationError

from mmrs.record import AnnotatedObject, Dialogue, ImageInfo, Record, Window

IMAGE = {"width": 4, "height": 4, "mode": "L", "sha256": "a" * 64}
QUAD = ((0, 0), (2, 0), (2, 2), (0, 2))


def record(**changes) -> Record:
    content = {
        "id": "s/train/x",
        "source": "s",
        "split": "train",
        "sensor": "sar",
        "image": IMAGE,
        "licence": "unknown",
    }
    return Record.model_validate(content | changes)


def test_round_trip_is_exact():
    value = record(objects=[{"category": "car", "label": "Car", "quad": QUAD, "flags": {"rotated": [1.25, 2.0]}}])
    assert Record.from_json(value.to_json()) == value
    assert Record.from_json(value.to_json()).to_json() == value.to_json()
    assert b'"schema":"mmrs-record-1"' in value.to_json()


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "only-two/parts"},
        {"unknown_key": 1},
        {"image": IMAGE | {"sha256": "short"}},
        {"image": IMAGE | {"width": 0}},
        {"image": IMAGE | {"window": {"x": 0, "y": 0, "width": 2, "height": 2}}},
        {"objects": [{"category": "car", "label": "Car", "quad": QUAD[:3]}]},
        {"objects": [{"category": "car", "label": "Car", "quad": ((float("nan"), 0), *QUAD[1:])}]},
        {"objects": [{"category": "car", "label": "Car", "quad": QUAD, "hbb": [2, 0, 1, 3]}]},
        {"expressions": [{"text": "the car", "object": 0}]},
        {"sensor": "lidar"},
    ],
)
def test_refusals(changes):
    with pytest.raises(ValidationError):
        record(**changes)


@pytest.mark.parametrize("senders", [("gpt", "human"), ("human",), ("human", "human")])
def test_turns_alternate(senders):
    with pytest.raises(ValidationError):
        Dialogue.model_validate({"task": "captioning", "turns": [{"from": s, "value": "x"} for s in senders]})


def test_extent_prefers_the_true_box():
    quad = ((1, 0), (3, 1), (2, 3), (0, 2))
    assert AnnotatedObject(category="a", label="a", quad=quad).extent() == (0, 0, 3, 3)
    assert AnnotatedObject(category="a", label="a", quad=quad, hbb=(0, 0, 4, 4)).extent() == (0, 0, 4, 4)


def test_a_tile_names_its_scene():
    window = Window(x=0, y=0, width=4, height=4)
    assert ImageInfo(**IMAGE, window=window, parent="P0001").parent == "P0001"
