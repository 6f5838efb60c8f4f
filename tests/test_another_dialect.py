"""Another box dialect is one object and its registration: whole numbers to 1000, built, checked, turned, scored."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import orjson
import pytest

from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.curation.text_checks import check_record
from mmrs.errors import UserError
from mmrs.geometry import SquareFrame, canonical_quad
from mmrs.instructions import dialects
from mmrs.instructions.answers import parse_detections
from mmrs.instructions.dialects.dialect import HORIZONTAL, ORIENTED
from mmrs.instructions.dialects.grid import horizontal_steps, oriented_steps, read_boxes, turned_steps
from mmrs.instructions.grammar import answer_pattern
from mmrs.instructions.symmetry import Symmetry
from mmrs.progress import Progress
from mmrs.shards.reader import ShardSet
from tests.support.sources import toy_build, write_toy
from training.data.augment import turn_text

QUIET = Progress(quiet=True)
SYMMETRIES = [Symmetry(bool(number & 4), bool(number & 2), bool(number & 1)) for number in range(8)]


@dataclass(frozen=True, slots=True)
class Thousand:
    """Whole thousandths of the padded square's side, ``[120,500,160,590]``."""

    name: str = "thousand"

    def state(self):
        return [self.name]

    def max_error_pixels(self, frame):
        return frame.side * 1.5 / 1000

    def format_hbb(self, boxes, frame):
        return self._write(horizontal_steps(boxes, frame, 1000, True))

    def format_obb(self, quads, frame):
        return self._write(oriented_steps(quads, frame, 1000))

    def parse(self, text, frame):
        return read_boxes(text, frame, lambda part: int(part) / 1000 if re.fullmatch(r"\s*\d{1,4}\s*", part) else None)

    def pattern(self, numbers):
        number = r"(?:1000|\d{1,3})"
        return rf"{number}(?:,{number}){{{numbers - 1}}}"

    def transform(self, text, symmetry):
        rows = [[int(part) for part in piece.split(",") if part.isdigit()] for piece in text.split(";")]
        if not all(len(row) in (HORIZONTAL, ORIENTED) and max(row) <= 1000 for row in rows):
            return None
        return ";".join(",".join(map(str, turned_steps(row, 1000, symmetry))) for row in rows)

    def _write(self, steps):
        return "[" + ";".join(",".join(map(str, row)) for row in steps.tolist()) + "]"


@pytest.fixture(scope="module", autouse=True)
def thousand():
    """The toy dialect, registered for this module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dialects, "_REGISTERED", dict(dialects._REGISTERED))
        patch.setattr(dialects, "DIALECTS", dialects._REGISTERED)
        dialects.register_dialect(Thousand())
        yield dialects.dialect("thousand")


@pytest.fixture(scope="module")
def data(tmp_path_factory, thousand):
    folder = tmp_path_factory.mktemp("thousand")
    write_toy(folder / "toy", images=12)
    recipe = BuildRecipe.model_validate({"sources": [{"name": "toy"}], "dialect": "thousand"})
    build(plan_build([toy_build(folder / "toy")], recipe, 1, QUIET), recipe, folder / "out", 1, QUIET)
    return ShardSet(folder / "out")


def records(data):
    return [data.record(row) for row in data.table("test").to_pylist()]


def test_a_recipe_knows_it_and_a_mistake_lists_it(data):
    assert data.manifest.dialect_name == "thousand"
    with pytest.raises(UserError, match="mmrs, mmrs1m, thousand"):
        dialects.dialect("thousands")


def test_the_built_text_is_checked_read_and_in_the_grammar(data, thousand):
    seen = 0
    for record in records(data):
        frame = SquareFrame(record.image.width, record.image.height)
        assert check_record(record, ("car", "ship"), thousand) == []
        for dialogue in record.dialogues:
            answer = dialogue.turns[1].value
            assert re.search(r"\[\d+,\d+", answer) and "." not in answer.removesuffix(".")
            assert re.fullmatch(answer_pattern(dialogue.task, ("car", "ship"), thousand), answer)
            assert not re.fullmatch(answer_pattern(dialogue.task, ("car", "ship"), dialects.dialect("mmrs")), answer)
            groups = parse_detections(answer, frame, ("car", "ship"), thousand)
            shown = [item for item in record.objects if item.category in {group.category for group in groups}]
            boxes = np.concatenate([group.boxes.hbb for group in groups])
            wanted = np.array([item.extent() for item in shown])
            assert len(boxes) == len(wanted) and not any(group.boxes.malformed for group in groups)
            error = np.abs(boxes[:, None] - wanted[None]).max(-1).min(1)
            assert error.max() <= thousand.max_error_pixels(frame) + 1e-6
            seen += 1
    assert seen >= 8


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_it_turns_with_the_image(data, thousand, symmetry):
    square = SquareFrame(1000, 1000)
    for record in records(data):
        for dialogue in record.dialogues:
            answer = dialogue.turns[1].value
            turned = turn_text(answer, symmetry, thousand)
            before = parse_detections(answer, square, ("car", "ship"), thousand)
            after = parse_detections(turned, square, ("car", "ship"), thousand)
            for old, new in zip(before, after, strict=True):
                if old.boxes.quads is None:
                    corners = moved(old.boxes.hbb.reshape(-1, 2, 2), symmetry)
                    expected = np.concatenate([corners.min(1), corners.max(1)], 1)
                    np.testing.assert_allclose(new.boxes.hbb, expected, atol=1e-6)
                else:
                    expected = canonical_quad(moved(old.boxes.quads, symmetry))
                    np.testing.assert_allclose(new.boxes.quads, expected, atol=1e-6)


def moved(points, symmetry):
    points = points[..., ::-1] if symmetry.swap else points
    x = 1000 - points[..., 0] if symmetry.mirror_x else points[..., 0]
    y = 1000 - points[..., 1] if symmetry.mirror_y else points[..., 1]
    return np.stack([x, y], -1)


@pytest.mark.parametrize("text", ["[0.1,0.2,0.3,0.4]", "[1,2,3]", "[1,2,3,1001]", "[1,2,3,4"])
def test_other_numbers_do_not_turn(thousand, text):
    assert turn_text(text, SYMMETRIES[1], thousand) is None


def test_another_dialect_is_another_text(data):
    assert orjson.loads(data.manifest.to_json())["recipe"]["dialect"] == "thousand"
    with pytest.raises(ValueError, match="there is a dialect 'mmrs' already"):
        dialects.register_dialect(Thousand("mmrs"))
