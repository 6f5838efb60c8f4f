from pathlib import Path

import pytest

from converters.samples import release as fake
from mmrs.progress import Progress
from mmrs.release.ingest import ingest

QUIET = Progress(quiet=True)


@pytest.fixture(scope="session")
def archive(tmp_path_factory) -> Path:
    """Parts of a generated archive; read-only."""
    folder = tmp_path_factory.mktemp("archive")
    fake.write(folder, parts=4)
    return folder


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory) -> Path:
    """The same archive as a tree; read-only."""
    folder = tmp_path_factory.mktemp("unpacked")
    fake.write(folder, unpacked=True)
    return folder


@pytest.fixture(scope="session")
def ingested(archive, tmp_path_factory) -> Path:
    """The archive ingested; read-only."""
    folder = tmp_path_factory.mktemp("ingested") / "release"
    ingest(archive, folder, QUIET)
    return folder
