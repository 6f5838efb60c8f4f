"""More than 200 planted faults through the real build: all found or put right, none crashes, nothing else is lost."""

import json
import re
from collections import defaultdict

import pytest
from click.testing import CliRunner

import cli
from mmrs.imaging.suffixes import without_known_suffix
from mmrs.shards.reader import ShardSet
from tests.support.faults import SECRET, plant


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(root, out, stem -> (fault, expected)) after one build with two processes."""
    folder = tmp_path_factory.mktemp("planted")
    root, out = folder / "raw", folder / "out"
    root.mkdir()
    wanted = plant(root, sound=60)
    recipe = folder / "recipe.yaml"
    options = {"description": str(root / "mmrs.yaml")}
    recipe.write_text(json.dumps({"sources": [{"name": "generic", "options": options}], "quarantine_ceiling": 1}))
    words = ["--quiet", "build", recipe, "--root", f"planted={root}", "--out", out, "--workers", "2"]
    result = CliRunner().invoke(cli.main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return root, out, wanted


@pytest.mark.nightly
def test_there_are_more_than_two_hundred(built):
    assert sum(name != "sound" for name, _ in built[2].values()) >= 200


def test_every_fault_is_found_or_put_right_and_nothing_else_is_lost(built):
    root, out, wanted = built
    entries = [json.loads(line) for line in (out / "quarantine.jsonl").read_text().splitlines()]
    data = ShardSet(out)
    stored = defaultdict(list)
    for row in data.table("train").to_pylist():
        stored[without_known_suffix(row["id"].rpartition("/")[2])].append((data.record(row), data.image(row)))
    wrong = []
    for stem, (name, expected) in wanted.items():
        about = [entry["reason"] for entry in entries if stem in entry["path"] + entry["reason"]]
        if len(stored[stem]) != expected.images:
            wrong.append((name, stem, f"{len(stored[stem])} images", about))
        elif expected.reason is None and about:
            wrong.append((name, stem, "quarantined", about))
        elif expected.reason is not None and not any(re.search(expected.reason, reason) for reason in about):
            wrong.append((name, stem, "not found or for another reason", about))
        for record, image in stored[stem]:
            reason = record.image.reencoded or ""
            is_twin = not record.id.endswith((f"/{stem}", f"/{stem}.jpg"))
            if is_twin != bool(reason) if expected.images == 2 else not _is_expected(reason, expected.reencoded):
                wrong.append((name, stem, "re-encoded", reason))
            elif not reason and image != (root / "images" / f"{stem}.jpg").read_bytes():
                wrong.append((name, stem, "other bytes than the file's", ""))
            if len(record.objects) != expected.objects:
                wrong.append((name, stem, "objects", len(record.objects)))
            if expected.flag is not None and expected.flag not in record.objects[-1].flags:
                wrong.append((name, stem, "no flag", record.objects[-1].flags))
    assert wrong == []
    assert stored.keys() <= wanted.keys()


def _is_expected(reason, start):
    return reason.startswith(start) and bool(start) == bool(reason)


def test_what_lies_outside_the_root_is_in_no_output(built):
    for path in built[1].rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path


def test_the_entries_name_path_and_record(built):
    for line in (built[1] / "quarantine.jsonl").read_text().splitlines():
        entry = json.loads(line)
        assert entry["path"] and entry["reason"]
        assert not entry["path"].startswith("/"), "paths are relative to the root"
        if entry["level"] == "object":
            assert entry["id"].startswith("planted/train/i")


def test_the_result_verifies(built):
    result = CliRunner().invoke(cli.main, ["--quiet", "verify", str(built[1]), "--workers", "1"])
    assert result.exit_code == 0, result.output
