"""Augmentation: what the text says of the image stays true, and everything is drawn from a key."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmrs.geometry import SquareFrame, canonical_quad
from mmrs.instructions.dialects import DIALECTS
from mmrs.instructions.symmetry import Symmetry
from tests.training.data.test_loader import make_stream, processor, read, same  # noqa: F401
from training.config import AugmentConfig
from training.data.augment import AUGMENTATIONS, Augmentation, draw, shade, turn_dialogues, turn_square, turn_text
from training.data.planning.selection import select
from training.model import pad_and_resize

FRAME = SquareFrame(1000, 1000)
SYMMETRIES = [
    Symmetry(swap=bool(number & 4), mirror_x=bool(number & 2), mirror_y=bool(number & 1)) for number in range(8)
]  # fmt: skip
symmetries = st.sampled_from(SYMMETRIES)
names = st.sampled_from(sorted(DIALECTS))


def move(points: np.ndarray, symmetry: Symmetry) -> np.ndarray:
    """Points (..., 2) of the square of side 1000, moved by arithmetic on coordinates."""
    points = points[..., ::-1] if symmetry.swap else points
    x = 1000 - points[..., 0] if symmetry.mirror_x else points[..., 0]
    y = 1000 - points[..., 1] if symmetry.mirror_y else points[..., 1]
    return np.stack([x, y], -1)


boxes = st.lists(
    st.tuples(st.integers(0, 900), st.integers(0, 900), st.integers(20, 100), st.integers(20, 100)),
    min_size=1,
    max_size=4,
).map(lambda rows: np.array([(x, y, x + w, y + h) for x, y, w, h in rows], float))


@given(boxes, symmetries, names)
@settings(max_examples=200, deadline=None)
def test_horizontal_boxes_move_with_the_image(rows, symmetry, name):
    text = DIALECTS[name].format_hbb(rows, FRAME)
    turned = turn_text(f"There are <p>two cars</p>{text} in the image.", symmetry, DIALECTS[name])
    found = re.fullmatch(r"There are <p>two cars</p>\[(.*)\] in the image\.", turned)
    corners = move(DIALECTS[name].parse(text[1:-1], FRAME).hbb.reshape(-1, 2, 2), symmetry)
    expected = np.concatenate([corners.min(1), corners.max(1)], 1)
    assert len(turned) == len(f"There are <p>two cars</p>{text} in the image.")
    np.testing.assert_allclose(DIALECTS[name].parse(found[1], FRAME).hbb, expected, atol=1e-6)


@given(
    st.tuples(
        st.integers(200, 800), st.integers(200, 800), st.integers(40, 150), st.integers(30, 130), st.integers(0, 179)
    ),
    symmetries,
    names,
)
@settings(max_examples=200, deadline=None)
def test_oriented_boxes_move_and_keep_their_first_corner_rule(shape, symmetry, name):
    x, y, width, height, degrees = shape
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    quad = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [width / 2, height / 2] @ [
        [cosine, sine],
        [-sine, cosine],
    ] + [x, y]
    text = DIALECTS[name].format_obb([quad], FRAME)
    turned = turn_text(text, symmetry, DIALECTS[name])
    expected = canonical_quad(move(DIALECTS[name].parse(text[1:-1], FRAME).quads, symmetry))
    np.testing.assert_allclose(DIALECTS[name].parse(turned[1:-1], FRAME).quads, expected, atol=1e-6)


@pytest.mark.parametrize("symmetry", SYMMETRIES)
@pytest.mark.parametrize("size", [(300, 200), (201, 300), (256, 256)])
def test_the_box_in_the_text_is_where_the_object_is(symmetry, size):
    """From pixels: a red square in a grey image, padded, resized and turned."""
    pixels = np.full((size[1], size[0], 3), 100, np.uint8)
    pixels[30:90, 120:180] = (250, 0, 0)
    frame = SquareFrame(*size)
    text = turn_text(DIALECTS["mmrs"].format_hbb([(120, 30, 180, 90)], frame), symmetry, DIALECTS["mmrs"])
    square = turn_square(pad_and_resize(Image.fromarray(pixels), 448), Augmentation(symmetry=symmetry))
    red = (square[0] > 175) & (square[1] < 50)
    columns, rows = (np.flatnonzero(red.any(axis)) for axis in (0, 1))
    seen = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    said = np.array([float(number) for number in text[1:-1].split(",")]) * 448
    np.testing.assert_allclose(said, seen, atol=1.5)


UNTURNABLE = [
    "the car on top", "facing north-east", "see [1]", "[0.1,0.2,0.3]", "[0.100,0.20,0.300,0.400]",
    "[1.001,0.000,0.500,0.500]", "[0.1,0.2,0.3,0.4", "a [b] c", "[0.1,0.2,x,0.4]",
]  # fmt: skip


@pytest.mark.parametrize("text", UNTURNABLE)
def test_text_that_cannot_follow_is_not_turned(text):
    assert turn_text(text, SYMMETRIES[3], DIALECTS["mmrs"]) is None
    assert (
        turn_dialogues([("detection-hbb", [("human", "find"), ("gpt", text)])], SYMMETRIES[3], DIALECTS["mmrs"]) is None
    )


QUESTION = "Please detect all objects, from left to right, using horizontal bounding boxes."


def test_a_template_forbids_nothing_and_whatever_speaks_of_the_image_does():
    """Our own prompt has a word of direction, and so may a user's: it is the same for every image."""
    for task in ("classification", "captioning", "detection-hbb", "detection-obb"):
        turns = [("human", QUESTION), ("gpt", "a harbor")]
        assert turn_dialogues([(task, turns)], SYMMETRIES[5], DIALECTS["mmrs"]) == [turns]
        answered = [("human", QUESTION), ("gpt", "a harbor facing north")]
        assert turn_dialogues([(task, answered)], SYMMETRIES[5], DIALECTS["mmrs"]) is None
        assert turn_dialogues([(task, turns), (task, answered)], SYMMETRIES[5], DIALECTS["mmrs"]) is None
    for task in ("vqa", "visual-grounding", "a task of somebody else"):
        turns = [("human", QUESTION), ("gpt", "yes")]
        assert turn_dialogues([(task, turns)], SYMMETRIES[5], DIALECTS["mmrs"]) is None


def test_a_region_in_a_prompt_moves_with_the_boxes_of_the_answer():
    turns = [("human", "Detect cars in the region [0.000,0.000,0.500,0.250]."), ("gpt", "[0.100,0.200,0.300,0.240]")]
    (moved,) = turn_dialogues([("detection-hbb", turns)], Symmetry(mirror_y=True), DIALECTS["mmrs"])
    assert moved == [
        ("human", "Detect cars in the region [0.000,0.750,0.500,1.000]."),
        ("gpt", "[0.100,0.760,0.300,0.800]"),
    ]


def test_prompts_of_ours_never_forbid_a_turn():
    from mmrs.instructions.templates import TEMPLATES

    parts = {"question": "How many?", "text": "a red car", "box": "[0.100,0.200,0.300,0.240]", "plural": "cars"}
    for templates in TEMPLATES.values():
        for kind, wordings in templates.wordings.items():
            for wording in wordings:
                turns = [("human", wording.format(**parts)), ("gpt", "yes")]
                for symmetry in SYMMETRIES:
                    task = kind.partition(" ")[0]
                    assert turn_dialogues([(task, turns)], symmetry, DIALECTS["mmrs"]) is not None, wording


def test_shading_keeps_the_padding_and_no_change_is_no_change():
    image = Image.fromarray(np.full((10, 20, 3), 100, np.uint8))
    assert shade(image, Augmentation()) is image
    for mode in ("L", "RGB", "RGBA"):
        shaded = shade(image.convert(mode), Augmentation(brightness=1.2, contrast=0.5))
        expected = round((100 - 128) * 0.5 + 128 * 1.2)
        assert np.asarray(shaded).reshape(-1, len(shaded.getbands()))[0, 0] == expected
    square = pad_and_resize(shade(image, Augmentation(brightness=1.5)), 20)
    assert square[:, 0, 0].tolist() == [122, 116, 104]
    pixels = np.zeros((3, 8, 8), np.uint8)
    assert np.array_equal(turn_square(pixels, Augmentation()), pixels)


def test_everything_is_drawn_from_the_key():
    config = AugmentConfig(brightness=0.3, contrast=0.2, noise=5, dihedral=True)
    drawn = [draw(config, 0, epoch, "a/b/c", 7) for epoch in range(200)]
    assert draw(config, 0, 3, "a/b/c", 7) == drawn[3] != draw(config, 1, 3, "a/b/c", 7)
    assert {one.symmetry for one in drawn} == set(SYMMETRIES)
    brightness = [one.brightness for one in drawn]
    assert 0.7 <= min(brightness) < 0.8 and 1.2 < max(brightness) <= 1.3 and abs(np.mean(brightness) - 1) < 0.05
    noisy = turn_square(np.full((3, 64, 64), 100, np.uint8), Augmentation(noise=5, key=(1,)))
    assert noisy.min() == 95 and noisy.max() == 105 and abs(noisy.mean() - 100) < 0.2
    assert np.array_equal(noisy, turn_square(np.full((3, 64, 64), 100, np.uint8), Augmentation(noise=5, key=(1,))))


def test_a_stream_is_augmented_alike_by_any_worker_and_anew_in_each_epoch(shards, processor, tmp_path):  # noqa: F811
    selection = select([shards], ["train"], tasks=("classification", "detection-hbb"))
    stream = make_stream(selection, processor, tmp_path)
    config = AugmentConfig(brightness=0.3, noise=3, dihedral=True)
    length = len(stream.plan(0))
    plain = read(selection, processor, stream, packs=2 * length)
    alone, two = (read(selection, processor, stream, workers, packs=2 * length, augment=config) for workers in (0, 2))
    assert all(same(a, b) for a, b in zip(alone, two, strict=True))
    nothing = read(selection, processor, stream, packs=2 * length, augment=AugmentConfig())
    assert all(same(a, replace(b, augmented=())) for a, b in zip(plain, nothing, strict=True))
    images = {}
    for pack in alone:
        for sample_id, pixels in zip(pack.sample_ids, pack.pixel_values_NCHW, strict=True):
            images.setdefault(sample_id, []).append(pixels.numpy().tobytes())
    assert sum(len(set(views)) == 2 for views in images.values()) == len(images) == 24
    # What is counted is what was done: seven of eight draws move the image, and every text here can follow.
    turned = sum(pack.augmented[AUGMENTATIONS.index("dihedral")] for pack in alone)
    assert 0.6 < turned / sum(len(pack.sample_ids) for pack in alone) < 1
    assert all(pack.augmented[AUGMENTATIONS.index("noise")] == len(pack.sample_ids) for pack in alone)
    assert all(pack.augmented == () for pack in plain)
    # Boxes moved in some packs; nothing else did, and no pack changed its layout.
    assert any((a.input_ids_L != b.input_ids_L).any() for a, b in zip(alone, plain, strict=True))
    for a, b in zip(alone, plain, strict=True):
        assert a.sample_ids == b.sample_ids and a.real_tokens == b.real_tokens
        assert (a.position_ids_L == b.position_ids_L).all() and (a.target_positions_T == b.target_positions_T).all()
