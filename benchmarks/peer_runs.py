"""What the plain peers of learning share: their options, and one run for each seed written to one file."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import describe


def peer_parser(doc: str | None, source: str, seconds: float, size: int, batch: int) -> argparse.ArgumentParser:
    """The options of every peer, with a peer's own defaults."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", type=Path, help=f"data set of a {source} source")
    parser.add_argument("--seconds", type=float, default=seconds, help="processor time of each run")
    parser.add_argument("--size", type=int, default=size, help="side of the pictures in pixels")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--split", default="test", help="what is scored")
    parser.add_argument("--out", type=Path)
    return parser


def measure_seeds(
    given: argparse.Namespace,
    run: Callable[[argparse.Namespace, int], dict[str, Any]],
    summary: Callable[[list[dict[str, Any]]], dict[str, Any]] = lambda runs: {},
) -> None:
    """Run once for each seed, print each, and write all with `summary` of them."""
    torch.set_num_threads(given.threads)
    runs = []
    for seed in given.seeds:
        runs.append(run(given, seed))
        print(json.dumps(runs[-1]), flush=True)
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(given).items()}
    result = {"date": date.today().isoformat(), "machine": describe(), "settings": settings, "runs": runs}
    if told := summary(runs):
        print(json.dumps(told))
    if given.out is not None:
        given.out.write_text(json.dumps(result | told, indent=2) + "\n")
