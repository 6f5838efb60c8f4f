import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from converters.samples import release as fake
from converters.samples.release import tar_bytes, write_parts
from mmrs.errors import RunFailure, UserError
from mmrs.progress import Progress
from mmrs.release.export import export_release
from mmrs.release.ingest import ingest
from mmrs.release.parts import Limits
from mmrs.release.store import load_release, release_files, stored_rows

QUIET = Progress(quiet=True)


def json_files(folder):
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.json")}
    return {name: data for name, data in found.items() if not name.endswith("total.json")}


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_export_gives_every_byte_back(ingested, unpacked, tmp_path):
    report = export_release(ingested, tmp_path / "out")
    assert json_files(tmp_path / "out") == json_files(unpacked)
    assert report.files == 25 and "digests agree" in report.render()


def test_an_unpacked_folder_gives_the_same_ingest(ingested, unpacked, tmp_path):
    ingest(unpacked, tmp_path / "in", QUIET)
    other, own = load_release(tmp_path / "in"), load_release(ingested)
    assert (other.files, other.stored_sha256) == (own.files, own.stored_sha256)
    assert (other.origin, own.origin) == ("folder", "archive") and len(own.parts) == 4


def test_the_report_counts_what_was_written(archive, tmp_path):
    written = fake.write(tmp_path / "again", parts=2)
    report = ingest(archive, tmp_path / "in", QUIET)
    files = report.release.files
    counted = {
        "files": len(files),
        "rows": sum(file.rows for file in files),
        "pairs": sum(file.pairs for file in files),
    }
    assert counted | {"images": report.release.images} == written
    text = report.render(False)
    assert "ignored: data/json/total.json" in text and "next: `mmrs release audit" in text
    assert json.loads(report.render(True))["images"] == written["images"]


def test_rows_have_parsed_content_beside_their_bytes(ingested):
    (file,) = [file for file in load_release(ingested).files if file.path.endswith("visdrone.json")]
    *lines, tail = stored_rows(ingested, file)
    assert tail["raw"] is None and len(lines) == file.rows == 4
    line = lines[1]
    assert json.loads(line["raw"])["image"] == line["image"]
    assert (line["source"], line["sensor"], line["width"], line["height"]) == ("visdrone", "optical", 48, 64)
    assert line["tile"] == {"parent": "0000001", "rate": "0.8", "left": 256, "up": 0}
    (pair,) = line["pairs"]
    (group,) = pair["groups"]
    assert (pair["task"], group["name"], group["count"]) == ("detection-hbb", "buss", 2)
    x1, y1, _, _ = group["numbers"][0]
    assert group["pixels"][0][:2] == pytest.approx([x1 * 64 - 8, y1 * 64])


def test_the_list_of_files_has_sizes_and_digests(ingested, unpacked):
    rows = {row["path"]: row for row in release_files(ingested).to_pylist()}
    assert len(rows) == len(tree(unpacked))
    row = rows["data/detection/SARV2/images/0000000.jpg"]
    assert (row["width"], row["height"], row["bytes"]) == (60, 60, (unpacked / row["path"]).stat().st_size)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.binary(max_size=60) | st.text(alphabet='[]{},:" \n\r\t1a\\', max_size=40).map(str.encode),
        min_size=1,
        max_size=4,
    )
)
def test_any_json_member_survives_the_round_trip(tmp_path_factory, contents):
    folder = tmp_path_factory.mktemp("any")
    files = {f"data/json/VQA/{number}.json": data for number, data in enumerate(contents)}
    write_parts(folder, tar_bytes(files), 2)
    ingest(folder, folder / "in", QUIET)
    export_release(folder / "in", folder / "out")
    assert {name: (folder / "out" / name).read_bytes() for name in files} == files


def test_a_file_that_is_no_array_is_kept_whole(tmp_path):
    write_parts(tmp_path, tar_bytes({"data/json/VQA/a.json": b'{"a": 1}', "data/json/VQA/b.json": b"[1]"}), 1)
    report = ingest(tmp_path, tmp_path / "in", QUIET)
    whole, rows = report.release.files
    assert whole.stored.startswith("verbatim/") and "starts with" in whole.problem
    assert rows.bad_rows == 1
    assert "kept whole: data/json/VQA/a.json" in report.render(False)


def test_damage_after_the_ingest_is_found_on_export(archive, tmp_path):
    ingest(archive, tmp_path / "in", QUIET)
    release = load_release(tmp_path / "in")
    first, second = (tmp_path / "in" / file.stored for file in release.files[:2])
    os.replace(first, second)
    with pytest.raises((RunFailure, UserError), match="Ingest the archive again"):
        export_release(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    path = tmp_path / "in" / "release.json"
    path.write_bytes(path.read_bytes().replace(b'"rows": 4', b'"rows": 5'))
    with pytest.raises(UserError, match="was changed"):
        export_release(tmp_path / "in", tmp_path / "out")


def test_folders_with_other_content_are_not_written_to(archive, ingested, tmp_path):
    with pytest.raises(UserError, match="already holds an ingest"):
        ingest(archive, ingested, QUIET)
    (tmp_path / "mine.txt").touch()
    with pytest.raises(UserError, match="is not empty"):
        ingest(archive, tmp_path, QUIET)
    with pytest.raises(UserError, match="not an empty folder"):
        export_release(ingested, tmp_path)
    with pytest.raises(UserError, match="no finished ingest"):
        export_release(tmp_path, tmp_path / "out")


def test_a_work_folder_is_no_leave_to_remove_what_others_put_beside_it(archive, tmp_path):
    for name in ("rows", ".ingest"):
        (tmp_path / "in" / name).mkdir(parents=True)
    mine = tmp_path / "in" / "thesis.tex"
    mine.write_text("mine")
    with pytest.raises(UserError, match="is not empty"):
        ingest(archive, tmp_path / "in", QUIET)
    mine.rename(tmp_path / "thesis.tex")
    (tmp_path / "in" / "rows").rmdir()
    (tmp_path / "in" / "rows").symlink_to(tmp_path)
    with pytest.raises(UserError, match="symbolic link"):
        ingest(archive, tmp_path / "in", QUIET)


def test_an_archive_without_json_is_refused(tmp_path):
    write_parts(tmp_path, tar_bytes({"data/detection/a/images/1.jpg": b"x"}), 1)
    with pytest.raises(UserError, match="no JSON file"):
        ingest(tmp_path, tmp_path / "in", QUIET)


def test_json_limits_and_names_that_clash(tmp_path):
    write_parts(tmp_path, tar_bytes({"data/json/VQA/a.json": b"[" + b" " * 100 + b"]"}), 1)
    with pytest.raises(RunFailure, match="pass the limit"):
        ingest(tmp_path, tmp_path / "in", QUIET, Limits(json_bytes=50))
    write_parts(tmp_path, tar_bytes({"data/json/VQA/a.json": b"[]", "data/json/VQA/a.json/b.json": b"[]"}), 1)
    with pytest.raises(RunFailure, match="is a file and the folder of"):
        ingest(tmp_path, tmp_path / "in", QUIET)


def test_a_failed_ingest_is_not_taken_for_a_finished_one_and_can_be_run_again(archive, ingested, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in sorted(archive.iterdir())[:-1]:
        (broken / path.name).write_bytes(path.read_bytes())
    with pytest.raises(RunFailure, match="ends in mid-file"):
        ingest(broken, tmp_path / "in", QUIET)
    with pytest.raises(UserError, match="no finished ingest"):
        load_release(tmp_path / "in")
    ingest(archive, tmp_path / "in", QUIET)
    assert tree(tmp_path / "in") == tree(ingested)


@pytest.mark.nightly
def test_killed_at_random_times_it_ends_in_the_same_bytes(archive, ingested, tmp_path):
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, '.');"
        "from mmrs.release.ingest import ingest; from mmrs.progress import Progress;"
        "print('ready', flush=True);"
        "ingest(Path(sys.argv[1]), Path(sys.argv[2]), Progress(quiet=True))"
    )
    chance = random.Random(0)
    out = tmp_path / "in"
    killed = 0
    for _ in range(12):
        command = [sys.executable, "-c", script, str(archive), str(out)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(chance.uniform(0, 0.25))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        process.stdout.close()
        if (out / "release.json").exists():
            export_release(out, tmp_path / f"out{killed}-{time.monotonic_ns()}")
            (out / "release.json").unlink()
            (out / ".ingest").mkdir(exist_ok=True)
    assert killed >= 4
    ingest(archive, out, QUIET)
    assert tree(out) == tree(ingested)
