"""Listings of services that are of another form than their documentation says."""

import json

import pytest

from mmrs.errors import RunFailure
from mmrs.fetch.catalogue import GithubReleasePart, ZenodoPart
from mmrs.fetch.services import endpoints
from mmrs.fetch.services.github import attached_files
from mmrs.fetch.services.zenodo import zenodo_files

RELEASE = GithubReleasePart(service="github-release", repo="a/b", tag="v1", files=({"name": "a.zip"},))
RECORD = ZenodoPart(service="zenodo", record=1)


@pytest.mark.parametrize("content", [[], {}, {"assets": 3}, {"assets": [{"name": []}]}, {"assets": [None]}])
def test_odd_releases(monkeypatch, content):
    monkeypatch.setattr(endpoints, "read_small", lambda *given: json.dumps(content).encode())
    with pytest.raises(RunFailure, match="of another form than expected"):
        attached_files(RELEASE, endpoints.Endpoints(), 1.0)


@pytest.mark.parametrize("content", [[], {"files": [{"key": 3}]}, {"files": [{"key": "../out"}]}, {"files": [3]}])
def test_odd_records(monkeypatch, content):
    monkeypatch.setattr(endpoints, "read_small", lambda *given: json.dumps(content).encode())
    with pytest.raises(RunFailure, match="of another form than expected"):
        zenodo_files(RECORD, endpoints.Endpoints(), 1.0)


def test_what_is_no_json_is_said(monkeypatch):
    monkeypatch.setattr(endpoints, "read_small", lambda *given: b"<html>")
    with pytest.raises(RunFailure, match="does not answer with JSON"):
        zenodo_files(RECORD, endpoints.Endpoints(), 1.0)
