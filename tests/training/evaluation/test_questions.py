"""The image of a question: one that cannot be decoded, or not within the bounds, is named."""

import io
from types import SimpleNamespace

import pytest
from PIL import Image

from mmrs.errors import RunFailure
from training.evaluation.questions import question_image

QUESTION = SimpleNamespace(row={}, record=SimpleNamespace(id="toy/test/a"))


def encoded(**options) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (64, 48)).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def test_an_image_within_the_bounds_is_decoded():
    data = SimpleNamespace(image=lambda row: encoded(), location="DIR")
    assert question_image(data, QUESTION).size == (64, 48)


@pytest.mark.parametrize("fault", ["scans", "cut", "no image"])
def test_an_image_that_cannot_be_asked_about_is_named(fault):
    data = encoded(progressive=True)
    last = data.rfind(b"\xff\xda")
    content = {"scans": data[:last] + data[last:-2] * 500 + data[-2:], "cut": data[: last + 3], "no image": b"text"}
    shards = SimpleNamespace(image=lambda row: content[fault], location="DIR")
    with pytest.raises(RunFailure, match=r"image of toy/test/a cannot be decoded: .*`mmrs verify DIR`"):
        question_image(shards, QUESTION)
