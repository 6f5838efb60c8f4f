"""Every option of every source says what it does, which values it takes and which it has."""

import dataclasses

import pytest

import converters
from converters.describe import describe_sources
from converters.options import option_texts


@pytest.mark.parametrize("name", converters.names())
def test_every_option_has_its_sentence_values_and_default(name):
    converter = converters.get(name)
    texts = option_texts(converter)
    assert [text.name for text in texts] == [field.name for field in dataclasses.fields(converter)]
    described = describe_sources(name, False)
    for text in texts:
        assert text.sentence.endswith(".") and len(text.sentence.split()) >= 4, text
        assert text.values and text.default
        assert f"option     {text.name}: {text.sentence}" in described


def test_values_and_defaults_are_those_that_a_user_types():
    texts = {text.name: text for text in option_texts(converters.get("dota"))}
    assert (texts["release"].values, texts["release"].default) == ("1.0, 1.5, 2.0", "1.0")
    assert (texts["tile_size"].values, texts["tile_size"].default) == ("a whole number above 0", "1024")
    assert texts["keep_empty"].values == "a number from 0 to 1"
    shares = {text.name: text for text in option_texts(converters.get("resisc45"))}
    assert (shares["train_share"].values, shares["train_share"].default) == ("a number above 0 below 1", "0.2")
    assert shares["train_share"].sentence.startswith("Share of the images that are train")
    disjoint = {text.name: text for text in option_texts(converters.get("dior-rsvg"))}["image_disjoint"]
    assert (disjoint.values, disjoint.default) == ("true, false", "false")
    (description,) = option_texts(converters.get("generic"))
    assert (description.values, description.default) == ("a file", "none")


def test_a_value_that_is_offered_is_taken():
    for name in converters.names():
        for text in option_texts(converters.get(name)):
            if ", " in text.values:
                for value in text.values.split(", "):
                    converters.get(name, **{text.name: value})
