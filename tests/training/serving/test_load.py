"""The dialect of a model's boxes is what its folder says."""

import json
import shutil

import pytest

from mmrs.errors import UserError
from training.serving.load import dialect_of


@pytest.fixture
def trained(served_folder, tmp_path):
    """A function that gives a model folder the runs that it tells of."""

    def write(origin):
        shutil.copy(served_folder / "config.json", tmp_path)
        config = json.loads((tmp_path / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps(config | {"origin": origin}))
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (None, "mmrs"),
        ({"parts": []}, "mmrs"),
        ({"training": [{"steps": 3}]}, "mmrs"),
        ({"training": [{"dialects": []}]}, "mmrs"),
        ({"training": [{"dialects": ["mmrs"]}, {"dialects": ["mmrs1m"]}]}, "mmrs1m"),
    ],
)
def test_the_last_run_decides(trained, origin, expected):
    assert dialect_of(trained(origin)).name == expected
    assert dialect_of(trained(origin), "mmrs1m").name == "mmrs1m"


def test_several_dialects_must_be_chosen_among(trained):
    folder = trained({"training": [{"dialects": ["mmrs", "mmrs1m"]}]})
    with pytest.raises(UserError, match="--dialect"):
        dialect_of(folder)
    assert dialect_of(folder, "mmrs").name == "mmrs"


def test_a_dialect_that_nobody_knows_is_told(trained):
    with pytest.raises(UserError, match="is not known"):
        dialect_of(trained({"training": [{"dialects": ["another"]}]}))
