"""Builds under fire: `python -m benchmarks.kills --out RESULT.json [--kills 50] [--nodes 4] [--seed 0]`.

A generated HIT-UAV is built once without disturbance. Then, again and again from nothing,

- pool-builder: the whole build of two processes is killed at a random moment and started again, so many times;
- pool-workers: random worker processes of one running build are killed;
- ray-workers: random worker processes of one build on a local Ray cluster of two nodes are killed;
- ray-nodes: whole nodes (raylets) of that cluster are killed, each replaced by a new one;
- s3-builder: as pool-builder, with the output in an S3 server on loopback.

All kills are SIGKILL. A builder that finishes before its kill starts from nothing again. Lost shards are files that are
missing or differ from the undisturbed build when the fire has stopped and the same command has run once more (where the
build itself was killed) or has ended by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import converters
from benchmarks.machine import describe
from converters.describe import write_sample
from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.engines.base import Engine
from mmrs.engines.processes import ProcessPool
from mmrs.progress import Progress
from mmrs.source import SourceBuild
from mmrs.storage.open import open_place

QUIET = Progress(quiet=True)
SHARD_BYTES = 300_000
SAMPLE = {"images_per_split": "{train: 1500, val: 50, test: 100}", "layouts": "[rotate_json]"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="Of each kind but nodes.")
    parser.add_argument("--nodes", type=int, default=4, help="Killed nodes.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", help="Names of the parts to run; default all.")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_sample("hit-uav", work / "raw", given.seed, SAMPLE)
        started = time.monotonic()
        build_in_process(work / "raw", work / "straight", ProcessPool(2))
        parts = {
            "undisturbed": {
                "seconds": round(time.monotonic() - started, 1),
                "shards": sum(name.endswith(".tar") for name in published(work / "straight")),
            }
        }
        for name, part in PARTS.items():
            if given.only and name not in given.only:
                continue
            shutil.rmtree(work / "out", ignore_errors=True)
            chance = random.Random(f"{given.seed} {name}")
            started = time.monotonic()
            kills, missed = part(work, given.nodes if name == "ray-nodes" else given.kills, chance)
            parts[name] = {"kills": kills, "seconds": round(time.monotonic() - started, 1), "lost": missed}
            print(name, json.dumps(parts[name]), flush=True)
            write_result(given.out, given.seed, parts)
    if any(part.get("lost") for part in parts.values()):
        sys.exit(1)


def write_result(path: Path, seed: int, parts: dict[str, dict]) -> None:
    """After every part: they take minutes each."""
    result = {"date": date.today().isoformat(), "machine": describe(), "seed": seed}
    result |= {"shard_bytes": SHARD_BYTES, "sample": SAMPLE, "parts": parts}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")


def build_in_process(raw: Path, out: Path | str, engine: Engine) -> None:
    source = converters.get("hit-uav")
    recipe = BuildRecipe.model_validate({"sources": [{"name": "hit-uav"}], "shard_bytes": SHARD_BYTES})
    plan = plan_build([SourceBuild(source, raw, tuple(source.splits))], recipe, 1, QUIET)
    build(plan, recipe, out, 1, QUIET, engine)


def command(raw: Path, out: Path | str) -> list[str]:
    words = ["--quiet", "build", "hit-uav", "--root", f"hit-uav={raw}", "--out", str(out), "--workers", "2"]
    return [sys.executable, "-m", "cli", *words, "--set", f"shard_bytes={SHARD_BYTES}"]


def published(out: Path | str) -> dict[str, bytes]:
    place = open_place(out)
    return place.read_many([name for name in place.sizes() if not name.startswith(".build")])


def lost(straight: Path, out: Path | str) -> list[str]:
    """Names that are missing, differ, or should not be there."""
    wanted, found = published(straight), published(out)
    return sorted(name for name in wanted | found if wanted.get(name) != found.get(name))


def kill_builders(work: Path, out: Path | str, kills: int, chance: random.Random) -> int:
    """Kill the whole build at random moments of its life, then let it finish."""
    killed = 0
    while killed < kills:
        process = subprocess.Popen(command(work / "raw", out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(chance.uniform(1.0, 8.0))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
        else:
            if process.returncode:
                raise RuntimeError(f"a build that resumed after a kill ended with {process.returncode}")
            place = open_place(out)
            place.remove(place.sizes())
    subprocess.run(command(work / "raw", out), stdout=subprocess.DEVNULL, check=True)
    return killed


def pool_builder(work: Path, kills: int, chance: random.Random) -> tuple[int, list[str]]:
    killed = kill_builders(work, work / "out", kills, chance)
    return killed, lost(work / "straight", work / "out")


def s3_builder(work: Path, kills: int, chance: random.Random) -> tuple[int, list[str]]:
    import fsspec

    from tests.support.s3_server import ENVIRONMENT, s3_server

    with s3_server() as port:
        os.environ.update(ENVIRONMENT | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"})
        fsspec.filesystem("s3").mkdir("bucket")
        killed = kill_builders(work, "s3://bucket/data", kills, chance)
        return killed, lost(work / "straight", "s3://bucket/data")


def pool_workers(work: Path, kills: int, chance: random.Random) -> tuple[int, list[str]]:
    return kill_workers(work, kills, chance, ProcessPool(2), "multiprocessing.forkserver")


def ray_workers(work: Path, kills: int, chance: random.Random) -> tuple[int, list[str]]:
    with ray_cluster() as (engine, _):
        return kill_workers(work, kills, chance, engine, "ray::_call")


def kill_workers(work: Path, kills: int, chance: random.Random, engine: Engine, word: str) -> tuple[int, list[str]]:
    """Kill workers of running builds; a build that ends before the last kill is followed by one from nothing."""
    killed = 0
    while killed < kills:
        shutil.rmtree(work / "out", ignore_errors=True)
        with firing(chance, kills - killed, lambda: children(os.getpid(), word)) as shots:
            build_in_process(work / "raw", work / "out", engine)
        killed += len(shots)
    return killed, lost(work / "straight", work / "out")


def ray_nodes(work: Path, kills: int, chance: random.Random) -> tuple[int, list[str]]:
    killed = 0
    with ray_cluster() as (engine, cluster):
        while killed < kills:
            shutil.rmtree(work / "out", ignore_errors=True)
            # Nodes can be started in the main thread only.
            with ThreadPoolExecutor(1) as thread:
                running = thread.submit(build_in_process, work / "raw", work / "out", engine)
                while killed < kills and not wait([running], chance.uniform(0.5, 2.0)).done:
                    if children(os.getpid(), "ray::_call"):
                        cluster.remove_node(chance.choice(list(cluster.worker_nodes)), allow_graceful=False)
                        killed += 1
                        cluster.add_node(**NODE)
                running.result()
    return killed, lost(work / "straight", work / "out")


@contextmanager
def firing(chance: random.Random, wanted: int, targets: Callable[[], list[int]]) -> Iterator[list[int]]:
    """Kill one of `targets` now and then while the block runs, `wanted` at most."""
    stop = threading.Event()
    shots: list[int] = []

    def fire() -> None:
        while len(shots) < wanted and not stop.wait(chance.uniform(0.05, 0.4)):
            alive = targets()
            if alive:
                try:
                    os.kill(chance.choice(alive), signal.SIGKILL)
                except ProcessLookupError:
                    continue
                shots.append(1)

    thread = threading.Thread(target=fire)
    thread.start()
    try:
        yield shots
    finally:
        stop.set()
        thread.join()


def children(parent: int, word: str) -> list[int]:
    """Descendants of a process whose command line contains `word`."""
    found = []
    try:
        tasks = list(Path(f"/proc/{parent}/task").iterdir())
        below = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []
    for child in below:
        try:
            line = Path(f"/proc/{child}/cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        found += ([child] if word in line else []) + children(child, word)
    return found


NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


@contextmanager
def ray_cluster() -> Iterator[tuple[Engine, Any]]:
    import ray
    from ray.cluster_utils import Cluster

    from mmrs.engines.ray import RayCluster

    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    cluster = Cluster(initialize_head=True, head_node_args=NODE | {"num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(2):
            cluster.add_node(**NODE)
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        yield RayCluster(cluster.address, 1), cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


PARTS = {
    "pool-builder": pool_builder,
    "pool-workers": pool_workers,
    "ray-workers": ray_workers,
    "ray-nodes": ray_nodes,
    "s3-builder": s3_builder,
}


if __name__ == "__main__":
    main()
