"""Files from a server that does what servers do: every fault it plans, and what lies on the disk after each."""

import errno
import hashlib
import json
import os
import random
import threading
import time

import pytest

from mmrs.errors import RunFailure, UserError
from mmrs.fetch.http_client import Address
from mmrs.fetch.remote_file import GIT_BLOB, RemoteFile
from mmrs.fetch.transfer import Cancelled, Transfer
from mmrs.storage.retry import Patience
from tests.support.fetch_server import HOSTS, git_blob, serve_files

QUICK = Patience(tries=3, first_wait_seconds=0.01, longest_wait_seconds=0.02, stall_seconds=0.4)
CONTENT = random.Random(0).randbytes(300_000)
SUMS = {name: hashlib.new(name, CONTENT).hexdigest() for name in ("md5", "sha256")} | {GIT_BLOB: git_blob(CONTENT)}


@pytest.fixture
def server():
    with serve_files({"/f": CONTENT}) as served:
        yield served


class NeverCancelled(threading.Event):
    """Keeps the waits instead of waiting."""

    def __init__(self):
        super().__init__()
        self.waits = []

    def wait(self, timeout=None):
        self.waits.append(timeout)
        return False


def remote(server, path="/f", **known):
    hosts = known.pop("hosts", HOSTS)
    return RemoteFile("f", Address(f"{server.url}{path}", hosts, known.pop("secrets", {})), **known)


def fetch(server, folder, patience=QUICK, **known):
    return Transfer(patience=patience).fetch(remote(server, **known), folder / "f")


def left_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("known", [{}, {"size": len(CONTENT)}, {"size": len(CONTENT), "digests": SUMS}])
def test_a_file_comes_with_its_sums_and_leaves_nothing_else(server, tmp_path, known):
    fetched = fetch(server, tmp_path, **known)
    assert fetched.path.read_bytes() == CONTENT
    assert (fetched.size, fetched.sha256) == (len(CONTENT), SUMS["sha256"])
    assert left_in(tmp_path) == ["f"]


@pytest.mark.parametrize("faults", [["cut"], ["cut", "cut"], ["500", "cut"], ["429:0"], ["503"], ["short"], ["stall"]])
def test_faults_that_pass_are_outlived_and_what_has_come_is_not_asked_for_again(server, tmp_path, faults):
    server.plans["/f"] = list(faults)
    assert fetch(server, tmp_path, size=len(CONTENT)).path.read_bytes() == CONTENT
    ranges = server.asked("/f")
    assert len(ranges) == len(faults) + 1
    if faults[0] in ("cut", "stall"):
        assert ranges[1] == f"bytes={len(CONTENT) // 2}-"


def test_progress_counts_each_byte_once(server, tmp_path):
    server.plans["/f"] = ["cut", "all", "ok"]
    steps = []
    Transfer(steps.append, QUICK).fetch(remote(server, size=len(CONTENT)), tmp_path / "f")
    assert sum(steps) == len(CONTENT)


@pytest.mark.parametrize("faults", [["500"] * 9, ["stall"] * 9, ["drip"] * 9, ["429:0"] * 9])
def test_faults_that_stay_end_with_what_to_do(server, tmp_path, faults):
    server.plans["/f"] = list(faults)
    with pytest.raises(RunFailure, match=r"f from http://127.*3 tries failed.*the same command goes on"):
        fetch(server, tmp_path, size=len(CONTENT) * 20 if faults[0] == "drip" else len(CONTENT))


def test_retry_after_is_waited_for_and_bounded(server, tmp_path):
    server.plans["/f"] = ["429:7", "429:86400", "429:Thu, 01 Jan 1970 00:00:00 GMT"]
    cancelled = NeverCancelled()
    Transfer(patience=Patience(tries=5, first_wait_seconds=0.01), cancelled=cancelled).fetch(
        remote(server), tmp_path / "f"
    )
    assert cancelled.waits[:2] == [7.0, 900.0] and 0 < cancelled.waits[2] < 1


@pytest.mark.parametrize(("status", "words"), [("404", "HTTP 404"), ("403", "HTTP 403"), ("410", "HTTP 410")])
def test_a_refusal_is_the_user_s_to_mend_at_once(server, tmp_path, status, words):
    server.plans["/f"] = [status]
    with pytest.raises(UserError, match=words):
        fetch(server, tmp_path)
    assert len(server.asked("/f")) == 1


@pytest.mark.parametrize("algorithm", sorted(SUMS))
def test_a_wrong_sum_leaves_nothing(server, tmp_path, algorithm):
    wrong = {**SUMS, algorithm: "0" * len(SUMS[algorithm])}
    with pytest.raises(RunFailure, match=rf"its {algorithm} is {SUMS[algorithm]}, 0+ was expected"):
        fetch(server, tmp_path, size=len(CONTENT), digests=wrong)
    assert left_in(tmp_path) == []


def test_a_damaged_part_is_begun_again_and_not_kept(server, tmp_path):
    (tmp_path / "f.part").write_bytes(CONTENT[:1000] + b"damaged" + CONTENT[1007:200_000])
    fetched = fetch(server, tmp_path, size=len(CONTENT), digests=SUMS)
    assert fetched.path.read_bytes() == CONTENT
    assert server.asked("/f") == ["bytes=200000-", ""]


def test_a_file_that_changed_between_two_runs_is_not_spliced(server, tmp_path):
    server.plans["/f"] = ["cut"] + ["500"] * 2
    with pytest.raises(RunFailure):
        fetch(server, tmp_path)
    assert left_in(tmp_path) == ["f.part", "f.part.json"]
    server.files["/f"] = CONTENT[::-1]
    assert fetch(server, tmp_path).path.read_bytes() == CONTENT[::-1]


def test_a_file_that_changes_between_two_tries_is_not_spliced(server, tmp_path):
    server.plans["/f"] = ["cut", "500"]

    class Changing(NeverCancelled):
        def wait(self, timeout=None):
            server.files["/f"] = CONTENT[::-1]
            return False

    steps = []
    transfer = Transfer(steps.append, QUICK, Changing())
    assert transfer.fetch(remote(server), tmp_path / "f").path.read_bytes() == CONTENT[::-1]
    assert server.asked("/f")[-1] == f"bytes={len(CONTENT) // 2}-"
    assert sum(steps) == len(CONTENT)


def test_a_file_that_became_shorter_is_begun_again(server, tmp_path):
    server.plans["/f"] = ["cut"] + ["500"] * 2
    with pytest.raises(RunFailure):
        fetch(server, tmp_path)
    server.with_etags = False
    server.files["/f"] = b"short"
    (tmp_path / "f.part.json").write_text('{"validator": "\\"x\\"", "size": 300000}')
    assert fetch(server, tmp_path).path.read_bytes() == b"short"


def test_without_etag_and_sum_a_part_is_never_gone_on_with(server, tmp_path):
    server.with_etags = False
    (tmp_path / "f.part").write_bytes(b"of another file")
    assert fetch(server, tmp_path).path.read_bytes() == CONTENT
    assert server.asked("/f") == [""]


def test_a_whole_part_needs_no_bytes(server, tmp_path):
    (tmp_path / "f.part").write_bytes(CONTENT)
    fetch(server, tmp_path, size=len(CONTENT), digests=SUMS)
    assert server.asked("/f") == []
    # Where nobody says the size, the server is asked and says that there is no more.
    (tmp_path / "f.part").write_bytes(CONTENT)
    (tmp_path / "f.part.json").write_text(json.dumps({"validator": f'"{SUMS["sha256"][:16]}"', "size": len(CONTENT)}))
    assert fetch(server, tmp_path).path.read_bytes() == CONTENT
    assert server.asked("/f") == ["bytes=300000-"]


@pytest.mark.parametrize(("fault", "size"), [("ok", 1000), ("long", len(CONTENT))])
def test_more_than_was_expected_ends_it(server, tmp_path, fault, size):
    server.plans["/f"] = [fault]
    with pytest.raises(RunFailure, match="the server sends"):
        fetch(server, tmp_path, size=size)


def test_packed_answers_are_refused(server, tmp_path):
    server.plans["/f"] = ["packed"]
    with pytest.raises(UserError, match="packed"):
        fetch(server, tmp_path)


def test_redirects_go_to_named_hosts_alone_and_secrets_to_none(server, tmp_path, monkeypatch):
    port = server.url.rpartition(":")[2]
    server.redirects["/r"] = f"http://localhost:{port}/f"
    fetch(server, tmp_path, path="/r", secrets={"Authorization": "Bearer hf_NeverSentElsewhere"})
    assert [secret for _, _, secret in server.log] == ["Bearer hf_NeverSentElsewhere", ""]
    with pytest.raises(UserError, match=r"http://localhost is none of the hosts.*MMRS_REDIRECT_HOSTS=localhost"):
        fetch(server, tmp_path, path="/r", hosts=("127.0.0.1",))
    monkeypatch.setenv("MMRS_REDIRECT_HOSTS", "localhost")
    fetch(server, tmp_path, path="/r", hosts=("127.0.0.1",))


@pytest.mark.parametrize("target", ["http://example.org/f", "file:///etc/passwd", "https://127.0.0.1.example.org/f"])
def test_redirects_elsewhere_are_refused_before_anything_is_sent(server, tmp_path, target):
    server.redirects["/r"] = target
    with pytest.raises(UserError, match="none of the hosts"):
        fetch(server, tmp_path, path="/r", hosts=(*HOSTS, "*.example.com"))


def test_redirects_in_a_circle_end(server, tmp_path):
    server.redirects["/r"] = "/r"
    with pytest.raises(UserError, match="more than 8 redirects"):
        fetch(server, tmp_path, path="/r")


def test_a_full_disk_keeps_what_has_come(server, tmp_path, monkeypatch):
    write, come = os.pwrite, 0

    def full(descriptor, data, offset):
        nonlocal come
        if offset >= 100_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        come = offset + write(descriptor, data, offset)
        return come - offset

    monkeypatch.setattr("mmrs.fetch.transfer.os.pwrite", full)
    monkeypatch.setattr("mmrs.fetch.transfer._BUFFER_BYTES", 2**14)
    with pytest.raises(RunFailure, match=r"the disk is full.*Make room"):
        fetch(server, tmp_path, size=len(CONTENT))
    assert len(server.asked("/f")) == 1
    monkeypatch.undo()
    assert fetch(server, tmp_path, size=len(CONTENT)).path.read_bytes() == CONTENT
    assert server.asked("/f")[-1] == f"bytes={come}-"


def test_a_link_in_the_place_of_the_part_is_not_written_through(server, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "f.part").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic link"):
        fetch(server, tmp_path)
    assert victim.read_text() == "mine"


def test_a_cancelled_transfer_ends_soon_and_stays(server, tmp_path):
    server.plans["/f"] = ["cut", *["500"] * 50]
    transfer = Transfer(patience=Patience(tries=50, first_wait_seconds=30))
    threading.Timer(0.2, transfer.cancelled.set).start()
    started = time.monotonic()
    with pytest.raises(Cancelled):
        transfer.fetch(remote(server), tmp_path / "f")
    assert time.monotonic() - started < 5
    assert "f.part" in left_in(tmp_path)
