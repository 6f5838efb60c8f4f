"""Scores replace those of an earlier evaluation, and nothing that somebody else put there."""

import json

import pytest
from click.testing import CliRunner

from cli import main
from tests.training.shard_folder import make_shard_folder

NAMES = ("scores.json", "evaluation.html", "predictions.png")


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A function that scores two answers into a folder."""
    folder = tmp_path_factory.mktemp("scored")
    make_shard_folder(folder / "data", samples=2, shards=1)
    lines = [{"id": f"toy/train/{number:05d}#classification", "text": "red"} for number in range(2)]
    (folder / "answers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def score(out):
        words = ["score", folder / "answers.jsonl", folder / "data", "--split", "train", "--task", "classification"]
        return CliRunner().invoke(main, ["--quiet", *map(str, words), "--out", str(out)])

    return score


def test_own_files_are_replaced(scored, tmp_path):
    first = scored(tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in NAMES}
    assert (first.exit_code, scored(tmp_path).exit_code) == (0, 0), first.output
    assert {name: (tmp_path / name).read_bytes() for name in NAMES} == before


@pytest.mark.parametrize("kind", ["file", "link", "folder"])
@pytest.mark.parametrize("name", NAMES)
def test_files_of_others_stay(scored, tmp_path, name, kind):
    out, victim = tmp_path / "out", tmp_path / "victim"
    out.mkdir()
    victim.write_text('{"format": "mine"}')
    if kind == "file":
        victim.rename(out / name)
        victim = out / name
    elif kind == "link":
        (out / name).symlink_to(victim)
    else:
        (out / name).mkdir()
    done = scored(out)
    assert done.exit_code == 1 and f"{out / name}: holds what this program did not put there" in done.output
    assert victim.read_text() == '{"format": "mine"}'
    assert {path.name for path in out.iterdir()} == {name}


def test_a_page_of_another_program_is_no_report(tmp_path):
    data = make_shard_folder(tmp_path / "data", samples=2, shards=1)
    page = tmp_path / "page.html"
    page.write_text("<!DOCTYPE html><title>mine</title>")
    words = ["--quiet", "report", str(data), "--out", str(page)]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 1 and "holds what this program did not put there" in done.output
    assert page.read_text() == "<!DOCTYPE html><title>mine</title>"
    page.unlink()
    assert [CliRunner().invoke(main, words).exit_code for _ in range(2)] == [0, 0]
