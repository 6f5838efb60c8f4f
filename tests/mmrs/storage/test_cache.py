"""The cache of downloads: within its limit, whole files only, for any number of processes."""

from __future__ import annotations

import errno
import hashlib
import multiprocessing
import os
import random
import signal
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrs.errors import RunFailure, UserError
from mmrs.storage.cache import DigestMismatch, FileCache, default_cache


def content(number: int, size: int = 1000) -> bytes:
    return random.Random(number).randbytes(size)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def read(cache: FileCache, data: bytes, log: list | None = None) -> bytes:
    def download(descriptor):
        if log is not None:
            log.append(digest(data))
        os.pwrite(descriptor, data, 0)

    descriptor = cache.open(digest(data), len(data), download)
    try:
        return os.pread(descriptor, len(data) + 1, 0)
    finally:
        os.close(descriptor)


@given(st.lists(st.integers(0, 9), max_size=30), st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_it_keeps_what_was_opened_last(tmp_path_factory, opened, capacity):
    cache = FileCache(tmp_path_factory.mktemp("cache"), capacity * 1000)
    kept: list[int] = []
    for number in opened:
        log: list[str] = []
        assert read(cache, content(number), log) == content(number)
        assert len(log) == (number not in kept)
        kept = [other for other in kept if other != number][-(capacity - 1) :] * (capacity > 1) + [number]
        names = {path.name for path in cache.folder.iterdir() if path.is_file()}
        assert names == {digest(content(other)) for other in kept}


def test_a_wrong_download_is_no_file(tmp_path):
    cache = FileCache(tmp_path, 10_000)
    with pytest.raises(DigestMismatch, match=r"sha256 is"):
        cache.open(digest(content(0)), 1000, lambda file: os.pwrite(file, content(1), 0))
    with pytest.raises(DigestMismatch):
        cache.open(digest(content(0)), 1000, lambda file: os.pwrite(file, content(0)[:500], 0))
    assert [path for path in tmp_path.iterdir() if path.is_file()] == []


def test_a_failed_download_leaves_nothing_and_passes_its_error_on(tmp_path):
    def fail(error):
        def download(descriptor):
            os.pwrite(descriptor, b"part", 0)
            raise error

        return download

    cache = FileCache(tmp_path, 10_000)
    with pytest.raises(ConnectionError):
        cache.open(digest(content(0)), 1000, fail(ConnectionError()))
    with pytest.raises(RunFailure, match=r"disk of the cache .* is full"):
        cache.open(digest(content(0)), 1000, fail(OSError(errno.ENOSPC, "no space")))
    with pytest.raises(UserError, match=r"does not fit the cache"):
        cache.open(digest(content(0)), 10_001, fail(AssertionError()))
    assert [path for path in tmp_path.iterdir() if path.is_file()] == []


def test_a_file_of_another_size_is_fetched_again(tmp_path):
    cache, log = FileCache(tmp_path, 10_000), []
    read(cache, content(0), log)
    (tmp_path / digest(content(0))).write_bytes(b"cut")
    assert read(cache, content(0), log) == content(0) and len(log) == 2


def test_a_file_that_changed_on_the_disk_is_fetched_again_by_the_next_run(tmp_path, monkeypatch):
    cache, log = FileCache(tmp_path, 10_000), []
    read(cache, content(0), log)
    (tmp_path / digest(content(0))).write_bytes(content(1))
    monkeypatch.setattr("mmrs.storage.cache._SOUND", set())
    assert read(cache, content(0), log) == content(0) and len(log) == 2
    monkeypatch.setattr("mmrs.storage.cache._sha256", lambda descriptor: "looked at twice")
    assert read(cache, content(0), log) == content(0) and len(log) == 2


def work(folder, seed, log):
    """Open files at random for a while, slowly downloaded; every content is checked."""
    cache, rng = FileCache(folder, 4000), random.Random(seed)
    for _ in range(40):
        data = content(rng.randrange(8))

        def download(descriptor, data=data):
            with log.get_lock():
                log.value += 1
            os.pwrite(descriptor, data[:500], 0)
            time.sleep(0.002)
            os.pwrite(descriptor, data[500:], 500)

        descriptor = cache.open(digest(data), len(data), download)
        assert os.pread(descriptor, 1001, 0) == data
        os.close(descriptor)


def test_several_processes_share_it_and_any_may_be_killed(tmp_path):
    context = multiprocessing.get_context("fork")
    log = context.Value("i", 0)
    workers = [context.Process(target=work, args=(tmp_path, seed, log)) for seed in range(4)]
    for worker in workers:
        worker.start()
    rng, largest = random.Random(0), 0
    victims = 0
    while any(worker.is_alive() for worker in workers):
        sizes = []
        for path in tmp_path.glob("[0-9a-f]*"):
            try:
                sizes.append(path.stat().st_size)
            except FileNotFoundError:
                continue
        largest = max(largest, sum(sizes))
        if victims < 3 and log.value > 10 * (victims + 1):
            # With a count of its own: killed while it held the lock of the common one, it would stop all others.
            victim = context.Process(target=work, args=(tmp_path, 100 + victims, context.Value("i", 0)))
            victim.start()
            time.sleep(rng.uniform(0.005, 0.03))
            victim.kill()
            victim.join()
            victims += 1
        time.sleep(0.001)
    assert [worker.exitcode for worker in workers] == [0] * 4 and victims > 0
    assert largest <= 4000
    read(FileCache(tmp_path, 4000), content(50))
    read(FileCache(tmp_path, 1000), content(51))
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [digest(content(51))]


def test_a_download_that_ends_while_the_folder_is_listed_still_counts(tmp_path, monkeypatch):
    cache, (first, second) = FileCache(tmp_path, 1500), (digest(content(0)), digest(content(1)))
    part = tmp_path / f"{first}.part"
    part.write_bytes(content(0))
    scan = os.scandir

    def listed_before_it_ended(folder):
        entries = list(scan(folder))
        if part.exists():
            part.rename(tmp_path / first)
        return entries

    monkeypatch.setattr(os, "scandir", listed_before_it_ended)
    assert read(cache, content(1)) == content(1)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [second]


def test_a_download_that_others_evict_as_it_ends_is_fetched_again(tmp_path, monkeypatch):
    cache, log, replace = FileCache(tmp_path, 4000), [], os.replace

    def evicted_at_once(source, target):
        replace(source, target)
        os.unlink(target)
        monkeypatch.undo()

    monkeypatch.setattr(os, "replace", evicted_at_once)
    assert read(cache, content(0), log) == content(0) and len(log) == 2


def test_processes_that_want_the_same_file_download_it_once(tmp_path):
    context = multiprocessing.get_context("fork")
    log = context.Value("i", 0)

    def fetch():
        def download(descriptor):
            with log.get_lock():
                log.value += 1
            time.sleep(0.1)
            os.pwrite(descriptor, content(0), 0)

        os.close(FileCache(tmp_path, 4000).open(digest(content(0)), 1000, download))

    workers = [context.Process(target=fetch) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert log.value == 1 and [worker.exitcode for worker in workers] == [0] * 4


def test_a_part_that_a_killed_process_left_is_removed_when_room_is_needed(tmp_path):
    cache = FileCache(tmp_path, 2000)
    child = multiprocessing.get_context("fork").Process(
        target=lambda: cache.open(digest(content(0)), 2000, lambda file: os.kill(os.getpid(), signal.SIGKILL))
    )
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL and len(list(tmp_path.glob("*.part"))) == 1
    assert read(cache, content(1)) == content(1)
    assert list(tmp_path.glob("*.part")) == []


def test_the_default_cache_lies_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.delenv("MMRS_CACHE_GB", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == FileCache(tmp_path / "mmrs" / "shards", 100 * 10**9)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MMRS_CACHE_GB", "0.5")
    assert default_cache() == FileCache(tmp_path / "home" / ".cache" / "mmrs" / "shards", 5 * 10**8)
    for wrong in ("many", "0", "-1", "nan", "inf"):
        monkeypatch.setenv("MMRS_CACHE_GB", wrong)
        with pytest.raises(UserError, match=f"MMRS_CACHE_GB={wrong} is no number of gigabytes"):
            default_cache()
