"""A server of this machine in the place of every service."""

from functools import partial

import pytest

from mmrs.fetch.services import endpoints
from mmrs.storage.retry import Patience
from tests.support.fetch_server import HOSTS, serve_files

QUICK = Patience(tries=3, first_wait_seconds=0.01, longest_wait_seconds=0.02, stall_seconds=2)


@pytest.fixture
def server(monkeypatch):
    with serve_files() as served:
        made = partial(
            endpoints.Endpoints,
            zenodo=served.url,
            github=served.url,
            github_api=f"{served.url}/api",
            github_raw=f"{served.url}/raw",
            github_media=f"{served.url}/media",
            github_archives=f"{served.url}/archives",
            drive=f"{served.url}/drive",
            **{f"{name}_hosts": HOSTS for name in ("hub", "zenodo", "github", "drive")},
        )
        monkeypatch.setattr(endpoints, "Endpoints", made)
        monkeypatch.setattr("mmrs.fetch.plan.LISTING_PATIENCE", QUICK)
        monkeypatch.setattr("mmrs.fetch.run.DEFAULT_PATIENCE", QUICK)
        yield served
