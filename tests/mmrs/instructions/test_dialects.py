"""Box dialects: round trips within half a step, and parsing that survives anything."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrs.errors import UserError
from mmrs.geometry import SquareFrame, SquareFrames, canonical_quad, quad_from_hbb, quad_from_rotated
from mmrs.instructions.dialects import DIALECTS, dialect

frames = st.tuples(st.integers(8, 3000), st.integers(8, 3000)).map(lambda size: SquareFrame(*size))
share = st.floats(0, 1)


@st.composite
def framed_boxes(draw):
    frame = draw(frames)
    boxes = []
    for _ in range(draw(st.integers(1, 5))):
        x = sorted(draw(st.tuples(share, share)))
        y = sorted(draw(st.tuples(share, share)))
        boxes.append([x[0] * frame.width, y[0] * frame.height, x[1] * frame.width, y[1] * frame.height])
    return frame, np.array(boxes)


@pytest.mark.parametrize("name", sorted(DIALECTS))
@given(framed=framed_boxes())
def test_hbb_round_trip_error_is_within_the_stated_bound(name, framed):
    frame, boxes = framed
    written = DIALECTS[name].format_hbb(boxes, frame)
    numbers = np.array([[float(n) for n in part.split(",")] for part in written.strip("[]").split(";")])
    pixels = frame.to_pixels(numbers.reshape(-1, 2, 2)).reshape(-1, 4)
    assert np.abs(pixels - boxes).max() <= DIALECTS[name].max_error_pixels(frame) + 1e-6
    parsed = DIALECTS[name].parse(written.strip("[]"), frame)
    assert len(parsed.hbb) + parsed.malformed == len(boxes)


@given(framed=framed_boxes())
def test_default_dialect_never_writes_a_box_without_area(framed):
    frame, boxes = framed
    written = DIALECTS["mmrs"].format_hbb(boxes, frame).strip("[]")
    for part in written.split(";"):
        x1, y1, x2, y2 = (float(number) for number in part.split(","))
        assert x1 < x2 and y1 < y2
        assert x1 >= 0 and x2 <= 1 and y1 >= 0 and y2 <= 1


@given(
    frames,
    st.lists(
        st.tuples(share, share, st.floats(0.05, 0.3), st.floats(0.05, 0.3), st.floats(0, 3.2)), min_size=1, max_size=4
    ),
)
def test_obb_round_trip(frame, boxes):
    scaled = np.array(boxes) * [frame.width, frame.height, frame.side, frame.side, 1]
    quads = canonical_quad(quad_from_rotated(scaled))
    inside = ((frame.to_fractions(quads) >= 0) & (frame.to_fractions(quads) <= 1)).all()
    parsed = DIALECTS["mmrs"].parse(DIALECTS["mmrs"].format_obb(quads, frame).strip("[]"), frame)
    if inside and not parsed.malformed:
        assert parsed.quads is not None
        assert np.abs(parsed.quads - quads).max() <= frame.side * 0.0005 + 1e-6


def test_mmrs1m_text_is_the_releases():
    # The box of mmrs1m-release section 6: image 1000x500, pixel box (500, 0)-(750, 250), offset 250 px in y.
    assert DIALECTS["mmrs1m"].format_hbb([[500, 0, 750, 250]], SquareFrame(1000, 500)) == "[0.50,0.25,0.75,0.50]"


def test_a_collapsed_box_stays_collapsed_in_mmrs1m_and_is_widened_by_default():
    frame = SquareFrame(800, 800)
    thin = [[400, 400, 401, 440]]
    assert DIALECTS["mmrs1m"].format_hbb(thin, frame) == "[0.50,0.50,0.50,0.55]"
    at_border = [[799.9, 100, 800, 200]]
    assert DIALECTS["mmrs"].format_hbb(at_border, frame) == "[0.999,0.125,1.000,0.250]"


@given(st.text(alphabet="0123456789.,;[]- e\n<>pN", max_size=80))
def test_parsing_never_raises_and_stays_in_the_image(text):
    frame = SquareFrame(640, 512)
    parsed = DIALECTS["mmrs"].parse(text, frame)
    assert (parsed.hbb >= 0).all() and (parsed.hbb[:, [0, 2]] <= 640).all() and (parsed.hbb[:, [1, 3]] <= 512).all()
    assert parsed.malformed >= 0


@pytest.mark.parametrize(
    ("text", "boxes", "malformed"),
    [
        ("0.1,0.2,0.3,0.4", 1, 0),
        ("0.1,0.2,0.3,0.4;0.5,0.5,0.6", 1, 1),
        ("0.3,0.2,0.1,0.4", 0, 1),
        ("0.1,0.2,0.3,0.4;0.1,0.2,0.3,0.2,0.3,0.4,0.1,0.4", 1, 1),
        ("", 0, 0),
        ("nan,0.2,0.3,0.4", 0, 1),
        ("1e999,0.2,0.3,0.4", 0, 1),
    ],
)
def test_malformed_pieces_are_counted(text, boxes, malformed):
    parsed = DIALECTS["mmrs"].parse(text, SquareFrame(100, 100))
    assert (len(parsed.hbb), parsed.malformed) == (boxes, malformed)


def test_unknown_dialect_lists_the_known_ones():
    with pytest.raises(UserError, match="mmrs, mmrs1m"):
        dialect("llava")


@pytest.mark.parametrize("name", sorted(DIALECTS))
@given(images=st.lists(framed_boxes(), min_size=1, max_size=4))
def test_boxes_of_many_images_are_written_as_those_of_each(name, images):
    boxes = np.concatenate([own for _, own in images])
    sizes = np.concatenate([[[frame.width, frame.height]] * len(own) for frame, own in images])
    frames = SquareFrames(sizes[:, 0], sizes[:, 1])
    quads = [quad_from_hbb(own)[:, [2, 3, 0, 1]] + 0.3 for _, own in images]
    one_by_one = [(DIALECTS[name].format_hbb(own, frame)[1:-1], frame) for frame, own in images]
    assert DIALECTS[name].format_hbb(boxes, frames) == f"[{';'.join(text for text, _ in one_by_one)}]"
    oriented = [DIALECTS[name].format_obb(own, frame)[1:-1] for own, (frame, _) in zip(quads, images, strict=True)]
    assert DIALECTS[name].format_obb(np.concatenate(quads), frames) == f"[{';'.join(oriented)}]"
