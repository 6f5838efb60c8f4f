"""`mmrs fetch` from servers of this machine: from an empty folder to what `mmrs scan` reads, and everything between."""

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner

import cli
import converters
from converters import downloads, samples
from mmrs.builder.recipe import load_recipe
from mmrs.fetch.catalogue import SourceDownload
from mmrs.installation import shipped_recipes
from mmrs.storage.retry import Patience
from tests.support.hub_server import Repo, serve_hub

COMMIT = "6d77849" + "0" * 33
QUICK = Patience(tries=3, first_wait_seconds=0.01, longest_wait_seconds=0.02, stall_seconds=2)


def mmrs(*words):
    return CliRunner().invoke(cli.main, ["--quiet", *map(str, words)])


@pytest.fixture(scope="module")
def rsscn7(tmp_path_factory):
    """A generated source in its true layout: path -> content."""
    folder = tmp_path_factory.mktemp("rsscn7")
    samples.write("rsscn7", folder, images_per_class=6)
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


@pytest.fixture
def catalogue(monkeypatch):
    """Facts of the test's own in the place of the real ones: a function that takes name -> row."""

    def put(**rows):
        made = {
            name.replace("_", "-"): SourceDownload(
                name=name.replace("_", "-"), evidence="made for a test", read=date(2026, 12, 1), **row
            )
            for name, row in rows.items()
        }
        monkeypatch.setattr(downloads, "source_downloads", lambda folder: made)

    return put


def zipped(files, top=""):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for name, content in files.items():
            packed.writestr(f"{top}{name}", content)
    return out.getvalue()


def web(server, path, content, **known):
    server.files[path] = content
    file = {"name": path.rpartition("/")[2], "url": server.url + path, **known}
    return {"service": "https", "files": [file]}


def md5(content):
    return hashlib.md5(content).hexdigest()


def fetch(tmp_path, *words):
    return mmrs("fetch", *words, "--to", tmp_path / "data", "--accept")


def count_images(files):
    return sum(name.endswith((".jpg", ".tif", ".png")) for name in files)


def test_every_source_of_the_catalogue_has_an_entry_and_no_other():
    known = set(downloads.source_downloads()) - {downloads.RELEASE}
    assert known == set(converters.names()) - {"generic"}


def test_the_facts_of_the_catalogue_are_whole():
    for name, download in downloads.source_downloads().items():
        for variant, known in download.variants.items():
            converters.get(name, **known.options)
            assert known.about, (name, variant)
        for part in (part for key in download.variants or [""] for part in download.chosen(key)):
            assert getattr(part, "revision", None) is None or len(part.revision) == 40
        assert download.read <= date(2026, 12, 31) and "://" not in download.terms


def test_all_of_mmrs_1m_is_planned_and_nothing_is_fetched_without_the_terms(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setattr("mmrs.fetch.plan.LISTING_PATIENCE", Patience(tries=1, stall_seconds=2))
    shown = mmrs("fetch", "mmrs-1m", "--to", tmp_path / "data", "--dry-run")
    assert shown.exit_code == 0, shown.output
    assert "Retrying in" not in shown.stderr
    names = {entry.name for entry in load_recipe(shipped_recipes("mmrs.builder")["mmrs-1m"]).sources}
    assert len(names) == 34
    assert {line.split()[0] for line in shown.output.splitlines()[2:] if line.split()[0] in names} == names
    assert "dota (2.0)" in shown.output and "eurosat (rgb)" in shown.output
    assert "rsod: by hand: follow the four links" in shown.output
    # What no server says, the catalogue does.
    assert "NWPU-RESISC45.zip, size not known, sum: md5, by the catalogue alone" in shown.output
    assert "EuroSAT.zip, 89.9 MiB, sum: not known, by the catalogue alone" in shown.output
    assert not (tmp_path / "data").exists()


def test_a_checksummed_archive_becomes_what_scan_reads_and_a_second_run_asks_nobody(
    server, catalogue, rsscn7, tmp_path
):
    data = zipped(rsscn7, "RSSCN7-master/")
    catalogue(rsscn7={"kind": "checksummed", "parts": [web(server, "/x/set.zip", data, md5=md5(data))]})
    first = fetch(tmp_path, "rsscn7")
    assert first.exit_code == 0, first.output
    assert "images train" in first.output and "next: `mmrs build rsscn7 --root rsscn7=" in first.output
    scanned = json.loads(mmrs("scan", "rsscn7", tmp_path / "data/rsscn7", "--json").output)
    assert sum(split["images"] for split in scanned["splits"]) == count_images(rsscn7)
    assert scanned["packed"] == []
    lock = json.loads((tmp_path / "data/mmrs-fetch.lock.json").read_text())
    assert lock["sources"]["rsscn7"]["files"]["set.zip"]["sha256"] == hashlib.sha256(data).hexdigest()
    requests = len(server.log)
    # The terms are remembered.
    second = mmrs("fetch", "rsscn7", "--to", tmp_path / "data")
    assert second.exit_code == 0 and "all there" in second.output
    assert len(server.log) == requests
    # Nothing but the layout, the lock and the state.
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [
        ".mmrs-fetch",
        "mmrs-fetch.lock.json",
        "rsscn7",
    ]
    assert not list((tmp_path / "data/.mmrs-fetch/downloads/rsscn7").iterdir())


def test_what_was_deleted_comes_again(server, catalogue, rsscn7, tmp_path):
    data = zipped(rsscn7)
    catalogue(rsscn7={"kind": "checksummed", "parts": [web(server, "/set.zip", data, md5=md5(data))]})
    fetch(tmp_path, "rsscn7")
    lost = tmp_path / "data/rsscn7" / next(iter(rsscn7))
    lost.unlink()
    assert fetch(tmp_path, "rsscn7").exit_code == 0
    assert lost.read_bytes() == next(iter(rsscn7.values()))
    # An archive that was kept is not fetched again.
    lost.unlink()
    mmrs("fetch", "rsscn7", "--to", tmp_path / "data", "--keep-archives")
    assert (tmp_path / "data/mmrs-archives/rsscn7/set.zip").read_bytes() == data
    lost.unlink()
    requests = len(server.log)
    assert fetch(tmp_path, "rsscn7", "--keep-archives").exit_code == 0
    assert lost.exists() and len(server.log) == requests


def test_terms_have_to_be_accepted(server, catalogue, rsscn7, tmp_path):
    data = zipped(rsscn7)
    catalogue(rsscn7={"kind": "automatic", "terms": "none at all", "parts": [web(server, "/set.zip", data)]})
    refused = mmrs("fetch", "rsscn7", "--to", tmp_path / "data")
    assert refused.exit_code == 2
    assert "terms have to be accepted" in refused.output and "the copy that is fetched: none at all" in refused.output
    assert server.log == []


def test_a_sum_that_nobody_stated_is_pinned_and_compared(server, catalogue, rsscn7, tmp_path):
    data = zipped(rsscn7)
    catalogue(rsscn7={"kind": "automatic", "parts": [web(server, "/set.zip", data)]})
    assert fetch(tmp_path, "rsscn7").exit_code == 0
    shutil.rmtree(tmp_path / "data/rsscn7")
    shutil.rmtree(tmp_path / "data/.mmrs-fetch")
    server.files["/set.zip"] = zipped(rsscn7, "other/")
    changed = fetch(tmp_path, "rsscn7")
    assert changed.exit_code == 1
    assert "was expected" in changed.output and "mmrs-fetch.lock.json: where the new file is wanted" in changed.output
    assert not (tmp_path / "data/rsscn7").exists()


def test_a_wrong_sum_costs_its_source_alone(server, catalogue, rsscn7, tmp_path):
    data = zipped(rsscn7)
    catalogue(
        rsscn7={"kind": "checksummed", "parts": [web(server, "/set.zip", data, md5=md5(data))]},
        aid={"kind": "checksummed", "parts": [web(server, "/aid.zip", data, md5="0" * 32)]},
    )
    both = fetch(tmp_path, "aid", "rsscn7")
    assert both.exit_code == 1
    assert "aid: aid.zip from" in both.output and "its md5 is" in both.output and "images train" in both.output


def test_zenodo_github_and_the_hub(server, catalogue, rsscn7, tmp_path, monkeypatch):
    data = zipped(rsscn7)
    server.put_zenodo(7, {"set.zip": data})
    server.put_github("someone/RSSCN7", COMMIT, rsscn7)
    oid = hashlib.sha256(data).hexdigest()
    server.put_lfs("someone/RSSCN7", COMMIT, "set.zip", data)
    server.put_release("someone/RSSCN7", "v1", {"set.zip": data})
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_NeverSentElsewhere")
    parts = {
        "zenodo": {"service": "zenodo", "record": 7},
        "github-tree": {"service": "github-tree", "repo": "someone/RSSCN7", "commit": COMMIT[:7]},
        "github-lfs": {
            "service": "github-lfs", "repo": "someone/RSSCN7", "commit": COMMIT[:7], "files": [{"name": "set.zip"}]
        },
        "github-release": {
            "service": "github-release", "repo": "someone/RSSCN7", "tag": "v1", "files": [{"name": "set.zip"}]
        },
        "hub": {"service": "hub", "repo": "someone/rsscn7", "patterns": ["*.zip"]},
    }  # fmt: skip
    with serve_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.repos["someone/rsscn7"] = Repo(False, {"set.zip": ("lfs", data), "README.md": ("regular", b"x")})
        hub.objects[oid] = data
        for service, part in parts.items():
            kind = "checksummed" if service in ("github-tree", "github-lfs") else "automatic"
            catalogue(rsscn7={"kind": kind, "parts": [part]})
            done = fetch(tmp_path / service, "rsscn7")
            assert done.exit_code == 0, (service, done.output)
            found = tmp_path / service / "data/rsscn7"
            assert {name: (found / name).read_bytes() for name in rsscn7} == rsscn7, service
            assert "all there" in fetch(tmp_path / service, "rsscn7").output
        head = hub.repos["someone/rsscn7"].head
    # GitHub's interface alone gets its token.
    told = [(path, secret) for path, _, secret in server.log if secret or path.startswith("/api/repos")]
    secrets = {(path.split("/")[1], secret) for path, secret in told}
    assert secrets == {("api", "Bearer ghp_NeverSentElsewhere")}
    lock = json.loads((tmp_path / "hub/data/mmrs-fetch.lock.json").read_text())
    assert lock["sources"]["rsscn7"]["revisions"] == {"hub:someone/rsscn7": head}


def test_a_small_tree_comes_file_by_file_and_each_has_its_hash(server, catalogue, tmp_path):
    files = {"RSIVQA/UCM/ucm_vqa.txt": b"1.tif:what?yes\n", "other/big.bin": b"x" * 9999}
    server.put_github("someone/RSIVQA", COMMIT, files)
    part = {"service": "github-tree", "repo": "someone/RSIVQA", "commit": COMMIT[:7], "folders": ["RSIVQA"]}
    catalogue(rsivqa={"kind": "checksummed", "parts": [part]})
    raw = f"/raw/someone/RSIVQA/{COMMIT}/RSIVQA/UCM/ucm_vqa.txt"
    good, server.files[raw] = server.files[raw], b"1.tif:what?no!\n"
    assert "its git-blob is" in fetch(tmp_path, "rsivqa").output
    server.files[raw] = good
    fetch(tmp_path, "rsivqa")
    assert [path.name for path in (tmp_path / "data/rsivqa").rglob("*") if path.is_file()] == ["ucm_vqa.txt"]


def test_a_listing_that_is_not_the_commit_s_is_refused(server, catalogue, tmp_path):
    server.put_github("someone/RSIVQA", COMMIT, {"RSIVQA/a.txt": b"a"})
    part = {"service": "github-tree", "repo": "someone/RSIVQA", "commit": COMMIT[:7]}
    catalogue(rsivqa={"kind": "checksummed", "parts": [part]})
    for path, page in list(server.pages.items()):
        if b"a.txt" in page:
            server.pages[path] = page.replace(b"a.txt", b"b.txt")
    done = fetch(tmp_path, "rsivqa")
    assert done.exit_code == 1 and "has another hash" in done.output


def test_google_drive_by_its_page_and_its_quota(server, catalogue, rsscn7, tmp_path):
    data = zipped(rsscn7)
    server.files["/real"] = data
    page = f'<form id="download-form" action="{server.url}/real"><input type="hidden" name="id" value="1"></form>'
    quota = '<p class="uc-error-subcaption">Too many users have viewed or downloaded this file recently.</p>'
    address = "/drive/uc?export=download&id=abcdefghijkl"
    part = {"service": "drive", "files": [{"name": "set.zip", "id": "abcdefghijkl"}]}
    catalogue(rsscn7={"kind": "automatic", "parts": [part]})
    server.pages[address] = quota.encode()
    refused = fetch(tmp_path, "rsscn7")
    assert refused.exit_code == 1
    assert "Too many users" in refused.output
    assert f"Open {server.url}/drive/file/d/abcdefghijkl/view in a browser" in refused.output
    server.pages[address] = page.encode()
    server.redirects["/real?id=1"] = "/real"
    assert fetch(tmp_path, "rsscn7").exit_code == 0
    assert (tmp_path / "data/rsscn7" / next(iter(rsscn7))).is_file()


def test_without_gdown_the_extra_is_named(server, catalogue, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gdown", None)
    part = {"service": "drive", "files": [{"name": "set.zip", "id": "abcdefghijkl"}]}
    catalogue(rsscn7={"kind": "automatic", "parts": [part]})
    assert "pip install 'mmrs[fetch]'" in mmrs("fetch", "rsscn7", "--to", tmp_path, "--dry-run").output


def test_by_hand_is_said_the_rest_goes_on_and_archives_that_were_put_there_are_unpacked(
    server, catalogue, rsscn7, tmp_path
):
    data = zipped(rsscn7)
    step = {"where": "https://example.org/page", "do": "download the archive", "files": ["set.zip"]}
    catalogue(
        dscr={"kind": "manual", "manual": [step]},
        rsscn7={"kind": "checksummed", "parts": [web(server, "/set.zip", data, md5=md5(data))]},
    )
    first = fetch(tmp_path, "dscr", "rsscn7")
    assert first.exit_code == 0
    assert "dscr: by hand: download the archive" in first.output and "from  https://example.org/page" in first.output
    assert "dscr: not there: nothing was fetched yet" in first.output and "rsscn7: images train" in first.output
    samples.write("dscr", tmp_path / "made")
    made = {
        path.relative_to(tmp_path / "made").as_posix(): path.read_bytes()
        for path in (tmp_path / "made").rglob("*")
        if path.is_file()
    }
    (tmp_path / "data/dscr").mkdir()
    (tmp_path / "data/dscr/downloaded.zip").write_bytes(zipped(made))
    second = fetch(tmp_path, "dscr", "rsscn7")
    assert second.exit_code == 0 and "dscr: images train" in second.output
    assert (tmp_path / "data/mmrs-archives/dscr/downloaded.zip").is_file()
    assert not (tmp_path / "data/dscr/downloaded.zip").exists()
    # What is there is built by the command that stands last.
    (command,) = [line for line in second.output.splitlines() if line.startswith("next: ")]
    words = command.removeprefix("next: `mmrs ").removesuffix("DIR`").split()
    built = mmrs(*words, tmp_path / "out", "--workers", 1)
    assert built.exit_code == 0, built.output
    assert {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()} >= {"dscr", "rsscn7"}


def test_variants(server, catalogue, tmp_path):
    parts = {name: [web(server, f"/{name}", name.encode(), md5=md5(name.encode()))] for name in ("rgb", "ms")}
    catalogue(
        eurosat={
            "kind": "checksummed",
            "variants": {name: {"parts": parts[name], "options": {"product": name}} for name in parts},
        }
    )
    shown = mmrs("fetch", "eurosat", "--to", tmp_path, "--variant", "eurosat=ms", "--dry-run").output
    assert "eurosat (ms)" in shown and "ms, size not known, sum: md5" in shown
    assert "eurosat (rgb)" in mmrs("fetch", "eurosat", "--to", tmp_path, "--dry-run").output
    for words, said in (
        (["--variant", "eurosat=x"], "eurosat has rgb, ms"),
        (["--variant", "aid=x"], "aid is not among the sources"),
    ):
        refused = mmrs("fetch", "eurosat", "--to", tmp_path, *words)
        assert refused.exit_code == 2 and said in refused.output


def test_an_unknown_name_is_answered_with_the_nearest(tmp_path):
    refused = mmrs("fetch", "resics45", "--to", tmp_path)
    assert refused.exit_code == 2 and "did you mean 'resisc45'?" in refused.output


def test_a_disk_that_is_too_small_is_known_before(server, catalogue, tmp_path):
    part = web(server, "/set.zip", b"", size=10**17)
    catalogue(rsscn7={"kind": "automatic", "parts": [part]})
    refused = fetch(tmp_path, "rsscn7")
    assert refused.exit_code == 2 and "the plan needs about 181898.9 TiB" in refused.output
    assert server.log == []


def test_two_fetches_into_one_folder_do_not_mix(server, catalogue, rsscn7, tmp_path):
    from mmrs.fetch.record import FetchRecord

    catalogue(rsscn7={"kind": "automatic", "parts": [web(server, "/set.zip", zipped(rsscn7))]})
    with FetchRecord(tmp_path / "data").held():
        refused = fetch(tmp_path, "rsscn7")
    assert refused.exit_code == 2 and "another `mmrs fetch` is writing" in refused.output


KILLED = """
import sys
from datetime import date
from pathlib import Path
from mmrs.builder.recipe import load_recipe
from mmrs.builder.recipe import load_recipe
from mmrs.fetch.catalogue import SourceDownload
from mmrs.fetch.plan import SourceRequest, plan_fetch
from mmrs.fetch.record import FetchRecord
from mmrs.fetch.run import FetchConfig, run_fetch
from mmrs.fetch.services.endpoints import Endpoints
from mmrs.progress import Progress

data, url, md5 = sys.argv[1:]
file = {"name": "set.zip", "url": url + "/set.zip", "md5": md5}
part = {"service": "https", "files": [file]}
known = SourceDownload(name="rsscn7", kind="checksummed", evidence="x", read=date(2026, 1, 1), parts=[part])
record = FetchRecord(Path(data))
plan = plan_fetch([SourceRequest(known, "", "unknown", "x")], record, Endpoints())
with record.held():
    outcome = run_fetch(plan, record, FetchConfig(accept=True), Progress(quiet=True))
print(outcome.failures, outcome.fetched_files)
"""


def test_killed_and_run_again_it_goes_on_from_the_byte_that_it_had(server, rsscn7, tmp_path):
    data = zipped(rsscn7 | {"fill.bin": os.urandom(3_000_000)})
    server.files["/set.zip"] = data
    server.plans["/set.zip"] = ["stall"]
    words = [sys.executable, "-c", KILLED, str(tmp_path / "data"), server.url, md5(data)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, cwd=Path(cli.__file__).parent)
    parts = tmp_path / "data/.mmrs-fetch/downloads/rsscn7"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        held = sum(path.stat().st_size for path in parts.glob("*.part"))
        if held == len(data) // 2:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not (tmp_path / "data/rsscn7").exists()
    again = subprocess.run(words, capture_output=True, text=True, cwd=Path(cli.__file__).parent, check=True)
    assert again.stdout.strip() == "{'rsscn7': []} 1" or again.stdout.strip() == "{} 1"
    assert server.asked("/set.zip") == ["", f"bytes={held}-"]
    assert {name: (tmp_path / "data/rsscn7" / name).read_bytes() for name in rsscn7} == rsscn7
