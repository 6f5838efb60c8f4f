"""Data sets behind an S3 URL, over the protocol: the bytes of a folder, whatever the store or the build suffer."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip("s3fs", reason="output to S3 needs the extra s3")
pytest.importorskip("moto.server", reason="the S3 server of the tests (moto, flask) is not installed")

import fsspec
import s3fs

from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, inspect_output, plan_build
from mmrs.errors import StorageFailure, UserError
from mmrs.progress import Progress
from mmrs.storage.open import open_place
from mmrs.storage.place import LOCK_NAME
from mmrs.verify.dataset import verify_dataset
from tests.support.s3_server import ENVIRONMENT, faulty_proxy, s3_server
from tests.support.sources import toy_build, write_toy

QUIET = Progress(quiet=True)
SMALL = BuildRecipe.model_validate({"sources": [{"name": "toy"}], "shard_bytes": 20_000})


@pytest.fixture(scope="module")
def port():
    with s3_server() as port:
        yield port


@pytest.fixture
def toy(tmp_path):
    write_toy(tmp_path / "toy", images=9)
    return tmp_path / "toy"


@pytest.fixture
def url(port, monkeypatch, request):
    """An empty place in a fresh bucket; clients in this process and its children find the server."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "4")
    reach(port, monkeypatch)
    bucket = "bucket-" + hashlib.sha256(request.node.name.encode()).hexdigest()[:16]
    fsspec.filesystem("s3").mkdir(bucket)
    return f"s3://{bucket}/data"


def reach(port, monkeypatch):
    """Let clients made from now on go to that port."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    s3fs.S3FileSystem.clear_instance_cache()


def run(toy, out, workers=1):
    return build(plan_build([toy_build(toy)], SMALL, 1, QUIET), SMALL, out, workers, QUIET)


def published(out) -> dict[str, bytes]:
    place = open_place(out)
    return place.read_many([name for name in place.sizes() if not name.startswith(".build")])


def test_a_url_holds_the_bytes_of_a_folder(toy, url, tmp_path):
    local = run(toy, tmp_path / "out")
    remote = run(toy, url, workers=2)
    assert published(url) == published(tmp_path / "out") and len(local.manifest.shards) > 2
    assert remote.manifest.id == local.manifest.id and remote.rebuilt == len(local.manifest.shards)
    checked = verify_dataset(url, 1, QUIET)
    assert (checked.findings, checked.samples, checked.manifest) == ((), 12, local.manifest)
    assert run(toy, url).rebuilt == 0
    os.utime(toy / "train" / "train0003.jpg", (1, 1))
    plan = plan_build([toy_build(toy)], SMALL, 1, QUIET)
    ((_, reason),) = inspect_output(plan, url).missing
    assert (reason.what, reason.at) == ("source file changed", ("train/train0003.jpg",))
    assert run(toy, url).rebuilt == 1
    assert published(url) == published(tmp_path / "out")
    assert not any(name == LOCK_NAME or ".tmp-" in name for name in open_place(url).sizes())


def test_damage_behind_a_url_is_found_and_mended(toy, url):
    result = run(toy, url)
    shard = result.manifest.shards[1]
    place = open_place(url)
    tar = place.read(shard.path)
    place.write(shard.path, tar[:1000] + b"!" + tar[1001:])
    assert {finding.path for finding in verify_dataset(url, 1, QUIET).findings} == {shard.path}
    place.remove([shard.path])
    assert run(toy, url).rebuilt == 1
    assert verify_dataset(url, 1, QUIET).findings == ()


@pytest.mark.nightly
@pytest.mark.parametrize("fault", ["refuse", "cut request", "cut answer", "delay"])
def test_a_store_that_fails_now_and_then(toy, url, port, monkeypatch, tmp_path, fault):
    run(toy, tmp_path / "out")
    every = 20 if fault == "delay" else 9
    with faulty_proxy(port, lambda number, method, path: fault if number % every == 1 else None) as (proxy, seen):
        reach(proxy, monkeypatch)
        run(toy, url)
        assert published(url) == published(tmp_path / "out")
    assert sum(fault in line for line in seen) >= 2


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(2))
def test_a_store_that_goes_away(toy, url, port, monkeypatch, tmp_path, seed):
    """At a random request the store stops answering. What is there is whole, and the next run goes on."""
    run(toy, tmp_path / "out")
    whole = published(tmp_path / "out")
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    away = random.Random(seed).randrange(8, 45)
    with faulty_proxy(port, lambda number, method, path: "refuse" if number >= away else None) as (proxy, _):
        reach(proxy, monkeypatch)
        started = time.monotonic()
        with pytest.raises(StorageFailure, match=r"(shard toy/|the data set).*s3://.*run the same command again"):
            run(toy, url)
        assert time.monotonic() - started < 30
    reach(port, monkeypatch)
    left = published(url)
    assert "manifest.json" not in left and all(whole[name] == content for name, content in left.items())
    for name in left:
        if name.endswith(".done.json"):
            assert {name.replace(".done.json", suffix) for suffix in (".tar", ".parquet")} <= left.keys()
    forget_process(url)
    done = sum(name.endswith(".done.json") for name in left)
    assert run(toy, url).rebuilt == sum(name.endswith(".tar") for name in whole) - done
    assert published(url) == whole


def forget_process(url):
    """The failed build's lock names this very process, which lives; as if it had been another one, now dead."""
    place = open_place(url)
    held = json.loads(place.read(LOCK_NAME))
    place.write(LOCK_NAME, json.dumps(held | {"pid": 2**22 + 1}).encode())


@pytest.mark.nightly
def test_killed_builds_are_taken_over_at_once(toy, url, tmp_path):
    run(toy, tmp_path / "out")
    script = (
        "import sys; from pathlib import Path; from mmrs.builder.recipe import BuildRecipe;"
        "from mmrs.builder.run import build, plan_build; from mmrs.progress import Progress;"
        "from tests.support.sources import toy_build;"
        f"recipe = BuildRecipe.model_validate({SMALL.model_dump(mode='json')!r});"
        "plan = plan_build([toy_build(Path(sys.argv[1]))], recipe, 1, Progress(quiet=True));"
        "build(plan, recipe, sys.argv[2], 1, Progress(quiet=True), announce=lambda found: print('go', flush=True))"
    )
    chance, killed = random.Random(5), 0
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", script, str(toy), url], stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(chance.uniform(0, 0.25))
        process.send_signal(signal.SIGKILL)
        killed += process.wait(30) == -signal.SIGKILL
        process.stdout.close()
    assert killed >= 1
    started = time.monotonic()
    run(toy, url)
    assert time.monotonic() - started < 20  # no wait for the dead build's lock
    assert published(url) == published(tmp_path / "out")


def test_two_builds_at_one_url_are_refused(toy, url, monkeypatch):
    monkeypatch.setattr("mmrs.storage.lease.RENEWAL_SECONDS", 0.1)
    with open_place(url).lock(lambda text: None) as token:
        said = []
        refused = pytest.raises(UserError, match=r"another `mmrs` is writing to s3://.*--out")
        with refused, open_place(url).lock(said.append):
            pass
        assert "waiting 60 s for a sign of life" in said[0]
        open_place(url).check(token)
    assert LOCK_NAME not in open_place(url).sizes()


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("s3://no-such-bucket-here/data", "cannot write to s3://no-such-bucket-here/data.*--out"),
        ("memory://data", "would vanish"),
        ("hf://datasets/me/mine", "mmrs push"),
        ("nonsense://data", "nonsense://data has the scheme 'nonsense', which is not known.*s3"),
        ("sftp://me:secret@host/data", "sftp://host/data carries credentials"),
    ],
)
def test_places_that_cannot_hold_a_data_set(toy, url, where, words):
    with pytest.raises(UserError, match=words) as caught:
        run(toy, where)
    assert "secret" not in str(caught.value)


def test_a_missing_package_is_named(monkeypatch):
    # fsspec keeps the classes that it has loaded in a table of its own.
    monkeypatch.setattr("fsspec.filesystem", no_package)
    with pytest.raises(UserError, match=r"pip install 'mmrs\[s3\]'"):
        open_place("s3://bucket/data")


def no_package(protocol, **options):
    raise ImportError("Install s3fs to access S3")
