"""Several ranks of one run as real processes that talk over gloo on the loopback interface."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def run_ranks(size: int, work: Callable[..., Any], *arguments: Any, log: Path) -> list[int | None]:
    """Exit codes of `size` processes that run ``work(*arguments)``; what each writes to standard error is in `log`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log.mkdir(parents=True, exist_ok=True)
    # A fork starts at once, but inherits a GPU that an earlier test woke and that no child can use.
    context = multiprocessing.get_context("spawn" if torch.cuda.is_initialized() else "fork")
    children = [
        context.Process(target=_rank, args=(rank, size, port, log / f"rank-{rank}.txt", work, arguments))
        for rank in range(size)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(timeout=120)
        if child.exitcode is None:
            child.kill()
            child.join()
    return [child.exitcode for child in children]


def _rank(rank: int, size: int, port: int, log: Path, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": "lo",
    }
    torch.set_num_threads(1)
    sys.stderr = log.open("w", buffering=1)
    work(*arguments)
