"""A server of which nothing is believed: endless, slow, packed and redirecting answers end the reading in time.

The same server answers over http, as S3 and as the Hub.
"""

import time

import pytest

pytest.importorskip("aiohttp", reason="shards over http need aiohttp")

from fsspec.implementations.memory import MemoryFileSystem
from huggingface_hub import HfFileSystem
from huggingface_hub.utils import get_session

from mmrs.errors import RunFailure, UserError
from mmrs.storage.download import RemoteReader
from mmrs.storage.protocols.hub import _allowed
from mmrs.storage.retry import Patience
from tests.support.hostile_server import PACKED, serve_hostile
from tests.support.places import reach_s3

QUICK = Patience(tries=2, first_wait_seconds=0.01, longest_wait_seconds=0.01, stall_seconds=0.4)


@pytest.fixture(scope="module")
def address():
    with serve_hostile() as url:
        yield url


def reader(kind, address, monkeypatch):
    """Reads what the server at `address` says, which is a server of that kind."""
    if kind == "http":
        return RemoteReader(address, QUICK)
    if kind == "s3":
        pytest.importorskip("s3fs", reason="S3 needs the extra s3")
        reach_s3(address, monkeypatch)
        return RemoteReader("s3://bucket/toy", QUICK)
    hub = HfFileSystem(endpoint=address, token="hf_NeverSentElsewhere", skip_instance_cache=True)
    monkeypatch.setattr("mmrs.storage.protocols.hub.file_system", lambda url: hub)
    return RemoteReader("hf://datasets/org/toy", QUICK)


ENDLESS = (RunFailure, r"has more than 97.7 KiB")
SLOW = (RunFailure, r"2 tries failed, the last with (EOFError: too slow, \d+ bytes in \d s|\w*TimeoutError)")
ELSEWHERE = (UserError, r"redirects to http://localhost, another host.*MMRS_REDIRECT_HOSTS=localhost")
TO_A_FILE = (UserError, r"redirects to file://")
PASSING = (RunFailure, r"2 tries failed")


@pytest.mark.parametrize(
    ("name", "of_kind"),
    [
        ("endless", {"http": ENDLESS, "s3": ENDLESS, "hf": ENDLESS}),
        ("long", {"http": ENDLESS, "s3": ENDLESS, "hf": ENDLESS}),
        ("dripping", {"http": SLOW, "s3": SLOW, "hf": SLOW}),
        ("dripping-headers", {"http": SLOW, "s3": SLOW, "hf": SLOW}),
        ("endless-refusal", {"http": PASSING, "s3": PASSING, "hf": PASSING}),
        ("packed", {kind: (UserError, r"packed \('gzip'\)") for kind in ("http", "hf")}),
        ("other-host", {"http": ELSEWHERE, "s3": PASSING}),
        ("other-scheme", {"http": TO_A_FILE, "s3": PASSING, "hf": TO_A_FILE}),
        ("around", {kind: (UserError, r"more than 5 redirects") for kind in ("http", "hf")}),
    ],
)
def test_an_answer_that_no_data_set_gives_ends_the_reading(address, monkeypatch, name, of_kind):
    for kind, (error, words) in of_kind.items():
        started = time.monotonic()
        with pytest.raises(error, match=words) as caught:
            reader(kind, address, monkeypatch).read(name, 100_000)
        assert time.monotonic() - started < 10
        assert "NeverSent" not in str(caught.value)


def test_a_packed_object_is_not_unpacked(address, monkeypatch):
    assert reader("s3", address, monkeypatch).read("packed", 100_000) == PACKED


def test_redirects_that_are_right_are_followed(address, monkeypatch):
    of_http, of_hub = reader("http", address, monkeypatch), reader("hf", address, monkeypatch)
    assert of_http.read("sound", 5) == of_http.read("same-host", 5) == b"sound"
    # The Hub keeps large files elsewhere, and its token goes nowhere else.
    assert of_hub.read("same-host", 100) == b"sound"
    assert b"NeverSent" in of_hub.read("token", 100)
    assert of_hub.read("other-host", 100) == b"sound"
    assert b"NeverSent" not in of_hub.read("token-elsewhere", 100)
    monkeypatch.setenv("MMRS_REDIRECT_HOSTS", "example.org, localhost")
    assert of_http.read("other-host", 5) == b"sound"


def test_the_hub_s_files_never_come_from_https_by_http():
    secure, insecure = (get_session().build_request("GET", f"{scheme}://hf.co/x") for scheme in ("https", "http"))
    assert _allowed(secure, secure) is secure and _allowed(insecure, secure) is secure
    assert _allowed(insecure, insecure) is insecure
    with pytest.raises(PermissionError, match=r"http://hf\.co, which is not https"):
        _allowed(secure, insecure)


def test_other_storages_are_read_in_ranges(monkeypatch):
    store = MemoryFileSystem()
    store.pipe_file("/set/a", bytes(range(256)) * 100)
    asked = []
    whole = store.cat_file

    def noted(path, start, end):
        asked.append((start, end))
        return whole(path, start=start, end=end)

    monkeypatch.setattr(store, "cat_file", noted)
    monkeypatch.setattr("mmrs.storage.protocols.any_store._RANGE_BYTES", 10_000)
    monkeypatch.setattr("mmrs.storage.protocols.any_store.file_system", lambda url: store)
    assert RemoteReader("memory://set", QUICK).read("a") == bytes(range(256)) * 100
    assert asked == [(0, 10_000), (10_000, 20_000), (20_000, 25_600)]
    with pytest.raises(RunFailure, match="has more than 1000 B"):
        RemoteReader("memory://set", QUICK).read("a", 1000)
    assert len(asked) == 3
    store.rm("/set", recursive=True)
