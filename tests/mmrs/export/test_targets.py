"""Exports by several processes and to URLs: the bytes of one process in a folder, also after a kill."""

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mmrs.engines.processes import ProcessPool
from mmrs.errors import RunFailure, UserError
from mmrs.export.registry import EXPORT_FORMATS
from mmrs.export.run import ExportConfig, write_export
from mmrs.export.target import FolderTarget
from mmrs.progress import Progress
from mmrs.shards.reader import ShardSet
from mmrs.storage.open import open_place
from tests.support.sources import built_toy

QUIET = Progress(quiet=True)
MMRS = Path(sys.executable).parent / "mmrs"


@pytest.fixture(scope="module")
def location(tmp_path_factory):
    """Some ten shards of two splits."""
    out = built_toy(tmp_path_factory.mktemp("exported"), images=24)
    assert len(ShardSet(out).manifest.shards) > 8
    return out


def written(out):
    """All files of an export by name, in a folder or at a URL."""
    place = open_place(out)
    return {name: place.read(name) for name in place.sizes()}


def check_two_processes(location, tmp_path, forms):
    for form in forms:
        one = write_export(ExportConfig(location, form, tmp_path / f"{form}-one"), QUIET).out
        two = write_export(ExportConfig(location, form, tmp_path / f"{form}-two"), QUIET, ProcessPool(2)).out
        assert written(two) == written(one) and len(written(one)) > 2


def test_two_processes_write_the_bytes_of_one(location, tmp_path):
    check_two_processes(location, tmp_path, ["coco", "messages"])


@pytest.mark.nightly
def test_two_processes_write_the_bytes_of_one_in_every_format(location, tmp_path):
    check_two_processes(location, tmp_path, EXPORT_FORMATS)


@pytest.mark.nightly
def test_an_export_of_two_processes_that_is_killed_goes_on(location, tmp_path):
    whole = write_export(ExportConfig(location, "coco", tmp_path / "whole"), QUIET).out
    out = tmp_path / "out"
    command = [MMRS, "export", location, "--format", "coco", "--out", out, "--workers", "2"]
    parts = tmp_path / "out.partial" / ".parts"
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(parts.glob("*.done.json")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not out.exists()
    kept = {path: path.stat().st_mtime_ns for path in parts.glob("*.done.json")}
    # A damaged piece of a part that is not said to be whole, as a crash leaves it.
    (parts / "train-00003.images").write_bytes(b"{")
    (parts / "train-00003.done.json").unlink(missing_ok=True)
    assert subprocess.run(command, capture_output=True, timeout=120).returncode == 0
    assert kept and written(out) == written(whole)


def test_a_machine_that_does_not_see_the_folder_says_so(tmp_path):
    with pytest.raises(RunFailure, match=r"one shared folder.*s3://"), FolderTarget(tmp_path / "elsewhere").writing():
        pass


@pytest.fixture(scope="module")
def bucket():
    """An empty bucket of an S3 server on loopback."""
    pytest.importorskip("s3fs", reason="output to S3 needs the extra s3")
    pytest.importorskip("moto.server", reason="the S3 server of the tests (moto, flask) is not installed")
    import fsspec

    from tests.support.places import reach_s3
    from tests.support.s3_server import s3_server

    with s3_server() as port, pytest.MonkeyPatch.context() as patch:
        reach_s3(f"http://127.0.0.1:{port}", patch)
        fsspec.filesystem("s3").mkdir("exports")
        yield "s3://exports"


def check_url(location, form, bucket, tmp_path, **fields):
    folder = write_export(ExportConfig(location, form, tmp_path / form, **fields), QUIET).out
    write_export(ExportConfig(location, form, f"{bucket}/{form}", **fields), QUIET)
    assert written(f"{bucket}/{form}") == written(folder)


def test_a_url_gets_the_bytes_of_a_folder(location, bucket, tmp_path):
    check_url(location, "coco", bucket, tmp_path, splits=("test",))


@pytest.mark.nightly
@pytest.mark.parametrize("form", sorted(EXPORT_FORMATS))
def test_a_url_gets_the_bytes_of_a_folder_in_every_format(location, bucket, tmp_path, form):
    check_url(location, form, bucket, tmp_path)


def test_shards_at_a_url_are_exported_to_a_url_and_go_on_after_a_stop(location, bucket, tmp_path, monkeypatch):
    import fsspec

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    fsspec.filesystem("s3").put(f"{location}/", "exports/shards/", recursive=True)
    config = ExportConfig("s3://exports/shards", "geojson", f"{bucket}/stopped", images="none")
    form, begun = EXPORT_FORMATS["geojson"], []

    def failing(samples, part):
        begun.append(part.name)
        if len(begun) == 4:
            raise KeyboardInterrupt
        return form.write(samples, part)

    monkeypatch.setattr("mmrs.export.run.export_format", lambda name: replace(form, write=failing))
    with pytest.raises(KeyboardInterrupt):
        write_export(config, QUIET)
    assert "export.json" not in written(config.out)
    with pytest.raises(UserError, match="holds another export, which was stopped"):
        write_export(replace(config, obb="envelope"), QUIET)
    write_export(config, QUIET)
    assert len(begun) == 1 + len(set(begun)) == 1 + len(ShardSet(location).manifest.shards)
    assert written(config.out) == written(write_export(replace(config, out=tmp_path / "folder"), QUIET).out)
    with pytest.raises(UserError, match="is not empty"):
        write_export(config, QUIET)


def test_what_a_url_cannot_take_is_refused(location, tmp_path):
    for out, words, fields in (
        ("https://example.org/here", "http is read-only", {}),
        ("hf://datasets/me/mine", "mmrs push", {}),
        ("s3://exports/linked", "hard links.*--images copy", {"images": "link", "images_from": tmp_path}),
    ):
        with pytest.raises(UserError, match=words):
            write_export(ExportConfig(location, "coco", out, **fields), QUIET)
