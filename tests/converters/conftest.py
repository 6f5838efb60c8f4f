"""Generated fakes (one per run) and the genuine samples."""

import os
import shutil
from pathlib import Path

import pytest

from converters import samples

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def genuine():
    """Folder of genuine samples: MMRS_SAMPLES, or ../shared/samples beside the repository."""

    def folder(name: str) -> Path:
        root = Path(os.environ.get("MMRS_SAMPLES", REPOSITORY.parent / "shared" / "samples")) / name
        if not root.is_dir():
            pytest.skip(f"no genuine sample at {root}; set MMRS_SAMPLES to the folder of samples")
        return root

    return folder


@pytest.fixture(scope="session")
def _fakes(tmp_path_factory):
    base = tmp_path_factory.mktemp("fakes")

    def write(name: str, **options) -> Path:
        key = "-".join([name, *(str(value) for value in options.values())])
        if not (base / key).exists():
            samples.write(name, base / key, **options)
        return base / key

    return write


@pytest.fixture
def fake(_fakes, tmp_path):
    """A private copy of a generated source that the test may damage."""

    def copy(name: str, **options) -> Path:
        return Path(shutil.copytree(_fakes(name, **options), tmp_path / name))

    return copy
