"""Property tests judge results, not the speed of the machine: one under load draws and runs as slowly as it must."""

from importlib.util import find_spec

# A GPU node runs its few tests without the test extra.
if find_spec("hypothesis"):
    from hypothesis import HealthCheck, settings

    settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("any machine")
