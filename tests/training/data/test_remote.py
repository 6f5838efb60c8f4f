"""Data sets behind URLs: the same content as from a folder, through whatever a network does."""

from __future__ import annotations

import random
import threading
from contextlib import suppress
from dataclasses import replace

import pytest

from mmrs.errors import RunFailure, UserError
from mmrs.shards.files import Downloads
from mmrs.shards.reader import ShardSet
from mmrs.storage.cache import FileCache
from mmrs.storage.retry import Patience
from tests.support.hub_server import TOKEN, Repo, serve_hub
from tests.support.servers import NGINX, Faults, serve_faults, serve_nginx, serve_s3
from tests.training.data.test_loader import make_stream, processor, read, same  # noqa: F401
from tests.training.shard_folder import make_shard_folder
from training.config import load_config
from training.data.planning.selection import select, select_from
from training.data.planning.summary import downloads, plan_lines, summarise

QUICK = Patience(tries=6, first_wait_seconds=0.01, longest_wait_seconds=0.05, stall_seconds=5.0)
needs_nginx = pytest.mark.skipif(NGINX is None, reason="no nginx: apt-get install nginx-light")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_shard_folder(tmp_path_factory.mktemp("data") / "set", samples=40, shards=5)


@pytest.fixture(scope="module")
def local(data, processor, tmp_path_factory):  # noqa: F811
    selection = select([data], ["train"])
    stream = make_stream(selection, processor, tmp_path_factory.mktemp("lengths"))
    return read(selection, processor, stream)


@pytest.fixture(scope="module")
def nginx(data, tmp_path_factory):
    with serve_nginx(data, tmp_path_factory.mktemp("nginx")) as url:
        yield url


def downloads_to(folder, patience=QUICK, max_bytes=10**9):
    return Downloads(FileCache(folder, max_bytes), patience)


def select_remote(url, downloads):
    return select_from([ShardSet(url, downloads)], ["train"])


def read_remote(url, downloads, processor, tmp_path, workers=0):  # noqa: F811
    selection = select_remote(url, downloads)
    return read(selection, processor, make_stream(selection, processor, tmp_path / "lengths"), workers)


def assert_same(found, expected):
    assert len(found) == len(expected)
    assert all(same(a, b) for a, b in zip(found, expected, strict=True))


@needs_nginx
@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_over_http_is_the_local_one_in_spite_of_faults(nginx, local, processor, tmp_path, workers):  # noqa: F811
    """500s, stalls, cut connections, short answers and wrong bytes from a proxy before nginx; then from the cache."""
    rng = random.Random(workers)
    kinds = ["ok", "ok", "500", "cut", "short", "stall", "flip"]
    faults = Faults(["short", "flip", "500", "ok", *kinds[2:], *(rng.choice(kinds) for _ in range(20))])
    with serve_faults(nginx, faults) as url:
        kept = downloads_to(tmp_path / "cache", replace(QUICK, tries=20, stall_seconds=0.5))
        assert_same(read_remote(url, kept, processor, tmp_path, workers), local)
        asked = len(faults.log)
        assert {fault for _, fault in faults.log} == set(kinds)
        assert_same(read_remote(url, kept, processor, tmp_path, workers), local)
        assert {path for path, _ in faults.log[asked:]} == {"/manifest.json"}
    assert not list((tmp_path / "cache").rglob("*.part"))


@needs_nginx
def test_a_cache_that_holds_two_of_five_shards_is_enough(nginx, data, local, processor, tmp_path):  # noqa: F811
    sizes = sorted(path.stat().st_size for path in data.glob("toy/*.tar"))
    limit = sizes[-1] + sizes[-2]
    seen, done = [], threading.Event()

    def watch():
        while not done.wait(0.001):
            # A file that is renamed while the folder is read may show under both names.
            sizes_by_digest = {}
            for path in files_of(tmp_path / "cache"):
                with suppress(FileNotFoundError):
                    sizes_by_digest[path.name[:64]] = path.stat().st_size
            seen.append(sum(sizes_by_digest.values()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        packs = read_remote(nginx, downloads_to(tmp_path / "cache", max_bytes=limit), processor, tmp_path, workers=1)
    finally:
        done.set()
        watcher.join()
    assert_same(packs, local)
    assert max(seen) <= limit and len(files_of(tmp_path / "cache")) <= 2


@needs_nginx
def test_the_plan_says_what_a_cache_has_to_fetch(nginx, data, processor, tmp_path):  # noqa: F811
    sizes = [path.stat().st_size for path in data.glob("toy/*.tar")]
    for limit, repeats in [(sum(sizes), False), (max(sizes), True)]:
        faults = Faults()
        with serve_faults(nginx, faults) as url:
            kept = downloads_to(tmp_path / f"cache-{limit}", max_bytes=limit)
            selection = select_remote(url, kept)
            stream = make_stream(selection, processor, tmp_path / "lengths")
            summary = summarise(stream.plan(0), stream.lengths, stream.settings, selection)
            said = "\n".join(plan_lines(summary, stream.settings, 1, 1))
            found, before = summary["downloads"], len(faults.log)
            selection.sets[0].close()
            selection.sets[0].max_open_files = 1
            read(selection, processor, stream)
        asked = sum(path.endswith(".tar") for path, _ in faults.log[before:])
        assert found["bytes"] == sum(sizes) and found["cache_bytes"] == limit
        assert (found["fetched_bytes"] > sum(sizes)) == repeats == ("saves the repeats" in said)
        # Counting the tokens left some shards in the cache, and a pack reads a shard's samples out of order.
        assert asked <= 2 * found["fetched_bytes"] / min(sizes)
    local_selection = select([data], ["train"])
    assert downloads(stream.plan(0), local_selection) is None


def files_of(cache):
    return [path for path in cache.glob("*") if len(path.name) >= 64]


@needs_nginx
def test_a_server_that_stays_down_ends_the_run_with_the_url(nginx, processor, tmp_path):  # noqa: F811
    with serve_faults(nginx, Faults(["ok"] * 6 + ["500"] * 1000)) as url:
        with pytest.raises(RunFailure, match=rf"{url}/toy/train-0000\d-of-00005.tar cannot be read: 6 tries failed"):
            read_remote(url, downloads_to(tmp_path / "cache"), processor, tmp_path)
        with pytest.raises(RunFailure, match=r"manifest.json.*6 tries.*500"):
            select_remote(url, downloads_to(tmp_path / "cache"))


@needs_nginx
def test_a_shard_of_another_build_is_refused(nginx, processor, tmp_path):  # noqa: F811
    faults = Faults(["ok"] * 6 + ["flip"] * 1000)
    with serve_faults(nginx, faults) as url, pytest.raises(RunFailure, match=r"\.tar: sha256 is .* 6 times.*publish"):
        read_remote(url, downloads_to(tmp_path / "cache"), processor, tmp_path)
    assert files_of(tmp_path / "cache") == []


@needs_nginx
def test_what_is_not_there_is_refused_at_once(nginx, tmp_path):
    faults = Faults()
    with (
        serve_faults(nginx, faults) as url,
        pytest.raises(UserError, match=r"nowhere/manifest.json cannot be read.*curl"),
    ):
        select_remote(f"{url}/nowhere", downloads_to(tmp_path / "cache"))
    assert len(faults.log) == 1


def test_a_server_without_ranges_will_do(data, local, processor, tmp_path, monkeypatch):  # noqa: F811
    """Python's own answers every request with the whole file."""
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    monkeypatch.setattr("mmrs.storage.download.CHUNK", 9000)
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *arguments: None)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(data)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        assert_same(read_remote(url, downloads_to(tmp_path / "cache"), processor, tmp_path), local)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def some_faults(within=""):
    """Each kind of fault at least once."""
    return Faults(["short", "flip", "500", "ok", "cut", "ok", "stall", "ok", "ok", "flip", "500"], within=within)


def patient_downloads(folder):
    return downloads_to(folder, replace(QUICK, tries=20, stall_seconds=0.5))


@pytest.mark.nightly
def test_a_stream_from_s3_is_the_local_one_in_spite_of_faults(data, local, processor, tmp_path, monkeypatch):  # noqa: F811
    s3fs = pytest.importorskip("s3fs")
    pytest.importorskip("moto.server", reason="no moto")
    import fsspec

    faults = some_faults()
    with serve_s3() as endpoint, serve_faults(endpoint, faults) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        upload = fsspec.filesystem("s3", skip_instance_cache=True)
        upload.mkdir("bucket")
        upload.put(f"{data}/", "bucket/sets/toy/", recursive=True)
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy)
        s3fs.S3FileSystem.clear_instance_cache()
        kept = patient_downloads(tmp_path / "cache")
        assert_same(read_remote("s3://bucket/sets/toy", kept, processor, tmp_path, workers=1), local)
        assert {fault for _, fault in faults.log} >= set(faults.plan)
        with pytest.raises(UserError, match=r"s3://bucket/other/manifest.json cannot be read"):
            select_remote("s3://bucket/other", kept)


@pytest.mark.nightly
def test_a_stream_from_the_hub_is_the_local_one_in_spite_of_faults(data, local, processor, tmp_path, monkeypatch):  # noqa: F811
    files = {
        path.relative_to(data).as_posix(): ("lfs" if path.suffix == ".tar" else "regular", path.read_bytes())
        for path in data.rglob("*")
        if path.is_file()
    }
    faults = some_faults(within="/cdn/")
    small = some_faults(within="/resolve/")
    with serve_hub() as hub, serve_faults(hub.url, faults) as store, serve_faults(hub.url, small) as url:
        hub.repos["org/toy"] = Repo(private=True, files=files)
        hub.objects |= {_sha256(content): content for kind, content in files.values() if kind == "lfs"}
        hub.url = store
        import fsspec
        from huggingface_hub import HfFileSystem

        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(
            fsspec, "filesystem", lambda name: HfFileSystem(endpoint=url, token=TOKEN, skip_instance_cache=True)
        )
        kept = patient_downloads(tmp_path / "cache")
        assert_same(read_remote("hf://datasets/org/toy", kept, processor, tmp_path), local)
        assert {fault for _, fault in faults.log} >= {"flip", "500", "short", "cut"}
        assert {fault for _, fault in small.log} >= set(small.plan)
        with pytest.raises(
            UserError, match=r"hf://datasets/org/none/manifest.json cannot be read.*hf auth login"
        ) as caught:
            select_remote("hf://datasets/org/none", kept)
        assert TOKEN not in str(caught.value)
        with pytest.raises(UserError, match=r"hf://datasets/org/a:b/manifest.json cannot be read"):
            select_remote("hf://datasets/org/a:b", kept)


def _sha256(content):
    import hashlib

    return hashlib.sha256(content).hexdigest()


def test_credentials_and_unknown_schemes_are_refused(tmp_path):
    text = (
        "model: {preset: tiny}\nstage: {trainable: [{pattern: '.*', learning_rate: 1}]}\nepochs: 1\nout: run\n"
        "data:\n  folders: %s\n"
    )
    for folders, message in [
        ("ftp://host/data", r"scheme 'ftp'.*s3"),
        ("https://me:secret@host/data", r"https://host/data carries credentials"),
        ("https://host/data?token=secret", r"https://host/data carries credentials or a query"),
    ]:
        (tmp_path / "run.yaml").write_text(text % folders)
        with pytest.raises(UserError, match=message) as caught:
            load_config(tmp_path / "run.yaml")
        assert "secret" not in str(caught.value)
    (tmp_path / "run.yaml").write_text(text % "[hf://datasets/a/b, s3://bucket/x/, folder]")
    config = load_config(tmp_path / "run.yaml")
    (tmp_path / "run.yaml").write_text(config.to_yaml())
    assert load_config(tmp_path / "run.yaml") == config
    assert [str(folder) for folder in config.data.folders] == ["hf://datasets/a/b", "s3://bucket/x", "folder"]
