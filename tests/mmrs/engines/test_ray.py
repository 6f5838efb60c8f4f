"""Builds on a real Ray cluster on this machine: the bytes of the pool, whatever dies meanwhile."""

import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner

import cli
from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.curation.guard import policy_of
from mmrs.curation.report import CURATION_NAME, SUMMARY_NAME
from mmrs.curation.run import CuratedSet, curate_sets
from mmrs.engines.base import MAX_LOST_WORKERS
from mmrs.engines.choose import choose_engine
from mmrs.engines.processes import ProcessPool
from mmrs.engines.ray import RayCluster
from mmrs.errors import BadItem, RunFailure, UserError
from mmrs.export.run import ExportConfig, write_export
from mmrs.progress import Progress
from mmrs.shards.reader import ShardSet
from mmrs.verify.dataset import verify_dataset
from tests.support import tasks
from tests.support.sources import FatalSource, toy_build, write_toy

QUIET = Progress(quiet=True)
SMALL = BuildRecipe.model_validate({"sources": [{"name": "toy"}], "shard_bytes": 20_000})
ray = pytest.importorskip("ray", reason="the engine needs the extra ray")
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
MMRS = Path(sys.executable).parent / "mmrs"


@pytest.fixture(scope="module")
def cluster():
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # Ray's workers give way to everything else by default; beside other tests they would hardly run.
        patch.setenv("RAY_worker_niceness", "0")
        cluster = Cluster(initialize_head=True, head_node_args=NODE | {"num_cpus": 0, "include_dashboard": False})
        try:
            cluster.add_node(**NODE)
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()


@pytest.fixture
def toy(tmp_path):
    write_toy(tmp_path / "toy", images=18)
    return tmp_path / "toy"


def run(toy, out, engine=None, source=None):
    plan = plan_build([toy_build(toy, source)], SMALL, 1, QUIET)
    return build(plan, SMALL, out, 1, QUIET, engine)


def published(out: Path) -> dict[str, bytes]:
    files = (path for path in out.rglob("*") if path.is_file() and ".build" not in path.parts)
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


@pytest.mark.nightly
def test_killed_workers_lose_no_shard(cluster, toy, tmp_path):
    run(toy, tmp_path / "pool")
    (tmp_path / "markers").mkdir()
    source = FatalSource(fatal=("train0001", "train0010", "test0003"), markers=tmp_path / "markers")
    result = run(toy, tmp_path / "ray", RayCluster(cluster.address, 1), source)
    assert len(list((tmp_path / "markers").iterdir())) == 3
    assert published(tmp_path / "ray") == published(tmp_path / "pool") and result.rebuilt > 4
    assert verify_dataset(tmp_path / "ray", 1, QUIET).findings == ()
    assert not list((tmp_path / "ray").rglob("*.tmp-*"))


@pytest.mark.nightly
def test_a_killed_node_loses_no_shard(cluster, toy, tmp_path):
    run(toy, tmp_path / "pool")
    (tmp_path / "markers").mkdir()
    marker = tmp_path / "markers" / "train0004"
    cluster.add_node(**NODE)

    def kill_the_node_at_work():
        while not (marker.exists() and marker.read_text()):
            time.sleep(0.02)
        (node,) = [node for node in cluster.worker_nodes if node.node_id == marker.read_text()]
        cluster.remove_node(node, allow_graceful=False)

    killer = threading.Thread(target=kill_the_node_at_work, daemon=True)
    killer.start()
    source = FatalSource(fatal=("train0004",), markers=tmp_path / "markers", hang=True)
    started = time.monotonic()
    run(toy, tmp_path / "ray", RayCluster(cluster.address, 1), source)
    assert time.monotonic() - started < 110  # it did not wait for the sleeper
    killer.join(10)
    assert not killer.is_alive()
    assert published(tmp_path / "ray") == published(tmp_path / "pool")


@pytest.mark.nightly
def test_an_export_has_the_bytes_of_one_process(cluster, toy, tmp_path):
    run(toy, tmp_path / "shards")
    engine = RayCluster(cluster.address, 1)
    for form in ("coco", "internvl", "messages"):
        alone, spread = (tmp_path / f"{form}-{kind}" for kind in ("alone", "ray"))
        write_export(ExportConfig(tmp_path / "shards", form, alone), QUIET)
        write_export(ExportConfig(tmp_path / "shards", form, spread), QUIET, engine)
        assert published(spread) == published(alone)


@pytest.mark.nightly
def test_errors_come_through_and_a_deadly_task_is_named(cluster, tmp_path):
    engine = RayCluster(cluster.address, 1)
    with pytest.raises(BadItem) as caught:
        list(engine.run(tasks.fail, range(4), str, lambda text: None))
    assert (caught.value.reason, caught.value.path, caught.value.line) == ("broken on purpose", "some/file", 7)
    work = [(number, str(tmp_path)) for number in range(4)]
    said = []
    with pytest.raises(RunFailure, match=rf"number 2: given up after {MAX_LOST_WORKERS} attempts.*WorkerCrashedError"):
        list(engine.run(tasks.die_always, work, lambda task: f"number {task[0]}", said.append))
    assert len(said) == MAX_LOST_WORKERS - 1 and all(line.startswith("number 2: ") for line in said)


@pytest.mark.nightly
def test_data_sets_are_verified_and_curated_as_in_processes(cluster, toy, tmp_path):
    # Without fingerprints in the index the images are read too.
    level = SMALL.model_copy(update={"validation": "L0"})
    for name, splits in (("one", ("train",)), ("two", ("test",))):
        build(plan_build([toy_build(toy, splits=splits)], level, 1, QUIET), level, tmp_path / name, 1, QUIET)
    damaged = next((tmp_path / "one").glob("toy/*.tar"))
    engines = RayCluster(cluster.address, 1), ProcessPool(1)
    sets = [ShardSet(tmp_path / name) for name in ("one", "two")]
    policies = [policy_of(one.manifest) for one in sets]
    written = []
    for number, engine in enumerate(engines):
        outs = [tmp_path / f"out{number}" / name for name in ("one", "two")]
        curate_sets([CuratedSet(*values) for values in zip(sets, policies, outs, strict=True)], QUIET, engine)
        written.append([(out / name).read_bytes() for out in outs for name in (CURATION_NAME, SUMMARY_NAME)])
    assert written[0] == written[1]
    assert verify_dataset(tmp_path / "one", 1, QUIET, engine=engines[0]).findings == ()
    content = bytearray(damaged.read_bytes())
    content[-20_000] ^= 1
    damaged.write_bytes(content)
    found = [verify_dataset(tmp_path / "one", 1, QUIET, engine=engine).findings for engine in engines]
    assert found[0] == found[1] and found[0]


@pytest.mark.nightly
def test_an_interrupted_build_on_its_own_cluster_leaves_nothing_behind_and_goes_on(cluster, tmp_path):
    raw, out = tmp_path / "raw", tmp_path / "out"
    mmrs("sample", "ucmerced", "--out", raw, "--set", "images_per_class=3")
    command = [MMRS, "build", "ucmerced", "--root", f"ucmerced={raw}", "--set", "shard_bytes=200000"]
    build_on_ray = [*command, "--out", out, "--engine", "ray", "--workers", "1"]
    process = subprocess.Popen(build_on_ray, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 240
    while len(list(out.glob("ucmerced/*.done.json"))) < 2:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    children = descendants(process.pid)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert not (out / "manifest.json").exists() and not list(out.rglob("*.tmp-*"))
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    again = mmrs(*build_on_ray[1:], "--address", cluster.address)
    kept = int(again.rpartition("written now, ")[2].split()[0])
    assert 2 <= kept < 63
    mmrs(*command[1:], "--out", tmp_path / "pool", "--workers", "1")
    assert published(out) == published(tmp_path / "pool")


def mmrs(*words) -> str:
    done = CliRunner().invoke(cli.main, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.stdout


def descendants(parent: int) -> set[int]:
    found: set[int] = set()
    # A process or thread that ends meanwhile has no files (glob) and cannot be read (OSError).
    for children in Path(f"/proc/{parent}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, children.read_text().split()):
                found |= {child} | descendants(child)
    return found


def test_mistakes_say_what_to_do(monkeypatch):
    ray.shutdown()
    with pytest.raises(UserError, match="--engine ray"):
        choose_engine("processes", 1, "127.0.0.1:1")
    with pytest.raises(UserError, match=r"no Ray cluster at 127.0.0.1:9: .*ray status"):
        list(RayCluster("127.0.0.1:9", 1).run(tasks.square, [1], str, lambda text: None))
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'mmrs\[ray\]'"):
        choose_engine("ray", 1, None)
