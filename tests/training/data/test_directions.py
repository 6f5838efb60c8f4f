"""Words of direction move with the image, or forbid the turn; the oracle is a picture that is really turned."""

from __future__ import annotations

import numpy as np
import pytest

from mmrs.instructions.symmetry import IDENTITY, Symmetry
from training.data.augment import Augmentation, turn_square
from training.data.directions import turn_directions

SYMMETRIES = [
    Symmetry(swap=bool(number & 4), mirror_x=bool(number & 2), mirror_y=bool(number & 1)) for number in range(8)
]  # fmt: skip
ROWS, COLUMNS = ("top", "", "bottom"), ("left", "", "right")
PLACES = [(row, column) for row in range(3) for column in range(3) if (row, column) != (1, 1)]


def words_for(row: int, column: int) -> str:
    return " ".join(word for word in (ROWS[row], COLUMNS[column]) if word)


@pytest.mark.parametrize("symmetry", SYMMETRIES)
@pytest.mark.parametrize("text", ["A ship in the {} corner.", "{} part: a ship", "There is a ship on the {}."])
def test_the_words_say_where_the_ship_is_in_the_turned_picture(text, symmetry):
    for row, column in PLACES:
        pixels = np.zeros((1, 3, 3), np.uint8)
        pixels[0, row, column] = 255
        turned = turn_square(pixels, Augmentation(symmetry=symmetry))
        _, row_now, column_now = np.unravel_index(int(turned.argmax()), turned.shape)
        if "corner" in text and 1 in (row, column):
            continue
        said = turn_directions(text.format(words_for(row, column)), symmetry)
        assert said == text.format(words_for(int(row_now), int(column_now)))


@pytest.mark.parametrize(
    ("text", "symmetry", "expected"),
    [
        ("Upper-left and LOWER RIGHT corner", Symmetry(mirror_x=True), "Upper-right and LOWER LEFT corner"),
        ("the upper half", Symmetry(swap=True), "the left half"),
        ("the upper half", Symmetry(mirror_x=True), "the upper half"),
        ("two roads cross it horizontally", Symmetry(swap=True), "two roads cross it vertically"),
        ("a vertical road", Symmetry(mirror_y=True), "a vertical road"),
        ("trees above the road, cars below a bridge", Symmetry(mirror_y=True),
         "trees below the road, cars above a bridge"),
        ("Is a road to the right of a house?", Symmetry(mirror_x=True), "Is a road to the left of a house?"),
        ("the horizontal bounding box of the ship", Symmetry(swap=True), "the horizontal bounding box of the ship"),
        ("at the top of this image", Symmetry(swap=True, mirror_x=True), "at the right of this image"),
    ],
)  # fmt: skip
def test_a_phrase_that_can_mean_but_one_thing_is_rewritten(text, symmetry, expected):
    assert turn_directions(text, symmetry) == expected


@pytest.mark.parametrize(
    "text",
    [
        "cars on top of the roof", "the plane left", "the road bends to the right.", "facing north-east",
        "go clockwise", "the left lane", "is it right", "the leftmost ship", "at the top of the hill",
        "lower vegetation", "a ship at the top left, sailing north",
    ],
)  # fmt: skip
def test_a_word_that_may_mean_something_else_forbids_the_turn(text):
    assert turn_directions(text, Symmetry(mirror_x=True)) is None


@pytest.mark.parametrize("text", ["trees above the road", "Is a road to the right of a house?"])
def test_a_relation_does_not_follow_a_swap_of_the_axes(text):
    assert turn_directions(text, Symmetry(swap=True)) is None


@pytest.mark.parametrize("text", ["a built-up area", "rooftops", "the topography", "40 rights of way", "diagonal"])
def test_words_that_are_no_direction_stay(text):
    assert turn_directions(text, SYMMETRIES[7]) == text


@pytest.mark.parametrize("text", ["at the top left", "in the bottom part", "Upper right corner", "on the left"])
def test_turning_there_and_back_is_the_text(text):
    """Each mirror image and the swap is its own inverse; upper and lower survive as long as they stay so."""
    for symmetry in (IDENTITY, Symmetry(mirror_x=True), Symmetry(mirror_y=True), Symmetry(swap=True)):
        assert turn_directions(turn_directions(text, symmetry), symmetry) == text
