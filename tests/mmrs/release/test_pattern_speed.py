"""Texts of strangers are searched in time in proportion to their length, with the results of the plain patterns."""

import re
import time

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrs.geometry import SquareFrame
from mmrs.instructions.answers import box_spans, parse_detections
from mmrs.instructions.class_names import classes_of_phrase
from mmrs.instructions.dialects import dialect
from mmrs.release.compare import plain_text
from mmrs.release.content import infer_task, parse_row, read_number_groups

FOLDED = re.IGNORECASE | re.DOTALL
REGION = re.compile(r"short description.*?(\[[^\[\]]*\])\s*$", FOLDED)
GROUNDING = re.compile(
    r"bounding box coordinate.*?described as:\s*(?P<text>.*?)\s*in this remote sensing image", FOLDED
)
DETECTION = re.compile(r"\bthere (is|are)\b.*\[", FOLDED)
BOX = re.compile(r"(?:\s*\d*\.?\d+\s*,){3}(?:(?:\s*\d*\.?\d+\s*,){4})?\s*\d*\.?\d+\s*", re.ASCII)
GROUP = re.compile(r"(?P<phrase>[^\[\]]*)\[(?P<boxes>[^\[\]]*)(?:\]|$)")
PIECES = (
    "short description", "Bounding box coordinate", "described as:", "in this remote sensing image", "there is", "are",
    "[", "]", "0.1", ".5", "12", "1.", ",", ";", " ", "\n", "ship", "two", "a", "There Are",
)  # fmt: skip
texts = st.lists(st.sampled_from(PIECES), max_size=14).map("".join)
FRAME, DIALECT = SquareFrame(1, 1), dialect("mmrs1m")


@given(texts, texts)
def test_tasks_are_those_of_the_plain_patterns(prompt, answer):
    expected = "vqa"
    if REGION.search(prompt):
        expected = "region-captioning"
    elif GROUNDING.search(prompt):
        expected = "visual-grounding"
    elif DETECTION.search(answer):
        expected = "detection"
    assert infer_task(prompt, answer).startswith(expected)
    turns = [{"from": "human", "value": f"x{prompt}"}, {"from": "gpt", "value": f"x{answer}"}]
    content = parse_row(orjson.dumps({"image": "a.jpg", "conversations": turns}))
    (pair,) = content.pairs
    if pair.task == "visual-grounding":
        described = GROUNDING.search(f"x{prompt}")["text"]
        assert all(group.name == described for group in pair.groups)
    if pair.task == "region-captioning":
        inside = REGION.search(f"x{prompt}")[1][1:-1]
        assert (pair.groups[0].numbers, pair.groups[0].unreadable) == read_number_groups(inside)


@given(texts)
def test_groups_and_boxes_are_those_of_the_plain_patterns(text):
    found = list(GROUP.finditer(text))
    parsed = parse_detections(text, FRAME, (), DIALECT)
    assert len(parsed) == len(found)
    phrases = [match["phrase"].strip() for match in found]
    assert all(phrase.endswith(group.name) for phrase, group in zip(phrases, parsed, strict=True))
    spans = [(m.start("boxes"), m.end("boxes")) for m in found if m["boxes"].strip() and ";" not in m["boxes"]]
    assert set(spans) <= set(box_spans(text))
    pieces = [piece for piece in text.split(";") if piece.strip()]
    assert len(read_number_groups(text)[0]) == sum(BOX.fullmatch(piece) is not None for piece in pieces)


@given(texts)
def test_plain_text_is_that_of_the_plain_patterns(text):
    expected = text.casefold()
    expected = " ".join(expected.replace("_", " ").split()).rstrip(" .")
    expected = re.sub(r"\d*\.\d+", lambda match: f"{round(float(match[0]), 2):.2f}", expected)
    assert plain_text(text) == re.sub(r"\s*([\[\],;:.?!])\s*", r"\1", expected).rstrip(".?")


LONG = {
    "blanks": "x" + " " * 300_000 + "y",
    "there is": "there is " * 60_000,
    "region": "short description [" * 30_000,
    "grounding": "bounding box coordinate described as: " * 20_000,
    "no bracket": "ship " * 60_000,
    "brackets": "[" * 300_000,
    "closed": "]" * 300_000,
    "groups": "a [0.1,0.2,0.3,0.4] " * 10_000,
    "digits": "there is a ship [" + "1" * 300_000 + "x",
    "points": "1" * 300_000 + "x." * 1000,
}


@pytest.mark.parametrize("name", LONG)
def test_no_text_takes_more_than_its_length_asks_for(name):
    text = LONG[name]
    started = time.process_time()
    for prompt, answer in ((text, "a"), ("q", text), (text, text)):
        turns = [{"from": "human", "value": prompt}, {"from": "gpt", "value": answer}]
        parse_row(orjson.dumps({"image": "a.jpg", "conversations": turns}))
    plain_text(text)
    box_spans(text)
    classes_of_phrase(text, ("ship", "small ship"))
    assert time.process_time() - started < 3
