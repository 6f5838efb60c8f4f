"""Boxes as families of models write them, read back by readers of the test's own: within half a bin, per axis."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from mmrs.export.chat.earthdial import EARTHDIAL_STYLE
from mmrs.export.chat.florence2 import _STYLE as FLORENCE
from mmrs.export.chat.geochat import GEOCHAT_STYLE
from mmrs.export.chat.internvl import INTERNVL_STYLE
from mmrs.export.chat.ms_swift import _STYLE as MS_SWIFT
from mmrs.export.chat.paligemma import _STYLE as PALIGEMMA
from mmrs.export.chat.qwen2_5_vl import QWEN2_5_VL_STYLE
from mmrs.export.chat.qwen3_vl import QWEN3_VL_STYLE
from mmrs.export.format import ExportPart
from mmrs.export.frames import angle_boxes, resized_for_qwen
from mmrs.export.style import HOLDS_A_MARK, NO_ORIENTED_FORM
from mmrs.export.wording import Wording
from mmrs.geometry import quad_from_hbb
from mmrs.instructions.dialects import dialect
from mmrs.instructions.render import RenderOptions, render
from mmrs.instructions.templates import TEMPLATES
from mmrs.record import Record

MAX_PIXELS = 12_845_056


def record(objects=(), size=(1000, 500), tasks=("detection-hbb",), **known):
    """A record with the dialogues that a build gives it; objects are (class, box or quad)."""
    things = []
    for name, numbers in objects:
        is_box = len(numbers) == 4
        quad = quad_from_hbb([numbers])[0].tolist() if is_box else np.reshape(numbers, (4, 2)).tolist()
        things.append({"category": name, "label": name, "quad": quad, "hbb": numbers if is_box else None})
    bare = Record.model_validate(
        {
            "id": "toy/train/a",
            "source": "toy",
            "split": "train",
            "sensor": "optical",
            "licence": "CC0-1.0",
            "image": {"width": size[0], "height": size[1], "mode": "RGB", "sha256": "0" * 64},
            "objects": things,
            **known,
        }
    )
    options = RenderOptions(dialect("mmrs"), frozenset(tasks), max_objects_per_dialogue=60)
    return bare.model_copy(update={"dialogues": render(bare, options).dialogues})


def part(tmp_path, **fields):
    return ExportPart(
        tmp_path,
        "train",
        0,
        1,
        ("car", "ship"),
        ("car", "ship"),
        **{"wording": Wording(), "boxes": "", "max_pixels": MAX_PIXELS, **fields},
    )


def styled(style, a_record, tmp_path, **fields):
    (result,) = style([a_record], part(tmp_path, **fields))
    return result


def answers(style, a_record, tmp_path, **fields):
    return [exchange.turns[-1][1] for exchange in styled(style, a_record, tmp_path, **fields).exchanges]


# What a reader of each text needs to know: its numbers, their order, the last number of an axis.
def json_boxes(text):
    return [each["bbox_2d"] for each in json.loads(text)]


def bracketed(text):
    return [list(map(int, row.split(","))) for row in re.findall(r"\[(-?\d+(?:, -?\d+)*)\]", text)]


def braces(text):
    rows = re.findall(r"\{<(-?\d+)><(-?\d+)><(-?\d+)><(-?\d+)>\|<(\d+)>\}", text)
    return [list(map(int, row)) for row in rows]


def yx_tokens(text):
    rows = re.findall(r"<loc(\d{4})><loc(\d{4})><loc(\d{4})><loc(\d{4})>", text)
    return [[int(row[place]) for place in (1, 0, 3, 2)] for row in rows]


def tokens(text):
    numbers = [int(number) + 0.5 for number in re.findall(r"<loc_(\d+)>", text)]
    return [numbers[place : place + 4] for place in range(0, len(numbers), 4)]


READERS = {
    "qwen3-vl": (QWEN3_VL_STYLE, json_boxes, lambda width, height: (1000, 1000)),
    "qwen2.5-vl": (QWEN2_5_VL_STYLE, json_boxes, lambda width, height: resized_for_qwen(width, height, MAX_PIXELS)),
    "internvl": (INTERNVL_STYLE, bracketed, lambda width, height: (1000, 1000)),
    "geochat": (GEOCHAT_STYLE, braces, lambda width, height: (100, 100)),
    "earthdial": (EARTHDIAL_STYLE, bracketed, lambda width, height: (100, 100)),
    "paligemma": (PALIGEMMA, yx_tokens, lambda width, height: (1023, 1023)),
    "florence-2": (FLORENCE, tokens, lambda width, height: (1000, 1000)),
}
SIDES = st.integers(30, 5000)
SHARES = st.lists(st.tuples(*[st.floats(0, 1)] * 4), min_size=1, max_size=4)


@pytest.mark.parametrize("name", sorted(READERS))
@settings(max_examples=40, deadline=None)
@given(width=SIDES, height=SIDES, shares=SHARES)
def test_a_box_read_back_is_within_half_a_bin(name, width, height, shares, tmp_path_factory):
    style, read, last = READERS[name]
    boxes = []
    for x, y, across, down in shares:
        x1, y1 = round(x * (width - 2), 3), round(y * (height - 2), 3)
        boxes.append([x1, y1, x1 + 1 + across * (width - x1 - 1), y1 + 1 + down * (height - y1 - 1)])
    (text,) = answers(style, record([("ship", box) for box in boxes], (width, height)), tmp_path_factory.getbasetemp())
    steps = np.array(last(width, height) * 2)
    found = np.array([row[:4] for row in read(text)])
    exact = np.array(boxes) / [width, height, width, height] * steps
    assert found.shape == exact.shape and np.abs(found - exact).max() <= 0.5 + 1e-6


def test_the_example_of_the_published_formats(tmp_path):
    """One ship at (500, 0)-(750, 250) of 1000 x 500 pixels; texts as the papers, cookbooks and processors have them."""
    one = record([("ship", [500, 0, 750, 250])])
    expected = {
        QWEN3_VL_STYLE: '[{"bbox_2d": [500, 0, 750, 500], "label": "ship"}]',
        QWEN2_5_VL_STYLE: '[{"bbox_2d": [504, 0, 756, 252], "label": "ship"}]',
        INTERNVL_STYLE: "<ref>ship</ref><box>[[500, 0, 750, 500]]</box>",
        GEOCHAT_STYLE: "<p>one ship</p> {<50><0><75><50>|<0>}",
        EARTHDIAL_STYLE: "<ref>1 ship</ref> <box>[[50, 0, 75, 50, 0]]</box>",
        PALIGEMMA: "<loc0000><loc0512><loc0512><loc0767> ship",
        FLORENCE: "ship<loc_500><loc_0><loc_750><loc_500>",
        MS_SWIFT: "<ref-object><bbox>",
    }
    for style, text in expected.items():
        assert answers(style, one, tmp_path) == [text]
    (exchange,) = styled(MS_SWIFT, one, tmp_path).exchanges
    assert exchange.boxes == [[500, 0, 750, 250]] and exchange.labels == ("ship",)


@settings(max_examples=60, deadline=None)
@given(width=SIDES, height=SIDES, most=st.integers(28 * 28 * 4, 20_000_000))
def test_the_resize_is_that_of_the_processor(width, height, most):
    if max(width, height) / min(width, height) > 200:
        return
    expected = smart_resize(height, width, factor=28, min_pixels=3_136, max_pixels=most)
    assert resized_for_qwen(width, height, most) == expected[::-1]


@settings(max_examples=80, deadline=None)
@given(st.floats(100, 900), st.floats(100, 400), st.floats(8, 200), st.floats(8, 200), st.integers(0, 179))
def test_an_angle_box_turned_on_screen_is_the_object(cx, cy, across, down, degrees):
    """The rule of GeoChat's demonstration: its rotation matrix, written out, of the unturned box."""
    theta = math.radians(degrees)
    local = np.array([[-across, -down], [across, -down], [across, down], [-across, down]]) / 2
    turn = np.array([[math.cos(theta), math.sin(theta)], [-math.sin(theta), math.cos(theta)]])
    quad = local @ turn.T + (cx, cy)
    ((x1, y1, x2, y2, angle),) = angle_boxes(quad[None]).tolist()
    assert 0 <= angle < 90
    again = math.radians(angle)
    turn = np.array([[math.cos(again), math.sin(again)], [-math.sin(again), math.cos(again)]])
    corners = (np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]]) - (cx, cy)) @ turn.T + (cx, cy)
    distance = np.abs(corners[:, None] - quad[None]).max(axis=2)
    assert distance.min(axis=1).max() < 1e-6 and distance.min(axis=0).max() < 1e-6


def test_oriented_boxes_have_their_form_or_are_refused(tmp_path):
    quad = [600, 100, 700, 140, 680, 190, 580, 150]
    ship = record([("ship", quad)], tasks=("detection-obb",))
    assert bracketed(answers(INTERNVL_STYLE, ship, tmp_path)[0]) == [[600, 200, 700, 280, 680, 380, 580, 300]]
    assert answers(FLORENCE, ship, tmp_path)[0].count("<loc_") == 8
    assert braces(answers(GEOCHAT_STYLE, ship, tmp_path)[0])[0][4] == 68
    for style in (QWEN3_VL_STYLE, QWEN2_5_VL_STYLE, MS_SWIFT, PALIGEMMA):
        refused = styled(style, ship, tmp_path)
        assert refused.exchanges == [] and refused.left_out == [NO_ORIENTED_FORM]
        (exchange,) = styled(style, ship, tmp_path, obb="envelope").exchanges
        assert exchange.task == "detection-hbb" and "oriented" not in exchange.turns[0][1]
    assert json_boxes(answers(QWEN3_VL_STYLE, ship, tmp_path, obb="envelope")[0]) == [[580, 200, 700, 380]]
    both = record([("ship", quad)], tasks=("detection-hbb", "detection-obb"))
    assert len(answers(QWEN3_VL_STYLE, both, tmp_path, obb="envelope")) == 1


def test_expressions_are_asked_for_and_described(tmp_path):
    known = {"expressions": [{"text": "the long ship", "object": 0}]}
    one = record([("ship", [500, 0, 750, 250])], tasks=("visual-grounding", "region-captioning"), **known)
    said = {
        QWEN3_VL_STYLE: ('[{"bbox_2d": [500, 0, 750, 500], "label": "the long ship"}]', "[500, 0, 750, 500]"),
        INTERNVL_STYLE: ("<ref>the long ship</ref><box>[[500, 0, 750, 500]]</box>", "<box>[[500, 0, 750, 500]]</box>"),
        GEOCHAT_STYLE: ("{<50><0><75><50>|<0>}", "[identify] what is this {<50><0><75><50>}"),
        EARTHDIAL_STYLE: ("[[50, 0, 75, 50, 0]]", "[[50, 0, 75, 50, 0]]"),
        PALIGEMMA: (
            "<loc0000><loc0512><loc0512><loc0767> the long ship",
            "caption <loc0000><loc0512><loc0512><loc0767>",
        ),
        FLORENCE: ("the long ship<loc_500><loc_0><loc_750><loc_500>", "<REGION_TO_DESCRIPTION><loc_500><loc_0>"),
        MS_SWIFT: ("<bbox>", "<bbox>"),
    }
    for style, (answer, asked) in said.items():
        grounding, region = styled(style, one, tmp_path).exchanges
        assert grounding.turns[1][1] == answer and asked in region.turns[0][1]
        assert region.turns[1][1] == "the long ship" and "the long ship" in "".join(grounding.turns[0])


def test_words_that_hold_a_mark_are_left_out_and_counted(tmp_path):
    known = {
        "captions": ["a <bbox> of boats", "a harbour", "<image>"],
        "expressions": [{"text": "a <box>", "object": 0}],
    }
    one = record([("ship", [1, 2, 30, 40])], tasks=("captioning", "visual-grounding"), **known)
    assert styled(MS_SWIFT, one, tmp_path).left_out == [HOLDS_A_MARK]
    assert styled(INTERNVL_STYLE, one, tmp_path).left_out == [HOLDS_A_MARK]
    kept = [exchange.turns for exchange in styled(PALIGEMMA, one, tmp_path).exchanges]
    assert (("human", "caption en"), ("gpt", "a harbour")) in kept


@pytest.mark.parametrize("style", [QWEN3_VL_STYLE, GEOCHAT_STYLE, INTERNVL_STYLE], ids=lambda style: style.name)
def test_regions_of_a_crowd_hold_what_is_said_to_lie_in_them(style, tmp_path):
    """Every object in one region, by its centre, on the grid of the target and not on that of the shards."""
    generator = np.random.default_rng(3)
    boxes = [[x, y, x + 6, y + 6] for x, y in (generator.random((90, 2)) * (990, 490)).round(1).tolist()]
    wording = Wording(max_objects_per_dialogue=20)
    crowd = record([("ship", box) for box in boxes])
    exchanges = styled(replace(style, lists_boxes=True), crowd, tmp_path, wording=wording).exchanges
    last, counted = (100 if style is GEOCHAT_STYLE else 1000), 0
    for exchange in exchanges:
        region, *inside = (row[:4] for row in exchange.boxes)
        low = np.array(region[:2]) / last * (1000, 500)
        high = np.where(np.array(region[2:]) == last, np.inf, np.array(region[2:]) / last * (1000, 500))
        centres = np.array(boxes).reshape(-1, 2, 2).mean(axis=1)
        assert ((centres >= low) & (centres < high)).all(axis=1).sum() == len(inside) <= 20
        counted += len(inside)
    assert counted == len(boxes)


def test_other_wordings_are_those_of_the_shards(tmp_path):
    """With several wordings the same one is chosen as in the shards, dialogue by dialogue."""
    one = record([("ship", [1, 2, 30, 40]), ("car", [50, 60, 90, 90])], captions=["a harbour"])
    options = RenderOptions(
        dialect("mmrs"), frozenset({"captioning", "detection-hbb"}), templates=TEMPLATES["diverse"], seed=5
    )
    one = one.model_copy(update={"dialogues": render(one, options).dialogues})
    wording = Wording(templates="diverse", seed=5)
    exchanges = styled(QWEN3_VL_STYLE, one, tmp_path, wording=wording).exchanges
    assert [each.turns[0][1] for each in exchanges] == [each.turns[0].value for each in one.dialogues]
    assert len(one.dialogues) == 4 and replace(part(tmp_path), wording=wording).wording == wording


def test_records_written_together_are_as_each_alone(tmp_path):
    """Of other sizes, with none, one and several objects."""
    records = [
        record([("ship", [3, 4, 90, 80]), ("car", [5, 5, 9, 30])], (300, 200), ("detection-hbb", "detection-obb")),
        record((), (64, 640)),
        record([("car", [100, 40, 1000, 480])], (1000, 500), ("detection-hbb", "detection-obb")),
    ]
    for style in (
        QWEN2_5_VL_STYLE,
        QWEN3_VL_STYLE,
        GEOCHAT_STYLE,
        EARTHDIAL_STYLE,
        INTERNVL_STYLE,
        FLORENCE,
        PALIGEMMA,
    ):
        assert list(style(records, part(tmp_path))) == [styled(style, one, tmp_path) for one in records]
