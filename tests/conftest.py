"""What holds for all tests, set before any of them loads torch.

Property tests judge results, not the speed of the machine: one under load draws and runs as slowly as it must. And
processes that run side by side compute with one thread each, the programs that they start too: threads that wait for
each other at barriers spin on the cores that another process needs.

What has been imported and collected stays until the end: two million objects, which each full collection of garbage
would walk through again. They are set apart once; garbage of the tests themselves is collected as ever.
"""

import gc
import os
from importlib.util import find_spec

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A GPU node runs its few tests without the test extra.
if find_spec("hypothesis"):
    from hypothesis import HealthCheck, settings

    settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("any machine")


def pytest_collection():
    gc.disable()


def pytest_collection_finish():
    gc.enable()
    gc.collect()
    gc.freeze()
