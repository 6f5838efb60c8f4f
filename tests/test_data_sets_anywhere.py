"""A finished data set in a folder, over http and in S3: every command that reads one says and writes the same."""

import json
import shutil

import pytest
from click.testing import CliRunner

pytest.importorskip("s3fs", reason="S3 needs the extra s3")
pytest.importorskip("moto.server", reason="the S3 server of the tests (moto, flask) is not installed")

import cli
from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.shards.reader import ShardSet
from mmrs.storage.open import open_place
from tests.mmrs.report.conftest import QUIET, TalkingSource
from tests.support.places import EVERY_FAULT, needs_servers, quick_patience, served
from tests.support.s3_server import ENVIRONMENT
from tests.support.sources import toy_build, write_toy

pytestmark = needs_servers
SECRET = ENVIRONMENT["AWS_SECRET_ACCESS_KEY"]
PLACES = ["http", "s3"]


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    root = tmp_path_factory.mktemp("served")
    folder = root / "talking"
    write_toy(root / "toy", images=15)
    write_toy(root / "talk", images=6, seed=1, suffix="png", size=(300, 200))
    recipe = BuildRecipe.model_validate({"sources": [{"name": "toy"}, {"name": "talk"}], "shard_bytes": 60_000})
    talk = TalkingSource(name="talk", sensor="sar", categories=("car", "ship"))
    sources = [toy_build(root / "toy"), toy_build(root / "talk", talk)]
    build(plan_build(sources, recipe, 1, QUIET), recipe, folder, 1, QUIET)
    assert len(ShardSet(folder).manifest.shards) > 4
    with served(folder, tmp_path_factory.mktemp("nginx")) as found:
        yield found


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with quick_patience():
        yield


def mmrs(*arguments, code=0):
    """What a command prints, after its exit code was checked."""
    result = CliRunner().invoke(cli.main, ["--quiet", *map(str, arguments)])
    assert result.exit_code == code, result.output
    assert SECRET not in result.output
    return result.output


def of_stats(location, out):
    return mmrs("stats", location), mmrs("stats", location, "--json"), {}


def of_report(location, out):
    mmrs("report", location, "--out", out / "page.html", "--per-source", 3)
    return "", "", {"page": (out / "page.html").read_bytes()}


def of_curate(location, out):
    said = mmrs("curate", location, "--out", out, "--workers", 1)
    printed = mmrs("curate", location, "--out", out, "--workers", 1, "--json")
    files = {name: (out / name).read_bytes() for name in ("curation.jsonl", "curation.json")}
    assert printed.encode() == files["curation.json"] + b"\n"
    return said.replace(str(location), "DIR").replace(str(out), "OUT").replace("--out DIR ", ""), printed, files


def of_verify(location, out):
    return mmrs("verify", location, "--workers", 1), "", {}


COMMANDS = [of_stats, of_report, of_curate, of_verify]


@pytest.mark.parametrize(
    "faults", [pytest.param((), id="calm"), pytest.param(EVERY_FAULT, id="faults", marks=pytest.mark.nightly)]
)
@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_says_and_writes_the_same(places, tmp_path, monkeypatch, command, kind, faults):
    expected = command(places.folder, tmp_path / "local")
    with places.at(kind, monkeypatch, faults) as location:
        assert command(location, tmp_path / "remote") == expected


@pytest.mark.nightly
@pytest.mark.parametrize("kind", PLACES)
def test_workers_read_from_a_url_too(places, tmp_path, monkeypatch, kind):
    mmrs("curate", places.folder, "--out", tmp_path / "local", "--workers", 1)
    with places.at(kind, monkeypatch) as location:
        mmrs("curate", location, "--out", tmp_path / "remote", "--workers", 2)
        assert mmrs("verify", location, "--workers", 2) == mmrs("verify", places.folder, "--workers", 1)
    for name in ("curation.jsonl", "curation.json"):
        assert (tmp_path / "remote" / name).read_bytes() == (tmp_path / "local" / name).read_bytes()


@pytest.mark.parametrize("kind", PLACES)
def test_files_lie_in_the_cache_and_are_fetched_once(places, tmp_path, monkeypatch, kind):
    with places.at(kind, monkeypatch) as location:
        shards = ShardSet(location)
        rows = shards.table("train").to_pylist()
        local = ShardSet(places.folder)
        assert shards.manifest == local.manifest and shards.quarantine() == local.quarantine()
        assert [shards.record(row) for row in rows] == [local.record(row) for row in rows]
        assert [shards.image(row) for row in rows] == [local.image(row) for row in rows]
        kept = {path.name for path in (tmp_path / "cache" / "mmrs" / "shards").rglob("*") if len(path.name) == 64}
        train = [shard for shard in local.manifest.shards if shard.split == "train"]
        assert kept == {digest for shard in train for digest in (shard.sha256, shard.index_sha256)}
        shards.close()
        local.close()


def test_curate_writes_beside_a_data_set_in_s3(places, tmp_path, monkeypatch):
    mmrs("curate", places.folder, "--out", tmp_path, "--workers", 1)
    with places.at("s3", monkeypatch) as location:
        said = mmrs("curate", location, "--workers", 1)
        assert f"all of it in {location}/curation.jsonl" in said
        place = open_place(location)
        try:
            for name in ("curation.jsonl", "curation.json"):
                assert place.read(name) == (tmp_path / name).read_bytes()
            assert mmrs("verify", location, "--workers", 1).startswith("ok: ")
        finally:
            place.remove(["curation.jsonl", "curation.json"])


def test_curate_over_http_needs_out_and_says_so_at_once(places, monkeypatch):
    with places.at("http", monkeypatch) as location:
        said = mmrs("curate", location, code=2)
    assert f"{location}: http is read-only; give --out DIR for curation.jsonl and curation.json." in said


def test_curate_where_nothing_may_be_written(places, monkeypatch, tmp_path):
    from mmrs.storage.remote import RemotePlace

    def denied(self, names):
        raise PermissionError("Access Denied")

    monkeypatch.setattr(RemotePlace, "remove", denied)
    with places.at("s3", monkeypatch) as location:
        said = mmrs("curate", location, code=2)
    assert f"cannot write to {location}: Access Denied" in said and "--out" in said


@pytest.mark.parametrize("kind", PLACES)
def test_damage_that_stays_is_damage(places, monkeypatch, tmp_path, kind):
    """Every answer about one tar has the same wrong byte: verify finds it, what reads through the cache refuses it."""
    copy = tmp_path / "copy"
    shutil.copytree(places.folder, copy)
    shard = ShardSet(copy).manifest.shards[0]
    data = bytearray((copy / shard.path).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / shard.path).write_bytes(data)
    with served(copy, tmp_path / "nginx") as damaged, damaged.at(kind, monkeypatch) as location:
        assert shard.path in mmrs("verify", location, "--workers", 1, code=1)
        said = mmrs("curate", location, "--out", tmp_path / "out", "--workers", 1, code=1)
        assert f"{location}/{shard.path}: sha256 is" in said and "publish the data set again" in said


@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize("command", ["stats", "report", "curate", "verify"])
def test_what_is_not_there_is_named_with_what_to_do(places, monkeypatch, tmp_path, kind, command):
    options = {"report": ["--out", tmp_path / "x.html"], "curate": ["--out", tmp_path]}.get(command, [])
    with places.at(kind, monkeypatch) as location:
        said = mmrs(command, f"{location}-not", *options, code=2)
    assert f"{location}-not/manifest.json cannot be read" in said
    assert {"http": "curl", "s3": "aws sts get-caller-identity"}[kind] in said


@pytest.mark.parametrize("command", ["stats", "report", "curate", "verify", "eval", "push", "release compare"])
@pytest.mark.parametrize("url", ["s3://KEY:hunter2@bucket/set", "https://host/set?sig=hunter2", "https://hunter2@h/x"])
def test_credentials_in_a_url_are_refused_and_not_printed(tmp_path, command, url):
    before = {"eval": [tmp_path], "release compare": [tmp_path]}.get(command, [])
    after = {"report": ["--out", tmp_path / "x"], "eval": ["--out", tmp_path], "push": ["org/name"]}.get(command, [])
    said = mmrs(*command.split(), *before, url, *after, code=2)
    assert "hunter2" not in said
    assert "carries credentials" in said or command == "push"


def test_push_says_why_it_takes_a_folder():
    said = mmrs("push", "s3://bucket/set", "org/name", code=2)
    assert "s3://bucket/set: the Hub client uploads files of this machine; copy the data set to a folder first." in said


def test_a_build_leaves_out_what_a_list_in_s3_names(places, monkeypatch):
    from mmrs.builder.exclude import load_exclusions
    from mmrs.builder.recipe import BuildRecipe

    with places.at("s3", monkeypatch) as location:
        place = open_place(location)
        place.write("lists/mine.jsonl", json.dumps({"id": "toy/train/x", "reason": "blurred"}).encode())
        recipe = {"sources": [{"name": "toy"}], "exclude": f"{location}/lists/mine.jsonl"}
        assert load_exclusions(BuildRecipe.model_validate(recipe).exclude) == {"toy/train/x": "blurred"}
        place.remove(["lists/mine.jsonl"])
