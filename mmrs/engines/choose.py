"""The engine that a command line asks for; a module of its own, as only it knows them all."""

from __future__ import annotations

import os

from mmrs.engines.base import Engine
from mmrs.engines.processes import ProcessPool
from mmrs.errors import UserError


def choose_engine(name: str, workers: int, address: str | None) -> Engine:
    """The engine of that name: ``processes`` or ``ray``.

    Raises:
        UserError: Ray is not installed; an address without Ray.
    """
    if name != "ray":
        if address is not None:
            raise UserError(f"--address {address} belongs to a Ray cluster; add --engine ray or leave it out.")
        return ProcessPool(workers)
    from mmrs.engines.ray import RayCluster, import_ray

    import_ray()
    return RayCluster(address or os.environ.get("RAY_ADDRESS"), workers)
