"""A build replaces and removes what builds made, and nothing else."""

import json
import shutil
from dataclasses import replace

import pytest
from click.testing import CliRunner

from cli import main
from converters import samples
from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.builder.state import state_path
from mmrs.builder.summary import describe_findings
from mmrs.errors import UserError
from mmrs.progress import Progress
from mmrs.shards.manifest import load_manifest
from tests.support.sources import ToySource, toy_build, write_toy

QUIET = Progress(quiet=True)
SMALL = BuildRecipe.model_validate({"sources": [{"name": "toy"}], "shard_bytes": 20_000})
TAR = "mydata/train-00000-of-00001.tar"


@pytest.fixture
def toy(tmp_path):
    write_toy(tmp_path / "toy", images=6)
    return tmp_path / "toy"


def run(toy, out, recipe=SMALL):
    told = []
    result = build(plan_build([toy_build(toy)], recipe, 1, QUIET), recipe, out, 1, QUIET, announce=told.append)
    return result, describe_findings(*told)


def put(path, content="mine"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def test_what_others_put_there_stays_and_is_named(toy, tmp_path, capsys):
    out = tmp_path / "out"
    mine = [put(out / name) for name in (TAR, "mydata/train-00000-of-00001.done.json", "n.tmp-backup/thesis.tex")]
    for _ in range(2):
        plan = plan_build([toy_build(toy)], SMALL, 1, QUIET)
        told = []
        build(plan, SMALL, out, 1, Progress(), announce=told.append)
        assert all(path.read_text() == "mine" for path in mine)
        assert f"left alone, as no build made it: {TAR.replace('.tar', '.done.json')}, {TAR}" in describe_findings(
            *told
        )
        assert "left alone, as no build made it: n.tmp-backup" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["manifest.json", "quarantine.jsonl", "toy/{first}.tar", "toy/{first}.parquet"])
def test_what_would_be_written_over_is_refused(toy, tmp_path, name):
    plan = plan_build([toy_build(toy)], SMALL, 1, QUIET)
    first = plan.tasks[0].path.removesuffix(".tar").partition("/")[2]
    mine = put(tmp_path / "out" / name.format(first=first), '{"name": "an app"}')
    with pytest.raises(UserError, match=f"holds {mine.relative_to(tmp_path / 'out')}, which no build made"):
        build(plan, SMALL, tmp_path / "out", 1, QUIET)
    assert mine.read_text() == '{"name": "an app"}'


def test_a_data_set_without_its_states_is_known_by_its_manifest_or_its_done_files(toy, tmp_path):
    out = tmp_path / "out"
    whole, _ = run(toy, out)
    shutil.rmtree(out / ".build")
    assert run(toy, out)[0].manifest == whole.manifest
    shutil.rmtree(out / ".build")
    (out / "manifest.json").unlink()
    assert run(toy, out)[0].manifest == whole.manifest


def test_a_tar_of_a_killed_build_is_known_by_its_state(toy, tmp_path):
    out = tmp_path / "out"
    shards = run(toy, out)[0].manifest.shards
    assert len(shards) > 1
    for path in (*out.glob("toy/*.done.json"), out / "manifest.json"):
        path.unlink()
    other = SMALL.model_copy(update={"shard_bytes": 2**20})
    result, words = run(toy, out, other)
    assert "no longer in the plan will be removed" in words
    assert {path.name for path in out.glob("toy/*.tar")} == {"test-00000-of-00001.tar", "train-00000-of-00001.tar"}
    assert len(result.manifest.shards) == 2 and (out / state_path(result.manifest.shards[0].path)).is_file()


def test_another_recipes_sources_are_removed_only_on_demand(toy, tmp_path):
    out = tmp_path / "out"
    run(toy, out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and ".build" not in path.parts}
    plan = plan_build([toy_build(toy, ToySource(name="other"))], SMALL, 1, QUIET)
    with pytest.raises(UserError, match=r"data set of another recipe: it holds toy.*--drop-sources"):
        build(plan, SMALL, out, 1, QUIET)
    assert all(path.read_bytes() == content for path, content in before.items())
    build(replace(plan, drops_sources=True), SMALL, out, 1, QUIET)
    assert set(load_manifest(out).sources) == {"other"} and not list(out.glob("toy/*"))


def test_a_dry_run_says_what_the_build_would_refuse(tmp_path):
    root, out = tmp_path / "ssdd", tmp_path / "out"
    samples.write("ssdd", root)

    def typed(*words):
        return CliRunner().invoke(main, ["--quiet", "build", "ssdd", f"--root=ssdd={root}", f"--out={out}", *words])

    assert typed("--dry-run").exit_code == 0
    mine = put(out / "manifest.json", '{"name": "an app"}')
    for words in ((), ("--json",)):
        told = typed("--dry-run", *words)
        assert told.exit_code == 2 and "holds manifest.json, which no build made" in told.output
        assert ("image" in told.output or json.loads(told.stdout)) and mine.read_text() == '{"name": "an app"}'
    write_toy(tmp_path / "toy", images=3)
    mine.unlink()
    run(tmp_path / "toy", out)
    told = typed("--dry-run")
    assert told.exit_code == 2 and "it holds toy, and this recipe does not" in told.output
    assert typed("--dry-run", "--drop-sources").exit_code == 0
    assert set(load_manifest(out).sources) == {"toy"}


def test_a_file_in_the_place_of_the_lock_is_left(toy, tmp_path):
    mine = put(tmp_path / "out" / ".build" / "lock", "the lock of my bicycle")
    with pytest.raises(UserError, match="is no lock of a build"):
        run(toy, tmp_path / "out")
    assert mine.read_text() == "the lock of my bicycle"
    mine.write_text("")
    run(toy, tmp_path / "out")
    run(toy, tmp_path / "out")
