"""The model of these tests as the package has it and, in the nightly run, as a published folder brings it."""

import pytest
import torch
from transformers.dynamic_module_utils import get_class_from_dynamic_module

from tests.support.models import left_padded
from training.model import initialise
from training.model.published.modelling_code import AUTO_MAP

QUESTIONS = ("Where is the car?", "What? What? What?")


@pytest.fixture(params=["package", pytest.param("published", marks=pytest.mark.nightly)])
def model(request, make_config, tmp_path):
    made = initialise(make_config(), seed=0).eval()
    if request.param == "package":
        return made
    made.save_pretrained(tmp_path)
    kind = get_class_from_dynamic_module(AUTO_MAP["AutoModelForImageTextToText"], str(tmp_path))
    assert not kind.__module__.startswith("training.")
    return kind.from_pretrained(tmp_path).eval()


@pytest.fixture
def rows(processor):
    """Two prompts of an image and a question, of different lengths."""
    return [processor.encode_prefix(True) + processor.encode_dialogue([("human", asked)])[0] for asked in QUESTIONS]


@pytest.fixture
def batch(processor, random_pixels, rows):
    """Both prompts, the shorter one padded on its left."""
    return dict(left_padded(processor, rows)) | {"pixel_values": random_pixels(2)}


@pytest.fixture
def one(random_pixels, rows):
    """The first prompt alone."""
    return {"input_ids": torch.tensor([rows[0]]), "pixel_values": random_pixels(2)[:1]}
