"""A disk that fills while `mmrs fetch` writes, and what a person sees of a fetch: on a terminal, and on a pipe."""

import io
import os
import pty
import re
import resource
import subprocess
import sys
import zipfile
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import cli
from converters import samples

MEBIBYTE = 1 << 20
PROGRAM = """
import sys
from datetime import date
import cli
from converters import downloads
from mmrs.fetch import run
from mmrs.fetch.catalogue import SourceDownload

data, url = sys.argv[1:]
part = {"service": "https", "files": [{"name": "set.zip", "url": url + "/set.zip"}]}
known = SourceDownload(name="rsscn7", kind="automatic", evidence="x", read=date(2026, 1, 1), parts=[part])
downloads.source_downloads = lambda folder: {"rsscn7": known}
# The disk fills after it was looked at.
run._check_space = lambda plan, config: None
cli.main(["fetch", "rsscn7", "--to", data, "--accept"])
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """A source of a few MiB as an archive of its files, and these."""
    folder = tmp_path_factory.mktemp("rsscn7")
    samples.write("rsscn7", folder, images_per_class=1)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for name, content in (files | {"fill.bin": os.urandom(4 * MEBIBYTE)}).items():
            packed.writestr(name, content)
    return out.getvalue(), files


def fetch(data, url, **options):
    words = [sys.executable, "-c", PROGRAM, str(data), url]
    return subprocess.run(words, capture_output=True, text=True, cwd=Path(cli.__file__).parent, check=False, **options)


def check_stopped_and_goes_on(server, archive, data, stopped, again, reason):
    """It ended with 1 and said why; with room the same command goes on from what had come, to the whole source."""
    content, files = archive
    assert stopped.returncode == 1, stopped.stderr
    for part in (reason, "what has come stays in", "the same command goes on", ".part"):
        assert part in stopped.stderr
    assert "Traceback" not in stopped.stderr and "tries failed" not in stopped.stderr
    (part,) = (data / ".mmrs-fetch/downloads/rsscn7").glob("*.part")
    held = part.stat().st_size
    assert 0 < held < len(content) and part.read_bytes() == content[:held]
    assert not (data / "rsscn7").exists()
    done = again()
    assert done.returncode == 0, done.stderr
    assert server.asked("/set.zip")[-1] == f"bytes={held}-"
    assert {name: (data / "rsscn7" / name).read_bytes() for name in files} == files


@contextmanager
def small_disk(folder):
    """A file system of 2 MiB, grown by the function that is yielded; skips where none may be mounted."""
    folder.mkdir()
    tried = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"no file system may be mounted here: {tried.stderr.decode().strip()}")
    try:
        yield lambda: subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.skipif(not Path("/bin/mount").exists(), reason="no mount here")
def test_a_disk_that_fills_ends_it_and_what_has_come_is_gone_on_with(server, archive, tmp_path):
    server.files["/set.zip"] = archive[0]
    with small_disk(tmp_path / "disk") as grow:
        data = tmp_path / "disk/data"

        def again():
            grow()
            return fetch(data, server.url)

        stopped = fetch(data, server.url)
        check_stopped_and_goes_on(server, archive, data, stopped, again, "the disk is full")


def test_a_limit_of_the_size_of_files_ends_it_alike(server, archive, tmp_path):
    server.files["/set.zip"] = archive[0]
    data = tmp_path / "data"
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MEBIBYTE, hard))

    stopped = fetch(data, server.url, preexec_fn=limit)
    check_stopped_and_goes_on(
        server, archive, data, stopped, lambda: fetch(data, server.url), "no larger file is allowed"
    )


def test_a_terminal_shows_rate_and_time_left_and_a_pipe_plain_lines(server, archive, tmp_path):
    server.files["/set.zip"] = archive[0]
    piped = fetch(tmp_path / "piped", server.url)
    assert piped.returncode == 0
    assert "\x1b" not in piped.stderr + piped.stdout and "\r" not in piped.stderr
    assert re.search(r"^fetch: \d+ MiB in [\d.]+ s$", piped.stderr, re.MULTILINE)
    shown = on_terminal([sys.executable, "-c", PROGRAM, str(tmp_path / "shown"), server.url])
    total = len(archive[0]) // MEBIBYTE
    assert "\x1b[" in shown
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert re.search(rf"fetch .*\b{total}/\d+ +[\d.]+/s +\d+:\d\d:\d\d", plain), plain[-600:]


def on_terminal(words):
    """What a command writes to a terminal of a hundred columns."""
    master, slave = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
    with subprocess.Popen(
        words, stdin=slave, stdout=slave, stderr=slave, cwd=Path(cli.__file__).parent, env=environment
    ) as process:
        os.close(slave)
        found = b""
        # A terminal whose other end is closed is an error on Linux.
        with suppress(OSError):
            while piece := os.read(master, 65536):
                found += piece
        assert process.wait() == 0, found.decode(errors="replace")
    os.close(master)
    return found.decode(errors="replace")
