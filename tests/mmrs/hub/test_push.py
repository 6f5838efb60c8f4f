"""Publication with the real `huggingface_hub` client against a server on loopback."""

import io
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import cli
from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.reuse.split import split_data_set
from mmrs.builder.run import build, plan_build
from mmrs.errors import RunFailure, UserError
from mmrs.hub import push as hub
from mmrs.hub.client import HubFile, made_file, without_token
from mmrs.hub.viewer import write_viewer_tables
from mmrs.progress import Progress
from mmrs.report.thumbnail import side_by_side
from mmrs.shards.manifest import load_manifest
from tests.support.hub_server import TOKEN, Fault, Repo, serve_hub
from tests.support.sources import ToySource, toy_build, write_toy

pytest.importorskip("huggingface_hub")
QUIET = Progress(quiet=True)
REPO = "org/toy"
ROOT = Path(__file__).parents[3]


def make_set(folder, shard_bytes=20_000, source=None):
    recipe = BuildRecipe.model_validate({"sources": [{"name": "toy"}], "shard_bytes": shard_bytes})
    build(plan_build([toy_build(folder / "toy", source)], recipe, 1, QUIET), recipe, folder / "out", 1, QUIET)
    return folder / "out"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    write_toy(folder / "toy", images=20)
    return make_set(folder)


@pytest.fixture
def server(monkeypatch):
    # Xet has its own binary protocol and server; the client falls back to Git LFS without it.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    real_sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: real_sleep(min(seconds, 0.01)))
    with serve_hub() as running:
        yield running


def push(folder, server, repo=REPO, **options):
    beside = hub.BesideShards(plots=options.pop("plots", {}))
    options = {"token": TOKEN, "waits_seconds": (0.01, 0.01), "endpoint": server.url} | options
    return hub.push(folder, repo, hub.PushOptions(**options), QUIET, beside)


def writes(server):
    return [call for call in server.log if call[0] in ("POST", "PUT")]


def test_everything_arrives_byte_for_byte(data, server):
    result = push(data, server)
    files = server.repos[REPO].files
    assert result.created and result.commits == 2 and not server.repos[REPO].private
    for path in data.glob("*/*.*"):
        name = f"{path.parent.name}/{path.name}"
        if path.parent.name != ".build":
            assert files[name][1] == path.read_bytes(), name
    assert files["manifest.json"][1] == (data / "manifest.json").read_bytes()
    assert files["README.md"][1].startswith(b"---\n")
    assert "created org/toy" in hub.describe_push(result)


def test_a_second_push_uploads_nothing(data, server):
    push(data, server)
    server.log.clear()
    result = push(data, server)
    assert writes(server) == []
    assert (result.uploaded, result.commits, result.created) == ((), 0, False)
    assert "nothing to upload" in hub.describe_push(result)


def test_shards_go_first_and_the_card_last(data, server, monkeypatch):
    monkeypatch.setattr(hub, "_COMMIT_FILES", 6)
    push(data, server, plots={"images-by-source": b"\x89PNG plot"})
    *shards, last = [set(commit["paths"]) for commit in server.repos[REPO].commits]
    assert len(shards) == 4
    assert all(name.startswith("toy/") for part in shards for name in part)
    assert last == {"assets/images-by-source.png", "quarantine.jsonl", "manifest.json", "croissant.json", "README.md"}
    assert b"](assets/images-by-source.png)" in server.repos[REPO].files["README.md"][1]


def test_a_dry_run_writes_nothing_and_says_all(data, server):
    result = push(data, server, dry_run=True)
    assert writes(server) == [] and server.repos == {}
    assert result.created and len(result.uploaded) == 25
    said = hub.describe_push(result)
    assert "would create org/toy" in said and "would upload 25 files" in said
    push(data, server)
    server.log.clear()
    assert push(data, server, dry_run=True).uploaded == ()
    assert writes(server) == []


def test_a_dry_run_needs_no_network(data, server):
    server.faults = [Fault("GET", "/api/", times=99, status=503)]
    result = push(data, server, dry_run=True, waits_seconds=(60.0,))
    assert len(result.uploaded) == 25 and result.not_asked and writes(server) == []
    said = hub.describe_push(result)
    assert "would upload 25 files" in said and "the Hub was not asked" in said and "would create" not in said
    server.faults = [Fault("GET", "/api/", times=99, status=503)]
    with pytest.raises(RunFailure):
        push(data, server)


def test_private(data, server):
    push(data, server, private=True)
    assert server.repos[REPO].private
    assert push(data, server, private=True).uploaded == ()


def test_a_public_repository_is_no_place_for_private_data(data, server):
    push(data, server)
    with pytest.raises(UserError, match="exists and is public"):
        push(data, server, private=True)


def test_an_interrupted_push_continues(data, server, monkeypatch):
    monkeypatch.setattr(hub, "_COMMIT_FILES", 6)
    server.faults = [Fault("POST", "/commit/", times=1, status=None), Fault("POST", "/commit/", times=99, status=500)]
    with pytest.raises(RunFailure, match="run the same `mmrs push` again"):
        push(data, server)
    files = server.repos[REPO].files
    assert "toy/train-00000-of-00005.tar" in files and "manifest.json" not in files and "README.md" not in files
    server.faults = []
    result = push(data, server)
    assert result.unchanged == 6
    assert "README.md" in server.repos[REPO].files
    sent = [call[1] for call in server.calls("PUT", "/storage/")]
    assert len(sent) == len(set(sent)) == 14, "every large file is sent once over both pushes"


@pytest.mark.parametrize(
    "faults",
    [
        [Fault("POST", "/preupload/", times=2, status=503)],
        [Fault("PUT", "/storage/", times=3, status=500)],
        [Fault("POST", "/objects/batch", times=1, status=429)],
        [Fault("POST", "/commit/", times=2, status=502)],
        [Fault("POST", "/commit/", times=1, status=0)],
        [Fault("PUT", "/storage/", times=2, status=0)],
        [Fault("GET", "/tree/", times=2, status=500), Fault("GET", "/api/datasets/org/toy$", times=1, status=0)],
        [Fault("POST", "/repos/create", times=1, status=500), Fault("POST", "/validate-yaml", times=1, status=0)],
    ],
    ids=lambda faults: f"{faults[0].path} {faults[0].status}",
)
def test_passing_failures_are_outlived(data, server, faults):
    server.faults = faults
    push(data, server)
    assert "README.md" in server.repos[REPO].files
    assert all(fault.times == 0 for fault in faults), "the fault was met"


def test_a_lost_answer_makes_no_second_commit(data, server):
    server.faults = [Fault("POST", "/commit/", times=1, status=0, applied=True)]
    push(data, server)
    paths = [commit["paths"] for commit in server.repos[REPO].commits]
    assert len(paths) == 2 and not set(paths[0]) & set(paths[1])


def test_a_slow_server(data, server):
    server.faults = [Fault("*", "/storage/|/commit/|/tree/", times=99, status=None, delay_s=0.05)]
    assert push(data, server).commits == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 500])
@pytest.mark.parametrize("where", ["/preupload/", "/api/datasets/org/toy$"])
def test_the_token_is_in_no_error(data, server, status, where):
    server.faults = [Fault("*", where, times=99, status=status, echo=True)]
    with pytest.raises((UserError, RunFailure)) as caught:
        push(data, server)
    said = "".join(traceback.format_exception(caught.value))
    assert TOKEN not in said and "signature=secret" not in said
    assert REPO in str(caught.value)


def test_a_wrong_token_is_named_as_such(data, server):
    wrong = "hf_Wrong0123456789abcdef"
    with pytest.raises(UserError, match="right to write") as caught:
        push(data, server, token=wrong)
    assert wrong not in str(caught.value)


def test_without_a_token(data, server):
    with pytest.raises(UserError, match="hf auth login"):
        push(data, server, token=None)
    assert push(data, server, token=None, dry_run=True).created


def test_a_source_without_licence_is_refused(tmp_path, server):
    write_toy(tmp_path / "toy", images=4)
    data = make_set(tmp_path, source=ToySource(licence="unknown"))
    with pytest.raises(UserError, match="toy: no licence is known"):
        push(data, server)
    assert server.log == []
    push(data, server, allow_unknown_licences=True)
    assert "README.md" in server.repos[REPO].files


def test_shards_of_an_older_push_are_removed_and_strangers_stay(tmp_path, server):
    write_toy(tmp_path / "toy", images=20)
    push(make_set(tmp_path, shard_bytes=20_000), server)
    server.repos[REPO].files["notes/stranger.txt"] = ("regular", b"mine")
    server.repos[REPO].files["toy/train-00000-of-00009.tar"] = ("lfs", b"not named by any manifest of ours")
    data = make_set(tmp_path, shard_bytes=40_000)
    result = push(data, server)
    left = {name for name in server.repos[REPO].files if name.startswith("toy/")}
    named = {name for s in load_manifest(data).shards for name in (s.path, s.index_path)}
    assert {name for name in left if not name.endswith("done.json")} == named | {"toy/train-00000-of-00009.tar"}
    assert "notes/stranger.txt" in server.repos[REPO].files
    assert "toy/train-00000-of-00005.tar" in result.deleted
    assert "removed" in hub.describe_push(result)


def sent_bytes(server):
    """Of large files; what a commit itself carries is small."""
    return sum(size for method, path, size in server.log if method == "PUT")


def test_only_what_changed_is_sent(tmp_path, server):
    write_toy(tmp_path / "toy", images=20)
    before = load_manifest(push_and_forget(make_set(tmp_path, shard_bytes=8_000), server))
    assert sent_bytes(server) >= sum(shard.bytes for shard in before.shards)
    server.log.clear()
    box = next(path for path in (tmp_path / "toy" / "test").glob("*.json") if "car" in path.read_text())
    box.write_text(box.read_text().replace("car", "ship"))
    data = make_set(tmp_path, shard_bytes=8_000)
    result = push(data, server)
    after = load_manifest(data)
    known = {shard.sha256 for shard in before.shards}
    changed = [shard for shard in after.shards if shard.sha256 not in known]
    assert 0 < len(changed) < len(after.shards)
    names = {
        f"{shard.path.removesuffix('.tar')}{end}" for shard in changed for end in (".tar", ".parquet", ".done.json")
    }
    assert {name for name in result.uploaded if "/" in name} == names
    assert sum(shard.bytes for shard in changed) <= sent_bytes(server) < 2 * sum(shard.bytes for shard in changed)


def push_and_forget(data, server):
    push(data, server)
    return data


def test_shards_under_other_names_are_not_sent_again(data, tmp_path, server):
    """As after `mmrs merge`: the Hub knows their content."""
    push(data, server)
    server.log.clear()
    push(data, server, repo="org/other")
    manifest = load_manifest(data)
    assert server.repos["org/other"].files.keys() >= {shard.path for shard in manifest.shards}
    assert sent_bytes(server) < min(shard.bytes for shard in manifest.shards)


def push_viewer(data, folder, images, server, **options):
    folder.mkdir()
    tables = write_viewer_tables(data, folder, images, side_by_side, QUIET)
    given = hub.PushOptions(token=TOKEN, waits_seconds=(0.01, 0.01), endpoint=server.url, **options)
    return hub.push_viewer(load_manifest(data), REPO, tables, given, QUIET)


def test_tables_for_the_viewer_come_change_and_go(data, tmp_path, server):
    first = push_viewer(data, tmp_path / "one", 3, server)
    files = server.repos[f"{REPO}-viewer"].files
    names = {"toy/train.parquet", "toy/test.parquet", "viewer.json", "README.md"}
    assert names == set(first.uploaded) == files.keys() - {".gitattributes"}
    with pq.ParquetFile(io.BytesIO(files["toy/train.parquet"][1])) as opened:
        assert opened.metadata.num_rows == 3 and opened.metadata.row_group(0).column(0).has_offset_index
    assert b"](https://huggingface.co/datasets/org/toy)" in files["README.md"][1]
    server.log.clear()
    assert push_viewer(data, tmp_path / "two", 3, server).uploaded == () and writes(server) == []
    assert set(push_viewer(data, tmp_path / "three", 4, server).uploaded) == names
    split_data_set(data, tmp_path / "parts", "split", QUIET, 1)
    server.repos[f"{REPO}-viewer"].files["toy/test.parquet"] = ("lfs", b"of somebody else by now")
    assert push_viewer(tmp_path / "parts" / "train", tmp_path / "four", 4, server).deleted == ()
    assert server.repos[f"{REPO}-viewer"].files["toy/test.parquet"][1] == b"of somebody else by now"
    push_viewer(data, tmp_path / "five", 4, server)
    assert push_viewer(tmp_path / "parts" / "train", tmp_path / "six", 4, server).deleted == ("toy/test.parquet",)


def test_a_repository_of_somebody_else_gets_no_tables(data, tmp_path, server):
    server.repos[f"{REPO}-viewer"] = Repo(False, {"mine.txt": ("regular", b"mine")})
    with pytest.raises(UserError, match="org/toy-viewer exists and holds other things"):
        push_viewer(data, tmp_path / "one", 3, server)
    assert writes(server) == []


def test_the_command_makes_the_tables(data, server, monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: TOKEN)
    words = ["--quiet", "push", str(data), REPO, "--endpoint", server.url, "--viewer-parquet", "2"]
    done = CliRunner().invoke(cli.main, words)
    assert done.exit_code == 0, done.output
    assert "created org/toy-viewer" in done.output and "croissant.json" in server.repos[REPO].files
    assert "toy/train.parquet" in server.repos[f"{REPO}-viewer"].files


def test_a_changed_shard_is_not_published(tmp_path, server):
    write_toy(tmp_path / "toy", images=6)
    data = make_set(tmp_path)
    tar = next((data / "toy").glob("train-*.tar"))
    content = bytearray(tar.read_bytes())
    content[600] ^= 1
    tar.write_bytes(bytes(content))
    with pytest.raises(RunFailure, match="was changed after the build"):
        push(data, server)
    assert "manifest.json" not in server.repos[REPO].files
    tar.unlink()
    with pytest.raises(RunFailure, match="is missing"):
        push(data, server)


def test_someone_else_writing_is_noticed(data, server, monkeypatch):
    commit = hub.HubClient.commit

    def meddle(self, files, deleted, message):
        commit(self, files, deleted, message)
        del server.repos[REPO].files["toy/test-00000-of-00002.tar"]

    monkeypatch.setattr(hub.HubClient, "commit", lambda *a: commit(*a) if "Shards" in a[-1] else meddle(*a))
    with pytest.raises(RunFailure, match="1 files are not there"):
        push(data, server)


@pytest.mark.parametrize("repo", ["toy", "a/b/c", "org/", "org/bad name", "../x", "org/--x"])
def test_names(data, server, repo):
    with pytest.raises(UserError):
        push(data, server, repo=repo)
    assert writes(server) == []


def test_limits_of_the_hub():
    files = [HubFile(f"a/{number}.tar", 1, "0" * 64) for number in range(hub.MAX_FOLDER_ENTRIES)]
    hub.check_limits(files)
    with pytest.raises(UserError, match=r"10001 files in a.*larger `shard_bytes`"):
        hub.check_limits([*files, HubFile("a/x.tar", 1, "0" * 64)])
    with pytest.raises(UserError, match="smaller `shard_bytes`"):
        hub.check_limits([HubFile("a/x.tar", hub.MAX_FILE_BYTES + 1, "0" * 64)])
    many = [HubFile(f"{number // 5000}/{number}.tar", 1, "0" * 64) for number in range(hub.MAX_FILES + 1)]
    with pytest.raises(UserError, match="100001 files"):
        hub.check_limits(many)


@given(st.lists(st.integers(0, 3 * 2**30), max_size=300))
def test_batches_keep_order_and_limits(sizes):
    files = [HubFile(str(number), size, "") for number, size in enumerate(sizes)]
    groups = list(hub.batches(files))
    assert [file for group in groups for file in group] == files
    for group in groups:
        assert 0 < len(group) <= hub._COMMIT_FILES
        assert len(group) == 1 or sum(file.size for file in group) <= hub._COMMIT_BYTES


@given(st.text(max_size=40), st.text(max_size=40))
def test_redaction(before, after):
    for secret in (TOKEN, "hf_AnotherToken99", "Bearer abcdef", "https://s3/x?X-Amz-Signature=1234"):
        said = without_token(f"{before} {secret} {after}", TOKEN)
        assert TOKEN not in said and "AnotherToken99" not in said
        assert "Bearer abcdef" not in said and "X-Amz-Signature" not in said


def test_git_blobs_are_numbered_as_git_does():
    assert made_file("x", b"hello\n").git_sha1 == "ce013625030ba8dba906f756967f9e9ca394464a"


def test_a_killed_push_continues(data, server):
    server.faults = [Fault("PUT", "/storage/", times=3, status=None), Fault("PUT", "/storage/", times=99, delay_s=30)]
    code = (
        "import sys; from pathlib import Path; from mmrs.hub import push as hub; from mmrs.progress import Progress\n"
        "hub._COMMIT_FILES = 3\n"
        "options = hub.PushOptions(endpoint=sys.argv[2], token=sys.argv[3])\n"
        "hub.push(Path(sys.argv[1]), 'org/toy', options, Progress(quiet=True))"
    )
    environment = {**os.environ, "HF_HUB_DISABLE_XET": "1"}
    run = subprocess.Popen([sys.executable, "-c", code, str(data), server.url, TOKEN], cwd=ROOT, env=environment)
    deadline = time.monotonic() + 60
    while len(server.calls("PUT", "/storage/")) < 4 and time.monotonic() < deadline and run.poll() is None:
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    run.wait(10)
    assert "manifest.json" not in server.repos[REPO].files
    server.faults = []
    stored = set(server.objects)
    server.log.clear()
    push(data, server)
    assert "README.md" in server.repos[REPO].files
    again = {call[1].split("/")[2].partition("?")[0] for call in server.calls("PUT", "/storage/")}
    assert stored and not stored & again


def test_the_command_makes_a_card_with_plots_and_sends_nothing_twice(data, server, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: TOKEN)
    words = ["--quiet", "push", str(data), REPO, "--endpoint", server.url]
    first = CliRunner().invoke(cli.main, words)
    assert first.exit_code == 0, first.output
    card = server.repos[REPO].files["README.md"][1].decode()
    assert "](assets/images-by-source.png)" in card
    assert "Every image was decoded, JPEG at 1/8 scale" in card
    assert "Meant for training: `toy/train`; all else" in card
    assert server.repos[REPO].files["assets/classes.png"][1].startswith(b"\x89PNG")
    server.log.clear()
    second = CliRunner().invoke(cli.main, words)
    assert "nothing to upload" in second.output and writes(server) == []
    assert TOKEN not in first.output + second.output
