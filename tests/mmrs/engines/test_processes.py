"""The process pool: each task is done whatever happens to workers, errors name the task, no worker outlives the run."""

import os
import signal
import subprocess
import sys
import time
from multiprocessing import forkserver
from pathlib import Path

import pytest

from mmrs.engines.base import MAX_LOST_WORKERS
from mmrs.engines.processes import ProcessPool, run_tasks
from mmrs.errors import BadItem, RunFailure
from tests.support import tasks


def gone(pid: int, seconds: float = 10) -> bool:
    """Whether the process ends within that time (a zombie has ended)."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            # One that ends between the opening of its file and the reading is no such process.
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("workers", [1, 2])
def test_every_task_has_its_result(workers):
    assert dict(run_tasks(tasks.square, range(7), workers)) == {n: n * n for n in range(7)}


def test_tasks_of_killed_workers_run_again(tmp_path):
    said = []
    work = [(number, str(tmp_path)) for number in range(7)]
    found = ProcessPool(2).run(tasks.die_once, work, lambda task: f"number {task[0]}", said.append)
    assert dict(found) == {n: n for n in range(7)}
    assert sorted(said) == [
        f"number {n}: its process ended; trying again (1 of {MAX_LOST_WORKERS - 1})" for n in (0, 3, 6)
    ]


def test_a_server_of_workers_that_dies_while_it_forks_one_is_started_again(monkeypatch):
    """As a full memory may kill it: the place is taken by another server, and no task is lost."""
    real, killed = forkserver.connect_to_new_process, []

    def connect(descriptors):
        forkserver.ensure_running()
        server = forkserver._forkserver._forkserver_pid
        if killed:
            return real(descriptors)
        killed.append(server)
        os.kill(server, signal.SIGSTOP)
        ends = real(descriptors)
        os.kill(server, signal.SIGKILL)
        os.waitid(os.P_PID, server, os.WEXITED | os.WNOWAIT)
        return ends

    monkeypatch.setattr(forkserver, "connect_to_new_process", connect)
    said = []
    found = dict(ProcessPool(2).run(tasks.square, range(5), lambda task: f"number {task}", said.append))
    assert found == {n: n * n for n in range(5)}
    assert said == [f"number 0: its process ended; trying again (1 of {MAX_LOST_WORKERS - 1})"]
    assert forkserver._forkserver._forkserver_pid not in killed


def test_a_task_that_kills_every_worker_is_named_and_no_other_is_blamed(tmp_path):
    work = [(number, str(tmp_path)) for number in range(5)]
    said = []
    done = {}
    with pytest.raises(RunFailure, match=rf"number 2: given up after {MAX_LOST_WORKERS} attempts.*--workers"):
        for position, result in ProcessPool(2).run(
            tasks.die_always, work, lambda task: f"number {task[0]}", said.append
        ):
            done[position] = result
    assert done.keys() == {0, 1, 3, 4}
    assert {path.name: len(path.read_text()) for path in tmp_path.iterdir()} == {
        "0": 1, "1": 1, "2": MAX_LOST_WORKERS, "3": 1, "4": 1,
    }  # fmt: skip
    assert all(line.startswith("number 2: ") for line in said)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_task_comes_through_as_it_is(workers):
    with pytest.raises(BadItem) as caught:
        list(run_tasks(tasks.fail, range(50), workers))
    assert (caught.value.reason, caught.value.path, caught.value.line) == ("broken on purpose", "some/file", 7)


def test_a_run_that_ends_early_stops_its_workers_where_they_are(tmp_path):
    started = time.monotonic()
    work = [(0.0, str(tmp_path / "quick")), (60.0, str(tmp_path / "slow"))]
    run = ProcessPool(2).run(tasks.sleep, work, str, lambda text: None)
    next(run)
    while not (tmp_path / "slow").exists() or not (tmp_path / "slow").read_text():
        time.sleep(0.01)
    run.close()
    assert gone(int((tmp_path / "slow").read_text()))
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_parent(tmp_path, number):
    script = (
        "import sys; from mmrs.engines.processes import run_tasks; from tests.support import tasks;"
        "list(run_tasks(tasks.sleep, [(60.0, sys.argv[1]), (60.0, sys.argv[2])], 2))"
    )
    markers = [tmp_path / "one", tmp_path / "two"]
    parent = subprocess.Popen([sys.executable, "-c", script, *map(str, markers)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not all(marker.exists() and marker.read_text() for marker in markers):
        assert time.monotonic() < deadline and parent.poll() is None
        time.sleep(0.02)
    os.kill(parent.pid, number)
    assert parent.wait(20) == -number
    assert all(gone(int(marker.read_text())) for marker in markers)
