"""Both kinds of lock: who is excluded, and what a fork inherits."""

import os
import subprocess
import sys
import threading

import pytest

from mmrs.storage.locks import is_held, record_lock, whole_file_lock


def test_threads_of_one_process_exclude_each_other_by_whole_file_locks(tmp_path):
    path = tmp_path / "lock"
    order = []
    with whole_file_lock(path):
        assert is_held(path)
        with pytest.raises(BlockingIOError), whole_file_lock(path):
            pass

        def wait():
            with whole_file_lock(path, wait=True):
                order.append("other")

        thread = threading.Thread(target=wait)
        thread.start()
        order.append("first")
    thread.join(10)
    assert order == ["first", "other"] and not is_held(path)


def test_a_lock_leaves_the_content_as_it_is(tmp_path):
    path = tmp_path / "lock"
    path.write_text("token")
    with whole_file_lock(path) as descriptor:
        assert os.pread(descriptor, 10, 0) == b"token"
    with record_lock(path):
        pass
    assert path.read_text() == "token"


@pytest.mark.parametrize(("kind", "kept"), [("whole_file_lock", True), ("record_lock", False)])
def test_a_forked_child_inherits_only_a_whole_file_lock(tmp_path, kind, kept):
    path = tmp_path / "lock"
    script = (
        f"import os, sys, time; from pathlib import Path; from mmrs.storage.locks import {kind} as hold\n"
        "with hold(Path(sys.argv[1])):\n"
        "    if os.fork() == 0: time.sleep(60); os._exit(0)\n"
        "    print('held', flush=True); sys.stdin.read(1); os._exit(0)\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        holder.stdout.readline()
        group = os.getpgid(holder.pid)
        assert not free(path, kind)
        holder.stdin.close()
        holder.wait(10)
        assert free(path, kind) is not kept
    finally:
        os.killpg(group, 9)
        holder.stdout.close()


def free(path, kind):
    try:
        with {"whole_file_lock": whole_file_lock, "record_lock": record_lock}[kind](path):
            return True
    except OSError:
        return False
